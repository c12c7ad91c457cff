"""A small image that is streamed gives what it gives in memory."""

import csv
import json

import numpy as np
import pytest
from scipy import ndimage

from cellrim.core.image import image_from_array
from cellrim.core.labels import areas, relabel
from cellrim.io.exports import FORMATS, CellSet
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.io.levels import Level
from cellrim.io.region_readers import ArrayRegions
from cellrim.measure import measure_cells
from cellrim.measure.quality import measure_quality
from cellrim.measure.shape import bounding_boxes
from cellrim.prediction.batch import plan_run, run
from cellrim.prediction.inputs import find_jobs
from cellrim.prediction.large import STREAMED, LargeResult, Model, segment_large, squares
from cellrim.prediction.request import Request
from cellrim.prediction.single import plan_single, run_single
from cellrim.report.page import read_cards

LISTS = tuple(kind for kind, known in FORMATS.items() if known.write_list)


@pytest.fixture
def model(tiny_model):
    return Model(str(tiny_model), 1, 256)


@pytest.fixture
def field(discs):
    """Cells at the frame, one over several squares, one with a hole and one in two parts."""
    rng = np.random.default_rng(0)
    pixels = discs((210, 230), 11, spacing=34)
    pixels[60:170, 80:88] = 200
    pixels[:9, 50:80] = 200
    pixels[100:104, 16:20] = 10
    return pixels + rng.integers(0, 9, pixels.shape, np.uint8)


@pytest.fixture
def start(tmp_path, model, monkeypatch):
    """Run over a folder with images of more than so many pixels streamed; return its folder."""
    monkeypatch.setattr(squares, "EDGE", 64)

    def make(folder, *kinds, limit):
        monkeypatch.setattr("cellrim.prediction.single.STREAMED_PIXELS", limit)
        out = tmp_path / f"out_{limit}"
        request = Request(save=("labels", *kinds), diameter=16.0, report=True)
        plan = plan_run(find_jobs([folder], out), out, segmenter=model(), request=request)
        return out, run(plan)

    return make


