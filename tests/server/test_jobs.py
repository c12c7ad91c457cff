import errno
import io
import json
import sqlite3
import threading
import time
import zipfile
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile

import cellrim
from cellrim.server import runner as runner_module
from cellrim.server.forms import FORMS
from cellrim.server.jobs import safe_stem


def hand_in(client, images, query=""):
    return client.post(f"/v1/jobs{query}", files=[("images", image) for image in images])


def unpacked(client, job, query=""):
    answer = client.get(f"/v1/jobs/{job}/results{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def test_many_images_and_one_that_is_broken(client, png, field, tiny_model, wait_for):
    answer = hand_in(client, [("a.png", png), ("b.png", b"broken"), ("c.png", png)])
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    shown = wait_for(client, job)
    assert shown["state"] == "done"
    assert shown["progress"] == {"total": 3, "ok": 2, "failed": 1, "waiting": 0, "cancelled": 0}
    assert [file["state"] for file in shown["files"]] == ["ok", "failed", "ok"]
    assert [file["cells"] for file in shown["files"]] == [20, None, 20]
    assert [file["device"] for file in shown["files"]] == ["cpu", None, "cpu"]
    assert shown["files"][1]["error"].startswith("Cannot read b.png: expected a PNG")
    archive = unpacked(client, job)
    endings = ("_labels.tif", "_overlay.png", "_cells.csv")
    assert archive.namelist() == [f"{s}{e}" for s in "ac" for e in endings] + ["job.json"]
    truth = cellrim.load_model(tiny_model, threads=1).segment(field).labels
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(archive.read("c_labels.tif"))), truth)
    about = json.loads(archive.read("job.json"))
    assert about["files"][1]["error"] == shown["files"][1]["error"]
    assert client.get("/v1/jobs").json()["jobs"][0]["id"] == job


def test_names_never_reach_the_file_system(client, png, wait_for, settings_with):
    names = ["../../evil.png", "/etc/passwd", "C:\\x\\y.tif", "a\nb.png", "y.tif", "Y.png", "..."]
    job = hand_in(client, [(name, png) for name in names], "?formats=cells-csv").json()["id"]
    shown = wait_for(client, job)
    assert shown["progress"]["ok"] == len(names)
    kept = [path.name for path in settings_with().data.rglob("*")]
    assert not [name for name in kept if "evil" in name or "passwd" in name or "y" in name[:1]]
    members = unpacked(client, job).namelist()
    assert members[:-1] == [
        "evil_cells.csv",
        "passwd_cells.csv",
        "y_cells.csv",
        "a%0Ab_cells.csv",
        "y_5_cells.csv",
        "Y_6_cells.csv",
        "image7_cells.csv",
    ]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.tif", "a"),
        (".hidden", "hidden"),
        ("..", ""),
        ("x" * 400, "x" * 150),
        ("a b.c.d", "a b.c"),
    ],
)
def test_safe_stem(name, stem):
    assert safe_stem(name) == stem


