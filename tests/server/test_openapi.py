"""The API does what its description says, whatever is sent."""

import json

import hypothesis
import pytest
import schemathesis
from schemathesis import checks as every

from cellrim.server.app import create_app
from cellrim.server.problems import MEDIA_TYPE

PATHS = (
    "/v1/models",
    "/v1/space",
    "/healthz",
    "/metrics",
    "/v1/segment",
    "/v1/jobs",
    "/v1/jobs/{job}",
)


def test_the_description_is_complete(client):
    described = client.get("/openapi.json").json()
    for path in PATHS:
        assert path in described["paths"]
    for path, methods in described["paths"].items():
        for method in methods.values():
            assert method["summary"]
            assert method["description"]
            for status, answer in method["responses"].items():
                if int(status) >= 400:
                    assert answer["content"][MEDIA_TYPE]["examples"], (path, status)
    assert "HTTPValidationError" not in json.dumps(described["paths"])


def _examples_missing(schema, schemas):
    """Yield the fields of what clients send that have no example and are no constant."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[-1]]
    for choice in schema.get("oneOf", []):
        yield from _examples_missing(choice, schemas)
    for name in schema.get("required", schema.get("properties", {})):
        field = schema["properties"][name]
        if not {"examples", "const", "default"} & set(field):
            yield schema["title"], name


def test_what_clients_send_has_examples(client):
    described = client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method in methods.values():
            for parameter in method.get("parameters", []):
                if parameter["required"]:
                    assert "examples" in parameter["schema"] or "examples" in parameter, path
            bodies = method.get("requestBody", {}).get("content", {})
            if "application/json" in bodies:
                schema = bodies["application/json"]["schema"]
                assert list(_examples_missing(schema, described["components"]["schemas"])) == []


def test_a_token_is_described(serve):
    token = "a-token-of-some-length"
    client = serve(token=token)
    described = client.get("/openapi.json", headers={"authorization": f"Bearer {token}"}).json()
    assert described["security"] == [{"token": []}]
    assert described["paths"]["/healthz"]["get"]["security"] == []


# Random bytes are no image: that they are refused says nothing about the description.
CHECKS = (
    every.not_a_server_error,
    every.status_code_conformance,
    every.content_type_conformance,
    every.response_schema_conformance,
)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/space"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("POST", "/v1/segment"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/{job}"),
        ("DELETE", "/v1/jobs/{job}"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("GET", "/v1/jobs/{job}/results"),
        ("POST", "/v1/workspace/images"),
        ("GET", "/v1/workspace/images/{key}"),
        ("PATCH", "/v1/workspace/images/{key}"),
        ("DELETE", "/v1/workspace/images/{key}"),
        ("POST", "/v1/workspace/images/{key}/segment"),
        ("POST", "/v1/workspace/images/{key}/edits"),
        ("GET", "/v1/workspace/images/{key}/view"),
        ("GET", "/v1/workspace/images/{key}/labels"),
        ("GET", "/v1/workspace/images/{key}/cells"),
        ("GET", "/v1/workspace/images/{key}/result"),
        ("GET", "/v1/workspace/learning"),
        ("POST", "/v1/workspace/learning/images"),
        ("DELETE", "/v1/workspace/learning/images/{key}"),
        ("DELETE", "/v1/workspace/learning/models/{name}"),
        ("POST", "/v1/workspace/learning/training"),
    ],
)
def test_whatever_is_sent(settings_with, method, path):
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(settings_with()))
    operation = schema[path][method]

    @hypothesis.settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def one(case):
        case.call_and_validate(checks=CHECKS)

    one()
