import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cellrim.core.labels import relabel
from cellrim.errors import InputError
from cellrim.io.outlines import line_mask, outline_labels, own_line_labels, shared_line_labels


def discs(shape, centres, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    return np.where(distance.min(0) <= radius, distance.argmin(0) + 1, 0).astype(np.int32)


def differs(labels, *, inside_only):
    """Pixels with a 4-neighbour of another label: a closed line around each instance."""
    padded = np.pad(labels, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    different = np.logical_or.reduce([n != labels for n in around])
    return different & (labels > 0) if inside_only else different


def shared_line(labels):
    """One line where instances touch: the rim towards what has a smaller label."""
    padded = np.pad(labels, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.logical_or.reduce([n < labels for n in around])


def assert_same_instances(got, expected):
    np.testing.assert_array_equal(relabel(got), got)
    pairs = np.unique(np.stack([got.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(got)) == len(np.unique(expected)), pairs.T


def ring(count=8, radius=20.0, size=150):
    """A ring of cells with slivers between them that encloses background, and a cell in it."""
    angle = np.arange(count) * 2 * np.pi / count
    reach = 2.35 * radius
    centres = [(size / 2 + reach * np.sin(a), size / 2 + reach * np.cos(a)) for a in angle]
    return discs((size, size), centres, reach * np.sin(np.pi / count) + 0.7), centres


def test_own_lines_give_the_instances_back():
    labels = discs((90, 120), [(25, 25), (25, 58), (60, 40), (70, 110), (0, 100)], 18)
    line = differs(labels, inside_only=True)
    assert_same_instances(own_line_labels(line), labels)


def test_background_in_a_ring_of_cells_is_no_cell_and_a_cell_in_it_is():
    labels, _ = ring()
    line = differs(labels, inside_only=True)
    enclosed = np.bincount(ndimage.label(~line)[0].ravel())[1:]
    assert (enclosed >= 100).sum() == 8 + 2  # cells, background, and the background in the ring
    assert_same_instances(own_line_labels(line), labels)
    y, x = np.mgrid[:150, :150]
    labels[np.hypot(y - 75, x - 75) <= 12] = 9
    assert_same_instances(own_line_labels(differs(labels, inside_only=True)), labels)


def test_slivers_between_own_lines_are_no_cells():
    labels = np.zeros((40, 60), np.int32)
    labels[5:35, 5:29] = 1
    labels[5:35, 30:55] = 2
    line = differs(labels, inside_only=True)
    line[[5, 34], 29] = True  # lines that meet above and below close the gap to a sliver
    got = own_line_labels(line, min_area=10)
    assert got.max() == 2
    assert (got[6:34, 29] == 0).all()


def test_a_pinch_is_not_a_wall():
    # Four discs in a square, each outline drawn by itself: where two meet, one pixel of line lies
    # between the background outside and the background they enclose.
    each = [discs((90, 90), [centre], 20) for centre in ((25, 25), (25, 65), (65, 25), (65, 65))]
    line = np.logical_or.reduce([differs(disc, inside_only=True) for disc in each])
    inside, outside = (44, 45), (4, 45)
    regions, count = ndimage.label(~line)
    assert count == 6
    walls = (regions[:, :-2] == regions[outside]) & (regions[:, 2:] == regions[inside])
    walls = walls | (regions[:, 2:] == regions[outside]) & (regions[:, :-2] == regions[inside])
    assert 1 <= (walls & line[:, 1:-1]).sum() <= 4
    got = own_line_labels(line)
    assert got.max() == 4
    assert got[inside] == 0


def test_small_regions_are_dropped_after_the_depths_are_known():
    labels = np.zeros((60, 60), np.int32)
    labels[5:50, 5:50] = 1
    line = differs(labels, inside_only=True)
    line[20:29, 20:29] = differs(np.pad(np.ones((7, 7), np.int32), 1), inside_only=True)
    got = own_line_labels(line)
    assert got.max() == 1
    assert got[24, 24] == 0  # a hole in the cell, at depth two


def test_shared_lines_give_the_instances_back():
    labels = discs((90, 120), [(25, 25), (25, 52), (48, 40), (70, 110), (0, 100)], 18)
    line = shared_line(labels)
    got = shared_line_labels(line)
    assert_same_instances(np.where(line, 0, got), np.where(line, 0, labels))
    assert ((got > 0) == (labels > 0)).all()
    touching = np.unique(got[labels > 0].tolist())
    assert touching.tolist() == [1, 2, 3, 4, 5]
    wall = line[20:30, 38:40]
    assert wall.any()
    assert (got[20:30, 36:42] > 0).all()  # the wall has gone to the cells, so they touch


def test_lines_that_end_at_the_frame_close_a_cell():
    labels = discs((50, 60), [(0, 30), (49, 0), (25, 59)], 14)
    assert_same_instances(shared_line_labels(shared_line(labels)), labels)


def test_specks_are_dropped():
    labels = discs((60, 60), [(30, 30)], 15)
    labels[2:9, 2:9] = 2
    assert shared_line_labels(shared_line(labels)).max() == 1


@pytest.mark.parametrize("gap", [1, 2])
def test_a_gap_in_an_outline_is_closed(gap):
    labels = discs((80, 80), [(40, 40)], 20)
    line = shared_line(labels)
    broken = line.copy()
    broken[40 : 40 + gap, 60] = False
    assert ndimage.label(~broken)[1] == 1
    got = shared_line_labels(broken)
    assert got.max() == 1
    assert ((got > 0) != (labels > 0)).sum() <= 2 * gap


def test_a_line_that_leads_nowhere_is_background():
    labels = discs((80, 80), [(40, 40)], 20)
    line = shared_line(labels)
    line[40, 61:75] = True
    got = shared_line_labels(line)
    assert got.max() == 1
    assert not got[:, 63:].any()


def test_the_custom_is_recognised():
    labels = discs((90, 120), [(25, 25), (25, 52), (48, 40), (70, 90)], 18)
    assert_same_instances(outline_labels(differs(labels, inside_only=True)), labels)
    line = shared_line(labels)
    np.testing.assert_array_equal(outline_labels(line), shared_line_labels(line))
    assert outline_labels(line).max() == 4
    in_ring, _ = ring()
    assert outline_labels(differs(in_ring, inside_only=True)).max() == 8


@pytest.mark.parametrize("rule", [own_line_labels, shared_line_labels, outline_labels])
@pytest.mark.parametrize("value", [False, True])
def test_without_lines_or_without_anything_else_there_are_no_cells(rule, value):
    for shape in ((20, 30), (1, 1), (2, 2)):
        got = rule(np.full(shape, value))
        assert got.dtype == np.int32
        assert not got.any()


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5))
def test_any_drawing_gives_labels_without_gaps(seed, density):
    line = np.random.default_rng(seed).random((30, 40)) < density
    for rule in (own_line_labels, shared_line_labels, outline_labels):
        got = rule(line, min_area=3)
        assert got.shape == line.shape
        np.testing.assert_array_equal(got, relabel(got))


@pytest.mark.parametrize(
    "pixels",
    [
        np.eye(8, dtype=bool),
        ~np.eye(8, dtype=bool),
        np.eye(8, dtype=np.uint8) * 191,
        np.dstack([np.eye(8, dtype=np.uint8) * 255] * 3),
        np.dstack([np.eye(8, dtype=np.uint8) * 255, np.zeros((8, 8, 2), np.uint8)]),
    ],
    ids=["bool", "negative", "not quite white", "rgb", "red"],
)
def test_the_line_is_the_minority_above_zero(pixels):
    np.testing.assert_array_equal(line_mask(pixels), np.eye(8, dtype=bool))


def test_a_line_image_is_two_dimensional():
    with pytest.raises(InputError, match="YX"):
        line_mask(np.zeros(5))


COUNTS = {"48hr-001": 45, "48hr-003": 51, "6hr-001": 31, "6hr-002": 48}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_the_four_counts_of_bbbc009(name, count):
    if not os.environ.get("CELLRIM_DATA"):
        pytest.skip("CELLRIM_DATA is not set: tests on real data are skipped")
    folder = Path(os.environ["CELLRIM_DATA"]) / "seed/BBBC009/BBBC009_v1_outlines"
    pixels = tifffile.imread(folder / f"human_rbc_dic_outlines/{name}-DIC.tif")
    for read in (pixels, ~pixels):  # libraries do not agree on MinIsWhite
        assert own_line_labels(line_mask(read)).max() == count
        assert outline_labels(line_mask(read)).max() == count
