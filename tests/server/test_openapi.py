"""The API does what its description says, whatever is sent."""

import json

import hypothesis
import pytest
import schemathesis
from schemathesis import checks as every

from cellrim.server.app import create_app
from cellrim.server.problems import MEDIA_TYPE

PATHS = ("/v1/models", "/healthz", "/metrics", "/v1/segment", "/v1/jobs", "/v1/jobs/{job}")


def test_the_description_is_complete(client):
    described = client.get("/openapi.json").json()
    for path in PATHS:
        assert path in described["paths"]
    for path, methods in described["paths"].items():
        if not path.startswith(("/v1/segment", "/v1/jobs", "/v1/models", "/healthz", "/metrics")):
            continue
        for method in methods.values():
            assert method["summary"]
            assert method["description"]
            for status, answer in method["responses"].items():
                if int(status) >= 400:
                    assert answer["content"][MEDIA_TYPE]["examples"], (path, status)
    assert "HTTPValidationError" not in json.dumps(
        {p: v for p, v in described["paths"].items() if p in PATHS}
    )


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
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("POST", "/v1/segment"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/{job}"),
        ("DELETE", "/v1/jobs/{job}"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("GET", "/v1/jobs/{job}/results"),
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
