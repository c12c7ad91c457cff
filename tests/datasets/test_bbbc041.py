import json
import pickle

import imagecodecs
import numpy as np
import pytest
from scipy import ndimage

from cellrim.datasets import open_dataset
from cellrim.datasets.bbbc041 import READER
from cellrim.errors import InputError

HEIGHT, WIDTH = 120, 180


@pytest.fixture
def smear():
    """RGB pixels with two cells, at rows 20 to 60 and 70 to 110."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.full((HEIGHT, WIDTH, 3), (230, 228, 226), np.uint8)
    for cy, cx in ((40, 50), (90, 120)):
        pixels[(y - cy) ** 2 + (x - cx) ** 2 <= 400] = (140, 110, 160)
    return pixels


def item(y0, x0, y1, x1, category="red blood cell"):
    return {
        "bounding_box": {"minimum": {"r": y0, "c": x0}, "maximum": {"r": y1, "c": x1}},
        "category": category,
    }


def record(name, *objects, shape=(HEIGHT, WIDTH)):
    objects = objects or (item(18, 28, 62, 72), item(68, 98, 112, 142, "trophozoite"))
    return {
        "image": {
            "checksum": "0",
            "pathname": f"/images/{name}",
            "shape": {"r": shape[0], "c": shape[1], "channels": 3},
        },
        "objects": list(objects),
    }


@pytest.fixture
def archive(tmp_path, smear, write_png):
    """Writes annotation files under BBBC041/malaria; two PNG images and a JPEG are there."""
    folder = tmp_path / "BBBC041" / "malaria"
    for name in ("a", "b"):
        write_png(folder / f"images/{name}.png", smear)
    (folder / "images/c.jpg").write_bytes(imagecodecs.jpeg_encode(smear, level=95))

    def write(**lists):
        for name, records in lists.items():
            (folder / f"{name}.json").write_text(json.dumps(records))
        return folder.parent

    return write


def reasons(listing):
    return [(p.record, p.reason) for p in listing.problems]


def test_both_lists_from_both_roots(archive, smear):
    root = archive(training=[record("a.png"), record("b.png")], test=[record("c.jpg")])
    for folder in (root, root / "malaria"):
        assert READER.matches(folder)
        listing = open_dataset(folder)
        assert (listing.dataset, listing.problems) == ("bbbc041", ())
        assert [s.name for s in listing.samples] == ["a", "b", "c"]
    sample = listing.samples[0]
    assert (sample.kind, sample.group, sample.modality) == ("boxes", "a", "smear")
    assert (sample.licence, sample.trainable) == ("CC BY-NC-SA 3.0", True)
    np.testing.assert_array_equal(sample.read_image().pixels, smear)


def test_r_is_the_row_and_labels_follow_the_objects(archive):
    truth = open_dataset(archive(training=[record("a.png")])).samples[0].read_truth()
    np.testing.assert_array_equal(truth.boxes.corners, [[18, 28, 62, 72], [68, 98, 112, 142]])
    assert truth.boxes.categories == ("red blood cell", "trophozoite")
    assert (truth.labels[40, 50], truth.labels[90, 120]) == (1, 2)
    assert not truth.ignore.any()


def test_a_part_of_the_archive(archive):
    root = archive(test=[record("a.png"), record("gone.png"), record("c.jpg")])
    listing = open_dataset(root)
    assert [s.name for s in listing.samples] == ["a", "c"]
    assert reasons(listing) == [("gone", "The image /images/gone.png is not there.")]


def test_an_image_of_another_size_and_one_that_does_not_open(archive):
    root = archive(
        training=[record("a.png", shape=(WIDTH, HEIGHT)), record("b.png"), record("c.jpg")]
    )
    (root / "malaria/images/c.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    listing = open_dataset(root)
    assert [s.name for s in listing.samples] == ["b"]
    assert reasons(listing)[0] == ("a", "Expected a.png to be 180 x 120, but it is 120 x 180.")
    assert reasons(listing)[1][0] == "c"
    assert "c.jpg" in reasons(listing)[1][1]


def test_boxes_beyond_the_frame_are_clipped_or_named(archive):
    objects = (
        item(-5, 28, 62, 72),
        item(300, 10, 340, 50),
        item(68, 98, 130, 190),
        item(9, 9, 9, 20),
    )
    listing = open_dataset(archive(training=[record("a.png", *objects)]))
    truth = listing.samples[0].read_truth()
    np.testing.assert_array_equal(truth.boxes.corners, [[0, 28, 62, 72], [68, 98, 120, 180]])
    assert reasons(listing) == [
        ("a", f"Box {i} has no pixel inside of the image; the others are used.") for i in (1, 3)
    ]


def test_the_first_of_several_records_of_an_image_counts(archive):
    root = archive(
        training=[record("a.png", item(18, 28, 62, 72)), record("a.png")], test=[record("a.png")]
    )
    listing = open_dataset(root)
    assert [len(s.read_truth().boxes.corners) for s in listing.samples] == [1]
    assert reasons(listing) == [
        ("a", "training.json has another record of this image."),
        ("a", "test.json has another record of this image."),
    ]


def test_a_record_without_cells_is_a_sample_where_nothing_is_known(archive):
    empty = record("a.png")
    empty["objects"] = []
    truth = open_dataset(archive(training=[empty])).samples[0].read_truth()
    assert not truth.labels.any()
    assert truth.ignore.all()


@pytest.mark.parametrize("broken", [{}, {"image": {"pathname": "/images/b.png"}}, 7, None])
def test_records_of_another_form_are_named(archive, broken):
    listing = open_dataset(archive(training=[record("a.png"), broken]))
    assert [s.name for s in listing.samples] == ["a"]
    assert reasons(listing)[0][0] in ("training.json[1]", "b")
    assert reasons(listing)[0][1].startswith("Expected a record with image, objects")


@pytest.mark.parametrize("text", ['[{"image": {"pathname"', '{"pathname": 1}'])
def test_a_list_that_does_not_parse_is_named(archive, text):
    root = archive(training=[], test=[record("a.png")])
    (root / "malaria/training.json").write_text(text)
    listing = open_dataset(root)
    assert [s.name for s in listing.samples] == ["a"]
    assert reasons(listing)[0][0] == "training.json"


def test_grey_pixels_stored_as_rgb_are_read(archive, smear, write_png):
    root = archive(training=[record("a.png")])
    write_png(root / "malaria/images/a.png", np.dstack([smear[:, :, 1]] * 3))
    assert open_dataset(root).samples[0].read_truth().labels.max() == 2


def test_other_folders_do_not_match(tmp_path):
    assert not READER.matches(tmp_path)
    (tmp_path / "training.json").write_text('{"images": [], "annotations": []}')
    assert not READER.matches(tmp_path)


def test_no_options_and_samples_travel_to_other_processes(archive):
    root = archive(training=[record("a.png")])
    with pytest.raises(InputError, match="bbbc041"):
        open_dataset(root, target="cells")
    sample = pickle.loads(pickle.dumps(open_dataset(root).samples[0]))
    assert sample.read_truth().labels.max() == 2


@pytest.fixture(scope="module")
def spans():
    """Corners of the part of each label that is there, by label."""

    def measure(labels, count):
        found = ndimage.find_objects(labels, max_label=count)
        return np.array(
            [[s[0].start, s[1].start, s[0].stop, s[1].stop] if s else [0] * 4 for s in found]
        )

    return measure


def overlap(a, b):
    inner = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    common = inner.prod(axis=1)
    areas = [(c[:, 2:] - c[:, :2]).prod(axis=1) for c in (a, b)]
    return common / (areas[0] + areas[1] - common)


def test_real_masks_fit_their_boxes(real_data, spans):
    """Figures of docs/decisions/0002: people draw boxes with some pixels of air around cells."""
    listing = open_dataset(real_data / "seed/BBBC041")
    assert len(listing.samples) == 20
    assert {p.reason.split()[-1] for p in listing.problems} == {"there."}
    raw, corrected = [], []
    for sample in listing.samples[::4]:
        truth = sample.read_truth()
        corners = truth.boxes.corners
        found = spans(truth.labels, len(corners))
        assert (found[:, 2] > 0).all()
        assert (found[:, :2] >= corners[:, :2] - 1).all()
        assert (found[:, 2:] <= corners[:, 2:] + 1).all()
        for cell in range(1, len(corners) + 1):
            window = tuple(slice(*found[cell - 1, axis::2]) for axis in range(2))
            assert ndimage.label(truth.labels[window] == cell)[1] == 1
        assert truth.ignore.mean() < 0.25
        raw.append(overlap(found, corners))
        corrected.append(overlap(found, corners + np.median(found - corners, axis=0)))
    raw, corrected = np.concatenate(raw), np.concatenate(corrected)
    assert np.median(raw) > 0.78
    assert np.median(corrected) > 0.88
    assert np.mean(corrected < 0.75) < 0.1
