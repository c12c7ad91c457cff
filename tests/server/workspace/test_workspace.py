import base64
import io
import json
import sys
import time

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellrim.core.labels import relabel
from cellrim.models.card import ModelCard
from cellrim.models.registry import find_model
from cellrim.prediction.segmenter import Segmenter
from cellrim.server.work import Work
from cellrim.server.workspace import pictures, trainer
from cellrim.server.workspace.picture import Picture

BASE = "/v1/workspace"


def until(look, *, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = look()
        if state["state"] not in ("waiting", "working", "training", "comparing"):
            return state
        time.sleep(0.02)
    raise AssertionError(f"Not finished after {seconds} s: {state}")


def ready(client, key):
    return until(lambda: client.get(f"{BASE}/images/{key}").json())


def upload(client, data, name="cells.png", **query):
    said = client.post(f"{BASE}/images", files={"image": (name, data)}, params=query)
    assert said.status_code == 202, said.text
    return ready(client, said.json()["id"])


def labels_of(client, status):
    said = client.get(f"{BASE}/images/{status['id']}/labels")
    dtype = {"2": "<u2", "4": "<u4"}[said.headers["x-bytes-per-label"]]
    shape = status["height"], status["width"]
    return np.frombuffer(said.content, dtype).reshape(shape).astype(np.int32)


def edit(client, status, **what):
    return client.post(f"{BASE}/images/{status['id']}/edits", json=what)


@pytest.fixture
def image(client, png):
    return upload(client, png)


def test_an_image_has_the_labels_that_segment_gives(client, png, image):
    assert image["state"] == "ready"
    assert image["count"] == 20
    whole = client.post("/v1/segment", files={"image": png}, params={"format": "label-tiff"})
    expected = tifffile.imread(io.BytesIO(whole.content))
    np.testing.assert_array_equal(labels_of(client, image), expected)


def test_the_view_is_the_image_stretched(client, field, image):
    said = client.get(f"{BASE}/images/{image['id']}/view")
    picture = imagecodecs.png_decode(said.content)
    assert picture.shape == field.shape
    assert picture[field == 200].min() == 255
    assert picture[field == 10].max() == 0
    small = client.get(f"{BASE}/images/{image['id']}/view", params={"most": 60})
    assert imagecodecs.png_decode(small.content).shape == (48, 60)


def test_a_channel_by_itself(client, field):
    two = np.stack([field, 255 - field, np.zeros_like(field)], axis=2)
    status = upload(client, imagecodecs.png_encode(two))
    assert status["channels"] == ["red", "green", "blue"]
    address = f"{BASE}/images/{status['id']}/view"
    green = imagecodecs.png_decode(client.get(address, params={"channel": 1}).content)
    assert green.ndim == 2
    assert green[field == 200].max() == 0
    assert client.get(address, params={"channel": 3}).status_code == 422


def test_cells_are_measured(client, image):
    table = client.get(f"{BASE}/images/{image['id']}/cells").json()
    labels = labels_of(client, image)
    assert table["columns"]["id"] == list(range(1, 21))
    assert table["columns"]["area"] == np.bincount(labels.ravel())[1:].tolist()
    assert sorted(table["ids"]) == list(range(1, 21))


def test_corrections_change_the_rectangle_they_say(client, image):
    before = labels_of(client, image)
    done = [
        {"action": "delete", "cells": [3]},
        {"action": "split", "line": [[12, 0], [12, 24]]},
        {"action": "draw", "polygon": [[2, 90], [10, 90], [10, 95], [2, 95]]},
        {"action": "draw", "polygon": [[2, 90], [14, 90], [14, 95]], "cell": 22},
        {"action": "undo"},
        {"action": "undo"},
        {"action": "redo"},
    ]
    mine = before.copy()
    for what in done:
        said = edit(client, image, **what)
        assert said.status_code == 200, said.text
        y0, x0, y1, x1 = said.json()["box"]
        part = np.frombuffer(base64.b64decode(said.json()["labels"]), "<u4")
        mine[y0:y1, x0:x1] = part.reshape(y1 - y0, x1 - x0)
        np.testing.assert_array_equal(labels_of(client, image), mine)
    status = said.json()["status"]
    assert (status["undo"], status["redo"], status["count"]) == (3, 1, 21)
    for _ in range(3):
        edit(client, image, action="undo")
    np.testing.assert_array_equal(labels_of(client, image), before)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"action": "delete", "cells": [99]}, "no cell 99"),
        ({"action": "merge", "cells": [1, 20]}, "lie apart"),
        ({"action": "split", "line": [[0, 0], [1, 1]]}, "no cell below"),
        ({"action": "undo"}, "nothing to undo"),
        ({"action": "explode"}, "action"),
        ({"action": "draw", "polygon": [[1, 1], [2, 2], [1e9, 5]]}, "polygon"),
        ({"action": "delete", "cells": [1], "path": "x"}, "path"),
    ],
)
def test_a_correction_that_cannot_be_is_a_problem_in_words(client, image, what, words):
    said = edit(client, image, **what)
    assert said.status_code == 422
    assert said.headers["content-type"] == "application/problem+json"
    assert words in said.json()["detail"]


