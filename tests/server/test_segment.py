import csv
import errno
import io
import json

import imagecodecs
import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco

import cellrim
from cellrim.server import segment
from cellrim.server.forms import FORMS


def post(client, data, query="", *, name="a.png", **headers):
    return client.post(f"/v1/segment{query}", files={"image": (name, data)}, headers=headers)


def expected(tiny_model, field):
    return cellrim.load_model(tiny_model, threads=1).segment(field)


def problem(answer, status, kind):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"/problems/{kind}"
    assert answer.json()["status"] == status
    return answer.json()["detail"]


def test_cells_as_json(client, png, field, tiny_model):
    answer = post(client, png)
    assert answer.status_code == 200, answer.text
    truth = expected(tiny_model, field)
    assert truth.count == 20
    shown = answer.json()
    assert shown["count"] == truth.count == len(shown["cells"])
    assert (shown["height"], shown["width"]) == field.shape
    assert [cell["area"] for cell in shown["cells"]] == truth.cells.columns["area"].tolist()
    assert answer.headers["cellrim-cells"] == "20"


def test_label_images_are_those_of_the_library(client, png, field, tiny_model):
    truth = expected(tiny_model, field).labels
    tiff = post(client, png, "?format=label-tiff")
    assert tiff.headers["content-type"] == "image/tiff"
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(tiff.content)), truth)
    as_png = post(client, png, "?format=label-png")
    np.testing.assert_array_equal(imagecodecs.png_decode(as_png.content), truth)


def test_overlay_and_csv(client, png, field):
    overlay = imagecodecs.png_decode(post(client, png, "?format=overlay").content)
    assert overlay.shape == (*field.shape, 3)
    rows = list(csv.DictReader(io.StringIO(post(client, png, "?format=cells-csv").text)))
    assert len(rows) == 20
    assert float(rows[0]["area"]) > 100


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_read_by_its_own_reader(client, png, field, tiny_model):
    shown = post(client, png, "?format=coco").json()
    truth = expected(tiny_model, field).labels
    assert len(shown["annotations"]) == 20
    assert shown["images"][0]["file_name"] == "a.png"
    for annotation in shown["annotations"]:
        mask = coco.decode(annotation["segmentation"]).astype(bool)
        np.testing.assert_array_equal(mask, truth == annotation["id"])
        assert coco.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert annotation["area"] == mask.sum()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("image/tiff", "image/tiff"),
        ("text/html, image/*;q=0.3, application/json;q=0.9", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_accept_chooses_the_form(client, png, accept, kind):
    assert post(client, png, accept=accept).headers["content-type"] == kind


def test_format_goes_before_accept(client, png):
    assert post(client, png, "?format=overlay", accept="text/csv").headers["content-type"] == (
        "image/png"
    )


def test_nothing_acceptable(client, png):
    detail = problem(post(client, png, accept="video/mp4"), 406, "not-acceptable")
    assert "text/csv" in detail


def test_options_reach_the_segmenter(client, field, tiny_model):
    colour = np.stack([field, np.zeros_like(field), np.zeros_like(field)], axis=2)
    data = imagecodecs.png_encode(colour)
    assert post(client, data, "?channels=0").json()["count"] == 20
    assert post(client, data, "?channels=1").json()["count"] == 0
    assert post(client, data, "?channels=0&min_confidence=1").json()["count"] == 0
    assert post(client, data, "?channels=0&diameter=20").headers["cellrim-diameter"] == "20.00"
    assert post(client, data, "?model=tiny").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "?diameter=0",
        "?diameter=nan",
        "?diameter=x",
        "?channels=0,0",
        "?channels=7",
        "?channels=-1",
        "?channels=0,1,2,3",
        "?min_confidence=1.5",
        "?model=none",
        "?model=../../etc/passwd",
        "?format=pickle",
        "?unknown=1",
    ],
)
def test_wrong_options(client, png, query):
    problem(post(client, png, query), 422, "wrong-input")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", bytes(5000)])
def test_unreadable_images_name_the_client_s_file_only(client, tmp_path, data):
    detail = problem(post(client, data, name="../up/cells.png"), 422, "unreadable-image")
    assert "cells.png" in detail
    assert str(tmp_path) not in detail
    assert ".." not in detail


