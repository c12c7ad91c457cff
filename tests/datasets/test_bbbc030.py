import numpy as np
import pytest
from scipy import ndimage

from cellrim.datasets import open_dataset


@pytest.fixture
def archive(tmp_path, write_png, picture, outline):
    for name in ("cho01", "cho02"):
        write_png(tmp_path / f"images/{name}.png", np.dstack([picture] * 3))
        write_png(tmp_path / f"ground_truth/{name}.png", outline)
    return tmp_path


def test_grey_stored_as_rgb_and_a_line_that_is_not_quite_white(
    archive, write_png, picture, outline, cells
):
    dim = outline.copy()
    dim[tuple(np.argwhere(outline)[7])] = 191
    write_png(archive / "ground_truth/cho01.png", dim)
    listing = open_dataset(archive)
    assert (listing.dataset, listing.problems) == ("bbbc030", ())
    sample = listing.samples[0]
    np.testing.assert_array_equal(sample.read_image().pixels, picture[:, :, np.newaxis])
    np.testing.assert_array_equal(sample.read_truth().labels > 0, cells > 0)
    assert sample.read_truth().labels.max() == 4


def test_a_part_of_it(archive):
    (archive / "ground_truth/cho02.png").unlink()
    listing = open_dataset(archive)
    assert [s.name for s in listing.samples] == ["cho01"]
    assert [(p.record, p.reason) for p in listing.problems] == [
        ("cho02", "The image cho02.png has no outline.")
    ]
    (archive / "ground_truth/cho01.png").unlink()
    assert [s.kind for s in open_dataset(archive).samples] == ["none", "none"]


@pytest.mark.parametrize(
    ("name", "frame", "count"),
    [("cho01", [432], 15), ("cho04", [265, 1082], 14), ("cho07", [825, 1437], 20)],
)
def test_cells_whose_line_ends_at_the_frame(real_data, name, frame, count):
    listing = open_dataset(real_data / "seed/BBBC030")
    sample = next(s for s in listing.samples if s.name == name)
    labels = sample.read_truth().labels
    assert labels.max() == count
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    sizes = [int((labels == i).sum()) for i in np.unique(edge) if i]
    # The area inside of the line is known; the label has the line too.
    assert len(sizes) == len(frame)
    assert all(inside < size for inside, size in zip(frame, sorted(sizes), strict=True))


@pytest.mark.parametrize(("name", "count"), [("cho06", 13), ("cho13", 15), ("cho19", 9)])
def test_outlines_with_a_gap(real_data, name, count):
    listing = open_dataset(real_data / "seed/BBBC030")
    sample = next(s for s in listing.samples if s.name == name)
    assert sample.read_truth().labels.max() == count


def test_real_cells_are_in_one_piece_and_touch(real_data):
    listing = open_dataset(real_data / "seed/BBBC030")
    assert len(listing.samples) == 24
    total = 0
    for sample in listing.samples:
        labels = sample.read_truth().labels
        total += labels.max()
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            assert ndimage.label(labels[box] == number, np.ones((3, 3)))[1] == 1
    assert total == 290