def test_downloads_are_of_the_corrected_labels(client, image):
    edit(client, image, action="delete", cells=[2, 5])
    expected = relabel(labels_of(client, image))
    for form in client.get(f"{BASE}/forms").json():
        said = client.get(f"{BASE}/images/{image['id']}/result", params={"format": form["name"]})
        assert said.status_code == 200, said.text
        if form["name"] == "label-tiff":
            np.testing.assert_array_equal(tifffile.imread(io.BytesIO(said.content)), expected)
        if form["name"] == "cells-json":
            assert len(said.json()["cells"]) == 18
    wrong = client.get(f"{BASE}/images/{image['id']}/result", params={"format": "../x"})
    assert wrong.status_code == 422


def test_sliders_do_not_run_the_network(client, image, monkeypatch):
    def never(*_args, **_more):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Segmenter, "predict", never)
    edit(client, image, action="delete", cells=[1])
    address = f"{BASE}/images/{image['id']}"
    status = client.patch(address, json={"threshold": 0.9}).json()
    assert (status["count"], status["threshold"], status["undo"]) == (20, 0.9, 2)
    # This network's flow has no length, so its confidence is 0: any threshold hides all ...
    hidden = client.patch(address, json={"min_confidence": 0.5}).json()
    assert hidden["count"] == 0
    assert client.get(f"{address}/cells").json()["columns"]["id"] == []
    # ... but what a person draws, which is sure.
    edit(client, image, action="draw", polygon=[[2, 90], [10, 90], [10, 95], [2, 95]])
    assert client.get(address).json()["count"] == 1
    assert client.patch(address, json={"min_confidence": 0}).json()["count"] == 21


def test_a_field_without_a_sure_cell_shows_none_until_asked(client, png, monkeypatch):
    monkeypatch.setattr(ModelCard, "least_surest", property(lambda _card: 0.75))
    status = upload(client, png)
    assert (status["count"], status["min_confidence"]) == (0, 0.75)
    address = f"{BASE}/images/{status['id']}"
    client.post(f"{address}/segment", params={"diameter": 40})
    assert ready(client, status["id"])["count"] == 0
    assert client.patch(address, json={"min_confidence": 0}).json()["count"] > 0
    assert upload(client, png, min_confidence=0)["count"] == 20


def test_another_diameter_needs_no_upload_and_can_be_undone(client, image):
    before = labels_of(client, image)
    edit(client, image, action="delete", cells=[1])
    address = f"{BASE}/images/{image['id']}"
    said = client.post(f"{address}/segment", params={"diameter": 40})
    assert said.status_code == 202
    status = ready(client, image["id"])
    assert status["diameter"] == pytest.approx(40)
    assert status["asked_diameter"] == 40
    assert status["edits"] == 0
    edit(client, image, action="undo")
    edit(client, image, action="undo")
    np.testing.assert_array_equal(labels_of(client, image), before)