def test_stacks_say_what_to_do(client):
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((5, 32, 32), np.uint8), photometric="minisblack")
    detail = problem(post(client, file.getvalue(), name="stack.tif"), 422, "unreadable-image")
    assert detail.startswith("Cannot read stack.tif")


def test_too_many_pixels(serve, field):
    client = serve(max_pixels=field.size - 1)
    detail = problem(post(client, imagecodecs.png_encode(field)), 413, "too-many-pixels")
    assert "96 x 120" in detail


def test_a_small_diameter_may_not_blow_the_image_up(serve, png, field):
    client = serve(max_pixels=field.size * 5)
    assert post(client, png, "?diameter=8").status_code == 200  # the model wants 16
    detail = problem(post(client, png, "?diameter=2"), 413, "too-many-pixels")
    assert "larger diameter" in detail


def test_too_many_bytes(serve, png):
    client = serve(max_upload_bytes=len(png) - 1)
    problem(post(client, png), 413, "too-large")
    problem(post(client, bytes(100_000)), 413, "too-large")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"abc", "multipart/form-data"),
        (b"{}", "application/json"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\ncut off',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="path"\r\n\r\n/etc/passwd\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_malformed_bodies(client, body, kind):
    answer = client.post("/v1/segment", content=body, headers={"content-type": kind})
    problem(answer, 400, "bad-request")


def test_a_second_image_is_refused(client, png):
    answer = client.post("/v1/segment", files=[("image", ("a", png)), ("image", ("b", png))])
    problem(answer, 413, "too-large")


def test_nothing_is_left_behind(serve, png, settings_with):
    client = serve()
    post(client, png)
    post(client, b"broken")
    post(client, png, "?model=none")
    assert list((settings_with().data / "incoming").iterdir()) == []


def test_took_too_long(serve, png):
    client = serve(max_seconds=1e-6)
    problem(post(client, png), 504, "took-too-long")
    assert client.get("/healthz").status_code == 200


def test_full_disk_then_space_again(client, png, monkeypatch):
    def full(_result, _path, _name):
        raise OSError(errno.ENOSPC, "No space left on device")

    good = FORMS["coco"]
    monkeypatch.setitem(FORMS, "coco", type(good)(good.media_type, good.ending, "", full))
    answer = post(client, png, "?format=coco")
    problem(answer, 507, "disk-full")
    assert "retry-after" in answer.headers
    assert post(client, png).status_code == 200


def test_nothing_is_taken_when_the_disk_is_nearly_full(serve, png):
    client = serve(min_free_bytes=10**18)
    problem(post(client, png), 507, "disk-full")
    assert client.get("/healthz").status_code == 507


def test_an_error_of_ours_is_a_problem_without_its_text(client, png, monkeypatch):
    def fails(*_args, **_keys):
        raise RuntimeError("secret")

    monkeypatch.setattr(segment, "check_cost", fails)
    answer = post(client, png)
    assert "secret" not in answer.text
    problem(answer, 500, "internal")


def test_not_enough_memory_is_told(client, png, monkeypatch):
    def fails(*_args, **_keys):
        raise MemoryError

    monkeypatch.setattr(segment, "segment_file", fails)
    problem(post(client, png), 503, "busy")


def test_busy(serve, png, monkeypatch):
    client = serve(workers=1, max_waiting=1)
    client.app.state.work._max_waiting = 0
    answer = post(client, png)
    problem(answer, 503, "busy")
    assert int(answer.headers["retry-after"]) > 0


def test_json_of_an_image_without_cells(client):
    answer = post(client, imagecodecs.png_encode(np.zeros((40, 40), np.uint8)))
    assert json.loads(answer.text)["cells"] == []


def test_metrics_count(client, png):
    post(client, png)
    post(client, b"broken")
    text = client.get("/metrics").text
    assert 'cellrim_images_total{outcome="ok",source="request"} 1.0' in text
    assert 'cellrim_requests_total{method="POST",route="/v1/segment",status="200"} 1.0' in text
    assert 'cellrim_requests_total{method="POST",route="/v1/segment",status="422"} 1.0' in text
