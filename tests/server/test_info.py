import re

import pytest

from cellrim import __version__
from cellrim.errors import UsageError
from cellrim.models.registry import embedded_models
from cellrim.server.app import create_app


def test_models(client):
    answer = client.get("/v1/models").json()
    assert answer["device"] == "cpu"
    shown = answer["models"]
    assert [model["name"] for model in shown] == [*embedded_models(), "tiny"]
    assert [model["name"] for model in shown if model["default"]] == ["tiny"]
    assert all(len(model["sha256"]) == 64 for model in shown)


def test_a_device_that_is_not_there_is_told_at_the_start(settings_with):
    with pytest.raises(UsageError, match="Expected the device auto, cpu"):
        create_app(settings_with(device="gpu"))


def test_space(serve, png, wait_for):
    client = serve(quota_bytes=10**9)
    before = client.get("/v1/space").json()
    assert before["used_bytes"] == 0
    assert before["quota_bytes"] == 10**9
    assert before["free_bytes"] > 0
    job = client.post("/v1/jobs", files=[("images", png)]).json()["id"]
    wait_for(client, job)
    key = client.post("/v1/workspace/images", files={"image": png}).json()["id"]
    used = client.get("/v1/space").json()["used"]
    assert used["jobs"] > len(png)
    assert used["images"] > len(png)
    client.delete(f"/v1/jobs/{job}")
    client.delete(f"/v1/workspace/images/{key}")
    assert client.get("/v1/space").json()["used"]["jobs"] == 0


def test_health(client):
    assert client.get("/healthz").json() == {"status": "ok", "version": __version__}


def test_metrics_are_prometheus_text(client):
    client.get("/healthz")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    line = re.compile(r'^(#.*|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+|.*\+Inf.*)$')
    assert all(line.match(each) for each in answer.text.splitlines())
    for name in (
        "waiting_images",
        "running_images",
        "open_jobs",
        "job_bytes",
        "used_bytes",
        "free_bytes",
    ):
        assert f"\ncellrim_{name} " in answer.text


def test_odd_paths_and_methods_make_no_new_series(client):
    for number in range(5):
        client.get(f"/none/{number}")
        client.request(f"ODD{number}", "/v1/models")
    series = client.get("/metrics").text
    assert "none" not in series
    assert "ODD" not in series