@pytest.mark.parametrize("method", ["get", "delete"])
def test_an_unknown_image(client, method):
    said = getattr(client, method)(f"{BASE}/images/{'0' * 32}")
    assert said.status_code == (404 if method == "get" else 204)
    assert getattr(client, method)(f"{BASE}/images/..%2f..%2fetc").status_code in (404, 405)


def test_a_broken_image_fails_by_name_and_without_the_servers_path(client, png, tmp_path):
    status = upload(client, png[:200], name="../../Fr\u00fchling <b>.png")
    assert status["state"] == "failed"
    assert status["name"] == "Fr\u00fchling <b>.png"
    assert "Fr\u00fchling" in status["error"]
    assert str(tmp_path) not in status["error"]
    assert client.get(f"{BASE}/images/{status['id']}/labels").status_code == 409


def test_an_image_of_too_many_pixels_leaves_nothing(serve, png, tmp_path):
    client = serve(max_pixels=1000)
    said = client.post(f"{BASE}/images", files={"image": png})
    assert said.status_code == 413
    assert list((tmp_path / "data" / "workspace").glob("*")) == []


def test_what_the_network_would_see_is_limited_as_for_segment(serve, png, tmp_path):
    client = serve(max_pixels=20_000)  # the image has 11,520
    small = {"diameter": 4}
    expected = client.post("/v1/segment", files={"image": ("cells.png", png)}, params=small)
    said = client.post(f"{BASE}/images", files={"image": ("cells.png", png)}, params=small)
    assert (said.status_code, said.json()) == (413, expected.json())
    assert list((tmp_path / "data" / "workspace").glob("*")) == []
    image = upload(client, png)
    again = client.post(f"{BASE}/images/{image['id']}/segment", params=small)
    assert (again.status_code, again.json()) == (413, expected.json())
    assert client.get(f"{BASE}/images/{image['id']}").json()["count"] == 20


def test_pages_count_what_the_network_sees_like_segment(client, png, monkeypatch):
    seen = []
    run = Work.run

    async def note(self, function, *, pixels=0, stop=None):
        seen.append(pixels)
        return await run(self, function, pixels=pixels, stop=stop)

    monkeypatch.setattr(Work, "run", note)
    client.post("/v1/segment", files={"image": png}, params={"diameter": 8})
    status = upload(client, png, diameter=8)
    client.patch(f"{BASE}/images/{status['id']}", json={"threshold": 0.8})
    assert seen == [11520 * 4] * 3


def test_answers_leave_no_files_behind(client, image, tmp_path):
    address = f"{BASE}/images/{image['id']}"
    for path in ("view", "labels", "result?format=rois", "result?format=label-png"):
        assert client.get(f"{address}/{path}").status_code == 200
    assert client.get(f"{address}/view?channel=5").status_code == 422
    assert list((tmp_path / "data" / "incoming").glob("*")) == []


def test_removing_an_image_removes_its_files(client, image, tmp_path):
    folder = tmp_path / "data" / "workspace" / image["id"]
    assert folder.is_dir()
    assert client.delete(f"{BASE}/images/{image['id']}").status_code == 204
    assert not folder.exists()


