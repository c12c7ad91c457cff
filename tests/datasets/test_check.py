import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.datasets import open_dataset
from cellrim.datasets.base import Listing, Sample, Truth
from cellrim.datasets.check import SHEET_TILES, check, contact_sheet, draw_tile


@pytest.fixture
def folder(tmp_path, write_png, write_tiff, picture, cells):
    for name in ("a", "b", "c"):
        write_png(tmp_path / f"mine/images/{name}.png", picture)
        write_tiff(tmp_path / f"mine/labels/{name}.tif", cells.astype(np.uint16))
    return tmp_path / "mine"


def sample(name, image, truth):
    return Sample(
        "set", name, (), "labels", "one group", "dic", "CC0", lambda: image, lambda: truth
    )


def test_counts(folder):
    report, sheet = check(open_dataset(folder))
    assert (report.dataset, report.images, report.annotated, report.cells) == ("mine", 3, 3, 12)
    assert (report.groups, report.modalities, report.problems) == (3, {"unknown": 3}, ())
    assert sheet is None
    assert report.sheet == ()


def test_records_that_cannot_be_read_are_named_and_the_rest_goes_on(folder, write_tiff, picture):
    # Headers are whole, so that only reading finds what is wrong.
    data = (folder / "images/a.png").read_bytes()
    (folder / "images/a.png").write_bytes(data[: len(data) // 2])
    write_tiff(folder / "labels/b.tif", np.full(picture.shape, -1, np.int16))
    report, _ = check(open_dataset(folder))
    assert (report.images, report.cells) == (1, 4)
    assert [p.record for p in report.problems] == ["mine/a", "mine/b"]
    assert "a.png" in report.problems[0].reason


def test_labels_of_another_size_than_the_image_are_a_problem():
    image = image_from_array(np.zeros((5, 6), np.uint8))
    listing = Listing("set", (sample("x", image, Truth(np.zeros((6, 5), np.int32))),), ())
    report, sheet = check(listing, sheet=True)
    assert report.images == 0
    assert sheet is None
    assert "(6, 5)" in report.problems[0].reason


def test_cells_are_ids_that_are_there():
    image = image_from_array(np.zeros((2, 3), np.uint8))
    listing = Listing("set", (sample("x", image, Truth(np.int32([[0, 7, 7], [3, 0, 0]]))),), ())
    assert check(listing)[0].cells == 2


def test_the_sheet_shows_some_from_the_first_to_the_last():
    image = image_from_array(np.full((40, 60), 9, np.uint8))
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:30] = 1
    samples = tuple(sample(f"{i:02}", image, Truth(labels)) for i in range(47))
    report, sheet = check(Listing("set", samples, ()), sheet=True)
    assert len(report.sheet) == SHEET_TILES
    assert (report.sheet[0], report.sheet[-1]) == ("00", "46")
    assert sheet.dtype == np.uint8
    assert sheet.shape == (4 * 46 + 6, 5 * 66 + 6, 3)


def test_outlines_are_seen_on_a_small_tile():
    labels = np.zeros((1000, 2000), np.int32)
    labels[200:800, 300:1500] = 5
    image = image_from_array(np.zeros((1000, 2000), np.uint16))
    tile = draw_tile(image, labels, size=100)
    assert tile.shape == (50, 100, 3)
    coloured = tile.any(axis=2)
    assert coloured[10, 20:70].all()
    assert not coloured[20:30, 30:60].any()
    assert draw_tile(image, None, size=100).shape == (50, 100, 3)
    assert draw_tile(image_from_array(np.zeros((1, 1), np.uint8)), None).shape == (1, 1, 3)


def test_tiles_of_any_size_are_laid_out():
    tiles = [np.zeros((h, w, 3), np.uint8) for h, w in ((5, 9), (8, 2), (1, 1))]
    sheet = contact_sheet(tiles, columns=2)
    assert sheet.shape == (2 * 14 + 6, 2 * 15 + 6, 3)
    assert (sheet == 0).all(axis=2).sum() == 45 + 16 + 1


def test_real_sets_have_no_problems(real_data):
    for name, images, cells in (("seed/BBBC009", 4, 175), ("plain/mixed", 17, 2165)):
        report, _ = check(open_dataset(real_data / name))
        assert (report.images, report.cells, report.problems) == (images, cells, ())
