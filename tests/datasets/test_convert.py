import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from cellrim.core.image import Image, image_from_array
from cellrim.datasets import open_dataset
from cellrim.datasets.base import Listing, Sample, Truth
from cellrim.datasets.convert import WRITERS, convert, write_image
from cellrim.errors import DatasetError, InputError, OutputError
from cellrim.io.images import read_image


def sample(name, image, truth, *, dataset="set", **more):
    values = {"group": f"group of {name}", "modality": "dic", "licence": "CC0"} | more
    read = None if truth is None else lambda: truth
    return Sample(
        dataset,
        name,
        (),
        "labels",
        values["group"],
        values["modality"],
        values["licence"],
        lambda: image,
        read,
        more.get("trainable", True),
    )


@pytest.fixture
def listing(cells, picture):
    """Grey, RGB, 16 bits in two channels, without a cell, with gaps in the ids, not annotated."""
    rng = np.random.default_rng(0)
    shape = (*cells.shape, 3)
    rgb = image_from_array(rng.integers(0, 255, shape, dtype=np.uint8), axes="YXC")
    wide = rng.integers(0, 60000, (*cells.shape, 2), dtype=np.uint16)
    samples = (
        sample("grey", image_from_array(picture, pixel_size=0.5), Truth(cells)),
        sample("sub/rgb", rgb, Truth(cells * 3), licence="MIT", trainable=False),
        sample("two.channels", Image(wide, ("DNA", "actin")), Truth(cells)),
        sample("nothing", image_from_array(picture), Truth(np.zeros_like(cells))),
        sample("float", image_from_array(picture / np.float32(7)), Truth(cells)),
        sample("bare", image_from_array(picture), None),
    )
    return Listing("set", samples, ())


@pytest.mark.parametrize("to", WRITERS)
def test_what_is_written_comes_back(listing, tmp_path, cells, to):
    result = convert(listing, tmp_path / "out", to=to)
    assert (result.images, result.cells, result.unannotated) == (5, 16, 1)
    assert (result.ignored, result.problems) == (0, ())
    back = open_dataset(tmp_path / "out")
    assert back.problems == ()
    by_name = {s.name.removeprefix("set/"): s for s in back.samples}
    for source in listing.samples[:-1]:
        name = source.name.replace("/", "_") if to == "sartorius" else source.name
        copy = by_name.pop(name)
        assert copy.group == source.group
        expected = cells if source.name != "nothing" else np.zeros_like(cells)
        np.testing.assert_array_equal(copy.read_truth().labels, expected)
        image, original = copy.read_image(), source.read_image()
        if to != "sartorius":  # which has one channel only
            np.testing.assert_array_equal(image.pixels, original.pixels)
            assert image.pixels.dtype == original.pixels.dtype
            assert image.channels == original.channels
            assert (copy.modality, copy.licence) == ("dic", source.licence)
    assert not by_name
    if to == "plain":
        assert [s.trainable for s in back.samples] == [True, False, True, True, True]
        assert (tmp_path / "out/index.csv").read_text().startswith("dataset,image,labels,modality,")


def test_the_json_is_read_by_pycocotools(listing, tmp_path, cells, capsys):
    convert(listing, tmp_path / "out", to="coco")
    reference = COCO(str(tmp_path / "out/annotations.json"))
    annotations = reference.loadAnns(reference.getAnnIds([1]))
    for number, annotation in enumerate(annotations, start=1):
        y, x = np.nonzero(cells == number)
        assert annotation["area"] == len(y)
        box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
        assert annotation["bbox"] == box


def test_pixels_of_unknown_content_are_a_crowd_in_coco_and_counted_elsewhere(
    picture, cells, tmp_path
):
    ignore = np.zeros(cells.shape, bool)
    ignore[:5, 60:] = True
    one = sample("x", image_from_array(picture), Truth(cells, ignore))
    listing = Listing("set", (one,), ())
    assert convert(listing, tmp_path / "coco", to="coco").ignored == 0
    truth = open_dataset(tmp_path / "coco").samples[0].read_truth()
    np.testing.assert_array_equal(truth.ignore, ignore)
    np.testing.assert_array_equal(truth.labels, cells)
    assert convert(listing, tmp_path / "plain", to="plain").ignored == 1


def test_one_bad_record_does_not_stop_the_rest(listing, tmp_path, cells, picture):
    wrong = sample("wrong", image_from_array(picture), Truth(cells[1:]))
    again = sample("grey", image_from_array(picture), Truth(cells))
    more = Listing("set", (wrong, *listing.samples, again), ())
    result = convert(more, tmp_path / "out", to="plain")
    assert result.images == 5
    assert sorted(p.record for p in result.problems) == ["set/grey", "set/wrong"]


@pytest.mark.parametrize("to", WRITERS)
def test_names_do_not_lead_out_of_the_folder(tmp_path, picture, cells, to):
    one = sample("../../../evil", image_from_array(picture), Truth(cells), dataset="/abs/..")
    convert(Listing("set", (one,), ()), tmp_path / "deep/er/out", to=to)
    outside = [
        p
        for p in tmp_path.rglob("*")
        if p.is_file() and not p.is_relative_to(tmp_path / "deep/er/out")
    ]
    assert outside == []


def test_two_sets_with_equal_names_stay_apart(tmp_path, picture, cells):
    image = image_from_array(picture)
    samples = tuple(sample("x", image, Truth(cells), dataset=d) for d in ("one", "two"))
    for to in WRITERS:
        assert convert(Listing("both", samples, ()), tmp_path / to, to=to).images == 2
        assert len(open_dataset(tmp_path / to).samples) == 2


def test_nothing_is_overwritten(listing, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/keep.txt").write_text("mine")
    with pytest.raises(OutputError, match="empty folder"):
        convert(listing, tmp_path / "out", to="plain")
    with pytest.raises(OutputError, match="empty folder"):
        convert(listing, tmp_path / "out/keep.txt", to="plain")
    with pytest.raises(InputError, match="plain, coco, sartorius"):
        convert(listing, tmp_path / "new", to="yolo")
    bare = Listing("set", listing.samples[-1:], ())
    with pytest.raises(DatasetError, match="none has"):
        convert(bare, tmp_path / "new", to="plain")
    assert not (tmp_path / "new").exists()


def test_tiff_keeps_the_pixel_size(tmp_path, picture):
    write_image(tmp_path / "a.tif", image_from_array(picture, pixel_size=0.65))
    assert read_image(tmp_path / "a.tif").pixel_size == pytest.approx(0.65)


def test_bbbc030_in_every_layout(real_data, tmp_path):
    whole = open_dataset(real_data / "seed/BBBC030")
    listing = Listing(whole.dataset, whole.samples[:2], ())
    for to in WRITERS:
        convert(listing, tmp_path / to, to=to)
        for source, copy in zip(listing.samples, open_dataset(tmp_path / to).samples, strict=True):
            np.testing.assert_array_equal(copy.read_truth().labels, source.read_truth().labels)
            np.testing.assert_array_equal(copy.read_image().pixels, source.read_image().pixels)
    assert json.loads((tmp_path / "coco/annotations.json").read_text())["licenses"] == [
        {"id": 1, "name": "CC BY 3.0"}
    ]