def test_the_longest_unused_image_goes_when_there_are_too_many(client, png, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PICTURES", 2)
    keys = [upload(client, png)["id"] for _ in range(2)]
    client.get(f"{BASE}/images/{keys[0]}")
    keys.append(upload(client, png)["id"])
    there = [client.get(f"{BASE}/images/{key}").status_code for key in keys]
    assert there == [200, 404, 200]


def test_old_images_go(client, png, monkeypatch):
    first = upload(client, png)
    monkeypatch.setattr(pictures, "KEEP_SECONDS", 0.0)
    upload(client, png)
    assert client.get(f"{BASE}/images/{first['id']}").status_code == 404


# --------------------------------------------------------------------------- space


def used(client):
    return client.get("/v1/space").json()["used"]


def test_an_image_in_work_counts_as_large_as_it_will_be(client, png, monkeypatch):
    """What is reserved is at least what is there in the end."""
    segment, seen = Picture.segment, []

    def note(self, *args):
        seen.append(used(client)["images"])
        segment(self, *args)

    monkeypatch.setattr(Picture, "segment", note)
    upload(client, png)
    assert 0 < used(client)["images"] <= seen[0]


def test_images_that_nobody_works_at_go_for_new_ones(serve, png):
    client = serve()
    first, second = (upload(client, png) for _ in range(2))
    edit(client, second, action="delete", cells=[1])
    client.get(f"{BASE}/images/{first['id']}")  # looked at last, but nothing of it would be lost
    before, needed = used(client)["images"], needed_for(client, first)
    client.app.state.space.quota = before + needed - 1
    ready(client, client.post(f"{BASE}/images", files={"image": png}).json()["id"])
    there = [client.get(f"{BASE}/images/{each['id']}").status_code for each in (first, second)]
    assert there == [404, 200]


def needed_for(client, image):
    """Bytes that another image like this one is counted with while it is segmented."""
    return client.app.state.workspace.pictures.get(image["id"]).size_when("working")


def test_a_refused_image_leaves_nothing(serve, png, tmp_path):
    client = serve(quota_bytes=len(png))
    said = client.post(f"{BASE}/images", files={"image": png})
    assert (said.status_code, said.json()["type"]) == (507, "/problems/over-quota")
    assert list((tmp_path / "data" / "workspace").glob("*")) == []
    assert client.post(f"{BASE}/sample").status_code == 507


def test_another_diameter_that_needs_too_much_leaves_the_image_as_it_was(client, image):
    client.app.state.space.quota = used(client)["images"]
    address = f"{BASE}/images/{image['id']}"
    assert client.post(f"{address}/segment", params={"diameter": 4}).status_code == 202
    status = ready(client, image["id"])
    assert (status["state"], status["count"]) == ("ready", 20)
    assert "take at most" in status["error"]


def test_an_image_that_finds_no_space_fails_with_the_reason(client, image, png):
    waits = client.app.state.workspace.pictures.get(image["id"]).size_when("waiting")
    client.app.state.space.quota = used(client)["images"] + waits
    client.app.state.workspace.pictures.get(image["id"]).edits = 1  # it does not go
    status = upload(client, png)
    assert status["state"] == "failed"
    assert "images in the page" in status["error"]
    assert used(client)["images"] <= client.app.state.space.quota


def test_many_small_images_may_wait(client, image):
    """They count as what they are, not as what the network may make of each."""
    picture = client.app.state.workspace.pictures.get(image["id"])
    assert picture.size_when("waiting") < 50 * 96 * 120
    assert picture.size_when("working") > picture.size_when("waiting")


def test_what_was_collected_is_never_removed_for_something_new(serve, field, png, wait_for):
    client = serve()
    job = client.post("/v1/jobs", files=[("images", png)]).json()["id"]
    wait_for(client, job)
    status = upload(client, png)
    client.post(f"{BASE}/learning/images", json={"id": status["id"]})
    needed = needed_for(client, status)
    client.delete(f"{BASE}/images/{status['id']}")
    kept = used(client)["corrected"]
    assert kept > len(png)
    client.app.state.space.quota = kept + 100
    said = client.post(f"{BASE}/images", files={"image": png})
    assert said.status_code == 507
    assert "corrected images" in said.json()["detail"]
    assert "DELETE /v1/workspace/learning/images/ID" in said.json()["detail"]
    assert len(client.get(f"{BASE}/learning").json()["images"]) == 1
    # A job that is done goes by itself once that is enough.
    assert client.get(f"/v1/jobs/{job}").status_code == 200
    client.app.state.space.quota = kept + needed
    assert upload(client, png)["state"] == "ready"
    assert client.get(f"/v1/jobs/{job}").status_code == 404


def test_collecting_is_refused_where_there_is_no_space(client, image):
    client.app.state.space.quota = used(client)["images"]
    said = client.post(f"{BASE}/learning/images", json={"id": image["id"]})
    assert said.status_code == 507
    assert client.get(f"{BASE}/learning").json()["images"] == []
    assert client.get(f"{BASE}/images/{image['id']}").status_code == 200


def test_the_sample(client):
    said = client.post(f"{BASE}/sample")
    status = ready(client, said.json()["id"])
    assert status["state"] == "ready"
    assert status["width"] > 100


# --------------------------------------------------------------------------- learning

_TRAINS = """
import json, pathlib, shutil, sys
data, run, base = map(pathlib.Path, sys.argv[1:])
assert len(list((data / "images").iterdir())) == len(list((data / "labels").iterdir())) == 2
print("patch 10 of 100  loss 0.500  1 min left", flush=True)
print("epoch 0: 0 patches, 0 min, Dice 0.9, AP50 0.250, mAP 0.1 | x 0.2", flush=True)
print("epoch 1: 100 patches, 0 min, loss 0.1, Dice 0.9, AP50 0.750, mAP 0.1 | x 0.2")
(run / "model").mkdir(parents=True)
shutil.copy(base / "model.onnx", run / "model")
card = json.loads((base / "card.json").read_text())
card["name"] = data.name
(run / "model" / "card.json").write_text(json.dumps(card))
"""


@pytest.fixture
def trains(client, monkeypatch):
    """Put a script in the place of the training."""
    monkeypatch.setattr(trainer, "why_not", lambda: None)

    def use(script):
        client.get(f"{BASE}/learning")
        client.app.state.workspace.trainer.command = lambda data, run, base, _minutes: [
            *(sys.executable, "-c", script, str(data), str(run), str(base.path))
        ]

    return use


@pytest.fixture
def collected(client, field):
    for level in (0, 9):  # one image in two files that differ
        status = upload(client, imagecodecs.png_encode(field, level=level))
        edit(client, status, action="delete", cells=[1, 2, 3, 4])
        said = client.post(f"{BASE}/learning/images", json={"id": status["id"]})
        assert said.status_code == 201
    return said.json()["images"]


def finished(client):
    return until(lambda: client.get(f"{BASE}/learning").json())


def test_learning_offers_a_model_with_before_and_after(client, trains, collected):
    trains(_TRAINS)
    asked = {"minutes": 1, "model": "tiny"}
    begun = client.post(f"{BASE}/learning/training", json=asked)
    assert begun.status_code == 202, begun.text
    state = finished(client)
    assert state["state"] == "finished", state
    assert state["model"] == "tiny-fit-1"
    assert [mark["ap50"] for mark in state["marks"]] == [0.25, 0.75]
    assert state["loss"] == 0.5
    # The model finds 20 cells where the correction has 16: 16 of 20 in the union are right.
    for row in state["comparison"]:
        assert (row["cells"], row["cells_before"], row["cells_after"]) == (16, 20, 20)
        assert row["ap50_before"] == row["ap50_after"] == pytest.approx(0.8)
    assert sorted(row["held_back"] for row in state["comparison"]) == [False, True]
    names = [model["name"] for model in client.get("/v1/models").json()["models"]]
    assert "tiny-fit-1" in names


def test_set_and_model_are_there_after_a_restart(client, serve, trains, collected, tmp_path):
    trains(_TRAINS)
    client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    finished(client)
    folder = tmp_path / "data" / "trainings" / "tiny-fit-1"
    (folder / "run" / "packed").mkdir()
    (folder.parent / "cut-off").mkdir()
    client.__exit__(None, None, None)
    again = serve()
    assert "tiny-fit-1" in [model["name"] for model in again.get("/v1/models").json()["models"]]
    assert len(again.get(f"{BASE}/learning").json()["images"]) == 2
    assert [path.name for path in folder.iterdir()] == ["run"]
    assert [path.name for path in (folder / "run").iterdir()] == ["model"]
    assert not (folder.parent / "cut-off").exists()


def test_a_trained_model_can_be_deleted(client, trains, collected, tmp_path):
    trains(_TRAINS)
    client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    (model,) = finished(client)["models"]
    assert model["name"] == "tiny-fit-1"
    assert 0 < model["bytes"] == used(client)["models"]
    assert client.delete(f"{BASE}/learning/models/tiny").status_code == 409  # the server's own
    assert client.delete(f"{BASE}/learning/models/general").status_code == 404
    assert client.delete(f"{BASE}/learning/models/..%2ftiny-fit-1").status_code in (404, 405)
    state = client.delete(f"{BASE}/learning/models/tiny-fit-1").json()
    assert state["models"] == []
    assert used(client)["models"] == 0
    names = [each["name"] for each in client.get("/v1/models").json()["models"]]
    assert "tiny-fit-1" not in names
    assert client.delete(f"{BASE}/learning/models/tiny-fit-1").status_code == 404


def test_a_model_that_a_training_needs_stays(client, trains, collected):
    trains(_TRAINS)
    client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    finished(client)
    trains("import time; time.sleep(600)")
    client.post(f"{BASE}/learning/training", json={"model": "tiny-fit-1"})
    said = client.delete(f"{BASE}/learning/models/tiny-fit-1")
    assert (said.status_code, said.json()["type"]) == (409, "/problems/conflict")
    client.delete(f"{BASE}/learning/training")
    finished(client)
    assert client.delete(f"{BASE}/learning/models/tiny-fit-1").status_code == 200


def test_a_training_has_its_space_before_it_begins(client, trains, collected):
    trains("import time; time.sleep(600)")
    client.app.state.space.quota = sum(used(client).values()) + 100
    said = client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    assert (said.status_code, said.json()["type"]) == (507, "/problems/over-quota")
    client.app.state.space.quota = 10**9
    client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    workspace = client.app.state.workspace
    base = find_model(workspace.models.folder("tiny"))
    assert used(client)["models"] == trainer.training_bytes(workspace.corrected, base)
    client.delete(f"{BASE}/learning/training")


def test_an_image_that_came_twice_is_in_the_set_once(client, png):
    for cells in ([1], [1, 2]):
        status = upload(client, png)
        edit(client, status, action="delete", cells=cells)
        said = client.post(f"{BASE}/learning/images", json={"id": status["id"]}).json()
    assert [(each["id"], each["cells"]) for each in said["images"]] == [(status["id"], 18)]


def test_a_training_that_fails_says_what_it_said(client, trains, collected):
    trains("raise SystemExit('Expected more cells, but got none.')")
    client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    state = finished(client)
    assert state["state"] == "failed"
    assert "Expected more cells" in state["error"]


def test_a_training_can_be_stopped_and_only_one_runs(client, trains, collected):
    trains("import time; time.sleep(600)")
    client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    second = client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    assert second.status_code == 409
    state = client.delete(f"{BASE}/learning/training").json()
    assert state["state"] == "stopped"


def test_one_image_is_too_few(client, trains, image):
    trains(_TRAINS)
    client.post(f"{BASE}/learning/images", json={"id": image["id"]})
    said = client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    assert said.status_code == 409
    assert "at least 2" in said.json()["detail"]
    assert client.delete(f"{BASE}/learning/images/{image['id']}").json()["images"] == []


def test_without_torch_the_reason_is_given(client, collected, monkeypatch):
    monkeypatch.setattr(trainer, "find_spec", lambda _name: None)
    state = client.get(f"{BASE}/learning").json()
    assert "cellrim[train]" in state["impossible"]
    said = client.post(f"{BASE}/learning/training", json={"model": "tiny"})
    assert said.status_code == 409


def test_the_set_is_what_training_reads(client, collected, tmp_path):
    from cellrim.datasets.registry import open_dataset

    listing = open_dataset(tmp_path / "data" / "corrected")
    assert not listing.problems
    for sample in listing.samples:
        assert sample.read_image().shape == (96, 120)
    assert json.loads((tmp_path / "data" / "corrected" / "names.json").read_text())


def test_the_command_is_one_that_the_command_line_takes():
    from pathlib import Path

    from click.testing import CliRunner

    from cellrim.cli.main import app

    command = trainer.train_command(Path("data"), Path("run"), find_model("general"), 10)
    options = [part for part in command if part.startswith("--")]
    said = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"})
    for option in options:
        assert option in said.output
