import re

from cellrim import __version__
from cellrim.models.registry import embedded_models


def test_models(client):
    shown = client.get("/v1/models").json()["models"]
    assert [model["name"] for model in shown] == [*embedded_models(), "tiny"]
    assert [model["name"] for model in shown if model["default"]] == ["tiny"]
    assert all(len(model["sha256"]) == 64 for model in shown)


def test_health(client):
    assert client.get("/healthz").json() == {"status": "ok", "version": __version__}


def test_metrics_are_prometheus_text(client):
    client.get("/healthz")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    line = re.compile(r'^(#.*|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+|.*\+Inf.*)$')
    assert all(line.match(each) for each in answer.text.splitlines())
    for name in ("waiting_images", "running_images", "open_jobs", "job_bytes", "free_bytes"):
        assert f"\ncellrim_{name} " in answer.text


def test_odd_paths_and_methods_make_no_new_series(client):
    for number in range(5):
        client.get(f"/none/{number}")
        client.request(f"ODD{number}", "/v1/models")
    series = client.get("/metrics").text
    assert "none" not in series
    assert "ODD" not in series