def test_unknown_jobs(client):
    for method, path in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/results"),
    ]:
        answer = client.request(method, f"/v1/jobs/{'0' * 32}{path}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "/problems/not-found"
        assert client.request(method, f"/v1/jobs/no-id{path}").status_code == 422


@pytest.fixture
def gate(monkeypatch):
    """Hold every image of a job back until it is opened; tells how many have begun."""

    class Gate:
        def __init__(self):
            self.open = threading.Event()
            self.begun = threading.Semaphore(0)

    gate, real = Gate(), runner_module.segment_file

    def segment_file(*args, **keys):
        gate.begun.release()
        assert gate.open.wait(60)
        return real(*args, **keys)

    monkeypatch.setattr(runner_module, "segment_file", segment_file)
    yield gate
    gate.open.set()


def test_cancel_keeps_what_is_done(serve, png, gate, wait_for):
    client = serve(workers=1)
    job = hand_in(client, [(f"{i}.png", png) for i in range(4)]).json()["id"]
    assert gate.begun.acquire(timeout=30)
    assert client.get(f"/v1/jobs/{job}/results").status_code == 409
    assert unpacked(client, job, "?partial=true").namelist() == ["job.json"]
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "running"
    answer = client.post(f"/v1/jobs/{job}/cancel")
    assert answer.json()["state"] == "cancelled"
    assert answer.json()["progress"]["cancelled"] == 4
    gate.open.set()
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 409
    # The server goes on with others.
    other = hand_in(client, [("a.png", png)]).json()["id"]
    assert wait_for(client, other)["progress"]["ok"] == 1
    assert client.get(f"/v1/jobs/{job}").json()["progress"]["cancelled"] == 4


def test_delete_removes_everything(serve, png, gate, settings_with, wait_for):
    client = serve(workers=1)
    job = hand_in(client, [("a.png", png), ("b.png", png)]).json()["id"]
    assert gate.begun.acquire(timeout=30)
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    gate.open.set()
    assert client.get(f"/v1/jobs/{job}").status_code == 404
    other = hand_in(client, [("a.png", png)]).json()["id"]
    wait_for(client, other)
    assert [path.name for path in (settings_with().data / "jobs").iterdir()] == [other]


def test_small_jobs_do_not_wait_for_large_ones(serve, png, gate, wait_for):
    client = serve(workers=1)
    large = hand_in(client, [(f"{i}.png", png) for i in range(30)]).json()["id"]
    assert gate.begun.acquire(timeout=30)
    small = hand_in(client, [("a.png", png)]).json()["id"]
    gate.open.set()
    wait_for(client, small)
    assert client.get(f"/v1/jobs/{large}").json()["progress"]["waiting"] > 0


@pytest.mark.parametrize("query", ["?formats=", "?formats=exe", "?formats=overlay,,", "?x=1"])
def test_wrong_options(client, png, query):
    answer = hand_in(client, [("a.png", png)], query)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/wrong-input"


def test_limits(serve, png):
    client = serve(max_files=2, max_job_bytes=len(png) * 2, max_upload_bytes=len(png))
    assert hand_in(client, [("a", png)] * 2).status_code == 202
    for images in ([("a", b"x")] * 3, [("a", png + b"x")]):
        answer = hand_in(client, images)
        assert answer.status_code == 413
        assert answer.json()["type"] == "/problems/too-large"


def test_too_many_open_jobs(serve, png, gate):
    client = serve(max_jobs=1)
    assert hand_in(client, [("a", png)]).status_code == 202
    answer = hand_in(client, [("a", png)])
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/busy")


def test_quota_removes_the_oldest_finished_job(serve, field, wait_for):
    png = imagecodecs.png_encode(field, level=0)
    results = field.size * runner_module.RESULT_BYTES  # for which there must be space
    client = serve(quota_bytes=len(png) * 8 + results + 40_000, workers=1)
    query = "?formats=cells-csv"
    first = hand_in(client, [("a", png)] * 8, query).json()["id"]
    wait_for(client, first)
    second = hand_in(client, [("a", png)] * 8, query).json()["id"]
    assert client.get(f"/v1/jobs/{first}").status_code == 404
    assert wait_for(client, second)["progress"]["ok"] == 8
    answer = hand_in(client, [("a", png)] * 20, query)
    assert (answer.status_code, answer.json()["type"]) == (507, "/problems/over-quota")
    assert client.get(f"/v1/jobs/{second}").status_code == 200  # it would not have helped
    assert client.get("/v1/space").json()["used"]["passing"] == 0


def test_results_that_find_no_room_fail_with_the_reason(serve, png, wait_for):
    client = serve(quota_bytes=len(png) + 1000)
    job = hand_in(client, [("a.png", png)]).json()["id"]
    (file,) = wait_for(client, job)["files"]
    assert file["state"] == "failed"
    assert "take at most" in file["error"]


def test_old_results_go(serve, png, wait_for):
    client = serve(keep_days=0.2 / 86_400)
    job = hand_in(client, [("a", png)]).json()["id"]
    wait_for(client, job)
    time.sleep(0.25)
    client.app.state.runner.sweep()
    assert client.get(f"/v1/jobs/{job}").status_code == 404


def test_a_job_waits_while_the_disk_is_full(serve, png, monkeypatch, wait_for):
    monkeypatch.setattr(runner_module, "_RETRY_SECONDS", 0.05)
    full = threading.Event()
    full.set()
    refused = []
    good = FORMS["cells-csv"]

    def write(result, path, name):
        if full.is_set():
            refused.append(name)
            raise OSError(errno.ENOSPC, "No space left on device")
        good.write(result, path, name)

    monkeypatch.setitem(FORMS, "cells-csv", type(good)(good.media_type, good.ending, "", write))
    client = serve()
    job = hand_in(client, [("a", png), ("b", png)], "?formats=cells-csv").json()["id"]
    wait_for(client, job, until=lambda _: len(refused) >= 4)
    wait_for(client, job, until=lambda shown: shown["progress"]["waiting"] == 2)
    full.clear()
    assert wait_for(client, job)["progress"]["ok"] == 2


def test_a_job_that_cannot_be_written_down(client, png, monkeypatch, settings_with):
    def fails(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(client.app.state.store, "_insert", fails)
    answer = hand_in(client, [("a", png)])
    assert (answer.status_code, answer.json()["type"]) == (507, "/problems/disk-full")
    assert list((settings_with().data / "jobs").iterdir()) == []


def test_an_image_that_kills_the_server_is_given_up(client, png, wait_for, monkeypatch):
    store = client.app.state.store
    real = store.next_file

    def next_file(busy):
        """As if the process had died three times before."""
        found = real(busy)
        if found is None or found[1].number != 0:
            return found
        return found[0], replace(found[1], attempts=runner_module.MAX_ATTEMPTS + 1)

    monkeypatch.setattr(store, "next_file", next_file)
    job = hand_in(client, [("a", png), ("b", png)]).json()["id"]
    shown = wait_for(client, job)
    assert [file["state"] for file in shown["files"]] == ["failed", "ok"]
    assert "broke off 3 times" in shown["files"][0]["error"]


def test_an_error_of_ours_fails_one_image_only(client, png, monkeypatch, wait_for):
    real = runner_module.segment_file

    def segment_file(path, name, *args, **keys):
        if name == "b":
            raise RuntimeError("secret")
        return real(path, name, *args, **keys)

    monkeypatch.setattr(runner_module, "segment_file", segment_file)
    job = hand_in(client, [("a", png), ("b", png), ("c", png)]).json()["id"]
    shown = wait_for(client, job)
    assert [file["state"] for file in shown["files"]] == ["ok", "failed", "ok"]
    assert "secret" not in json.dumps(shown)


def test_a_shutdown_loses_nothing(serve, png, gate, wait_for):
    first = serve(workers=1)
    job = hand_in(first, [(f"{i}", png) for i in range(3)]).json()["id"]
    assert gate.begun.acquire(timeout=30)
    threading.Timer(0.3, gate.open.set).start()
    first.__exit__(None, None, None)
    second = serve(workers=1)
    shown = wait_for(second, job)
    assert shown["progress"]["ok"] == 3
    assert unpacked(second, job).namelist()[0] == "0_labels.tif"