def test_report_quality_and_summary_are_those_in_memory(start, tmp_path, write_tiff, field):
    folder = tmp_path / "in"
    blurred = ndimage.gaussian_filter(field.astype(float), 4).astype(np.uint8)
    for name, pixels in (("a", field), ("b", blurred), ("c", field[:, ::-1] // 2)):
        write_tiff(folder / f"{name}.tif", pixels, tile=(64, 64))
    (one, inside), (other, streamed) = (start(folder, "cells", limit=n) for n in (10**9, 100))
    assert not inside.failed + streamed.failed
    assert any(record.flags for record in inside.records)
    for record, expected in zip(streamed.records, inside.records, strict=True):
        assert set(record.seconds) == {"segment", "save", "quality"}
        assert record.flags == expected.flags
        assert record.quality == pytest.approx(expected.quality, abs=2e-4)
        assert record.cells == expected.cells > 20
    rows, expected_rows = (
        list(csv.DictReader((f / "images.csv").read_text().splitlines())) for f in (other, one)
    )
    assert rows == expected_rows
    assert "" not in (rows[0]["quality_blur"], rows[0]["median_area"], rows[0]["confluence"])
    run_json = json.loads((other / "run.json").read_text())
    assert [f["flags"] for f in run_json["files"]] == [list(r.flags) for r in inside.records]
    cards, expected_cards = (
        {card["name"]: card for card in read_cards(f / "report.html")} for f in (other, one)
    )
    for name, card in cards.items():
        assert card["picture"]["layers"]["cells"]
        for part in ("picture", "keep", "flags", "sentences", "links"):
            assert card[part] == expected_cards[name][part], part


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_cells_are_those_of_the_whole_label_image(
    start, tmp_path, write_tiff, field, kind
):
    path = write_tiff(tmp_path / "in" / "a b.tif", field, tile=(64, 64))
    out, report = start(path, kind, "cells", limit=100)
    assert not report.failed
    labels, image = read_labels(out / "a b_labels.tif"), read_image(path)
    with (out / "a b_cells.csv").open() as file:
        sure = np.array([row["confidence"] for row in csv.DictReader(file)], np.float32)
    table = measure_cells(labels, image, confidence=sure)
    assert len(table) > 20
    cells = CellSet("a b", labels, image, measure=lambda: table.columns)
    FORMATS[kind].write(tmp_path / "expected", cells)
    written = (out / f"a b{FORMATS[kind].ending}").read_bytes()
    assert written == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_no_cells(model, tmp_path, write_tiff, kind):
    path = write_tiff(tmp_path / "a.tif", np.zeros((60, 70), np.uint8))
    result = segment_large(path, tmp_path / "work", load=model)
    FORMATS[kind].write_list(tmp_path / "b", result.cell_list("a"))
    FORMATS[kind].write(tmp_path / "c", CellSet("a", np.zeros((60, 70), np.int32), None, None))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert set(result.quality.as_numbers().values()) == {None}
    assert result.thinned.labels.shape == (60, 70)


@pytest.fixture
def touching(tmp_path):
    """Ragged cells that touch everywhere, some with holes and in parts, as a large result."""
    rng = np.random.default_rng(0)
    seeds = np.ones((150, 170), bool)
    seeds.ravel()[rng.choice(seeds.size, 60, replace=False)] = False
    at = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    ids = np.cumsum(~seeds.ravel()).reshape(seeds.shape).astype(np.int32)
    labels = ids[np.clip(at[0] + rng.integers(-1, 2, seeds.shape), 0, 149), at[1]]
    labels = relabel(np.where(rng.random(seeds.shape) < 0.02, 0, labels))
    pixels = rng.integers(0, 900, (*labels.shape, 2)).astype(np.uint16)
    image = image_from_array(pixels, axes="YXC", channels=("dna", "actin"), pixel_size=0.5)

    def read(y, x):
        return labels[32 * y : 32 * y + 32, 32 * x : 32 * x + 32].astype(np.uint32)

    result = LargeResult(
        levels=(Level(labels.shape, 32, read),),
        confidence=rng.random(labels.max()).astype(np.float32),
        boxes=bounding_boxes(labels),
        areas=areas(labels),
        diameter=20.0,
        image=ArrayRegions(tmp_path / "a.tif", image),
        asked="",
    )
    return result, labels, image


def test_cells_that_touch_are_measured_as_in_memory(touching):
    result, labels, image = touching
    expected = measure_cells(labels, image, confidence=result.confidence)
    assert expected.columns["neighbours"].mean() > 4
    assert list(result.cells.columns) == list(expected.columns)
    assert result.cells.background == expected.background
    for name, values in result.cells.columns.items():
        assert values.dtype == expected.columns[name].dtype, name
        np.testing.assert_allclose(values, expected.columns[name], rtol=1e-9, err_msg=name)
    assert result.covered == pytest.approx((labels > 0).mean())


@pytest.mark.parametrize("kind", LISTS)
def test_cells_that_touch_are_listed_as_in_memory(touching, tmp_path, kind):
    result, labels, image = touching
    result.save(kind, tmp_path / "b", name="a")
    cells = CellSet("a", labels, image, measure=lambda: result.cells.columns)
    FORMATS[kind].write(tmp_path / "c", cells)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}


def test_what_is_measured_on_a_sample_is_near(model, tmp_path, write_tiff, field, monkeypatch):
    monkeypatch.setattr(squares, "EDGE", 64)
    large = np.tile(field, (3, 3))
    large = large + np.linspace(0, 40, large.shape[1]).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", large)
    result = segment_large(path, tmp_path / "work", load=model, diameter=16.0)
    expected = measure_quality(
        image_from_array(large), result.levels[0].thinned(1), certainty=result.certainty
    )
    monkeypatch.setattr("cellrim.core.normalise.MAX_MEASURED_PIXELS", 30_000)
    monkeypatch.setattr("cellrim.measure.quality._BLUR_EDGE", 128)
    monkeypatch.setattr("cellrim.measure.quality._BLUR_SQUARES", 8)
    assert max(result.thinned.image.shape) < 250
    got = result.quality
    assert got != expected
    for name, value in expected.as_numbers().items():
        assert got.as_numbers()[name] == pytest.approx(value, rel=0.2, abs=0.005), name


def test_grey_stored_as_rgb_is_measured_as_grey(start, tmp_path, write_tiff, field):
    path = write_tiff(tmp_path / "a.tif", np.stack([field] * 3, axis=2), photometric="rgb")
    tables = [start(path, "cells", limit=n)[0] / "a_cells.csv" for n in (10**9, 100)]
    headers = [table.read_text().splitlines()[0] for table in tables]
    assert headers[0] == headers[1]
    assert "mean_grey" in headers[0]


def test_one_file_says_how_far_to_trust_it(model, tmp_path, write_tiff, field):
    path = write_tiff(tmp_path / "a.tif", field)
    request = Request(save=("cells", "rois"), diameter=16.0)
    plan = plan_single([path], tmp_path / "x.tif", load=model, request=request, existing="refuse")
    summary = run_single(plan)
    about = json.loads((tmp_path / "x_run.json").read_text())
    assert about["quality"]["blur"] < 0.1
    assert set(about["flags"]) <= {"unlike the training data"}
    assert about["summary"]["cells"] == summary.cells
    [found] = FORMATS["rois"].read(tmp_path / "x_rois.zip", lambda _name: field.shape)
    np.testing.assert_array_equal(found.labels, read_labels(tmp_path / "x.tif"))


def test_only_what_needs_all_pixels_is_refused():
    assert set(FORMATS) - set(STREAMED) == {"cellpose"}
    assert set(LISTS) == {"rois", "geojson", "coco", "rle", "outlines"}
