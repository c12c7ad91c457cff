import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellrim.datasets.base import Boxes
from cellrim.datasets.boxes import absorbed_share, truth_from_boxes
from cellrim.errors import InputError

SHAPE = (240, 320)
GROUND = np.array([230.0, 228, 226])
CELL = np.array([140.0, 110, 160])
PARASITE = np.array([70.0, 20, 90])


def disc(y, x, ry, rx=None):
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((yy - y) / ry) ** 2 + ((xx - x) / (rx or ry)) ** 2 <= 1


def tilted(y, x, long, short):
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    a, b = (yy - y + xx - x) / np.sqrt(2), (yy - y - xx + x) / np.sqrt(2)
    return (a / long) ** 2 + (b / short) ** 2 <= 1


def paint(*layers, light=1.0, grain=2.0):
    """An image of the layers (mask, colour) on the ground, blurred and with grain."""
    image = np.broadcast_to(GROUND, (*SHAPE, 3)).copy()
    for mask, colour in layers:
        image[mask] = colour
    image = ndimage.gaussian_filter(image, (1.2, 1.2, 0)) * np.asarray(light)[..., np.newaxis]
    noise = np.random.default_rng(0).normal(0, grain, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def box(mask, air=3):
    """The box of a mask with some air, as people draw it, inside of the image."""
    rows, columns = ndimage.find_objects(mask.astype(int))[0]
    return (
        max(0, rows.start - air),
        max(0, columns.start - air),
        min(SHAPE[0], rows.stop + air),
        min(SHAPE[1], columns.stop + air),
    )


def boxes(*corners):
    array = np.array(corners, np.int64).reshape(-1, 4)
    return Boxes(array, ("red blood cell",) * len(array))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def assert_sound(truth):
    """What holds for any input: ids, boxes, components, holes, and labels apart from ignore."""
    assert truth.labels.dtype == np.int32
    assert truth.ignore.dtype == np.bool_
    assert not (truth.ignore & (truth.labels > 0)).any()
    for i, (y0, x0, y1, x1) in enumerate(truth.boxes.corners):
        mask = truth.labels == i + 1
        if not mask.any():
            continue
        assert ndimage.label(mask)[1] == 1
        y, x = np.nonzero(mask)
        assert y0 - 1 <= y.min()
        assert y.max() < y1 + 1
        assert x0 - 1 <= x.min()
        assert x.max() < x1 + 1


def test_single_discs_ids_follow_the_boxes():
    cells = [disc(60, 70, 30), disc(150, 240, 35, 25), disc(170, 80, 24)]
    truth = truth_from_boxes(paint(*((c, CELL) for c in cells)), boxes(*map(box, cells)))
    assert_sound(truth)
    for i, cell in enumerate(cells):
        assert iou(truth.labels == i + 1, cell) > 0.95
    assert not truth.ignore.any()


def test_a_pale_centre_is_filled_and_one_open_to_a_side_too():
    cells = [disc(60, 70, 32), disc(160, 220, 32)]
    pale = [disc(60, 70, 16), disc(160, 220, 16) | (disc(160, 220, 33) & disc(160, 244, 4, 14))]
    image = paint(*((c, CELL) for c in cells), *((p, GROUND) for p in pale))
    truth = truth_from_boxes(image, boxes(*map(box, cells)))
    assert_sound(truth)
    assert iou(truth.labels == 1, cells[0]) > 0.95
    assert iou(truth.labels == 2, cells[1]) > 0.9


def test_a_bay_is_not_filled():
    cell = disc(120, 160, 40) & ~disc(120, 205, 32)
    truth = truth_from_boxes(paint((cell, CELL)), boxes(box(cell)))
    assert iou(truth.labels == 1, cell) > 0.93


def test_touching_and_overlapping_pairs_split_half_way():
    pairs = [(disc(70, 60, 30), disc(70, 120, 30)), (disc(170, 180, 32), disc(170, 226, 32))]
    flat = [cell for pair in pairs for cell in pair]
    truth = truth_from_boxes(paint(*((c, CELL) for c in flat)), boxes(*map(box, flat)))
    assert_sound(truth)
    assert iou(truth.labels == 1, pairs[0][0]) > 0.94
    assert iou(truth.labels == 2, pairs[0][1]) > 0.94
    middle = np.arange(SHAPE[1]) < 203  # the line half way between the overlapping centres
    left, right = pairs[1]
    assert iou(truth.labels == 3, (left | right) & middle) > 0.93
    assert iou(truth.labels == 4, (left | right) & ~middle) > 0.93


def test_tilted_neighbours_keep_their_shapes():
    """Boxes that overlap by half; ellipses along the axes would cut each cell's end off."""
    cells = [tilted(110, 130, 48, 22), tilted(110, 195, 48, 22)]
    assert not (cells[0] & cells[1]).any()
    truth = truth_from_boxes(paint(*((c, CELL) for c in cells)), boxes(*map(box, cells)))
    assert_sound(truth)
    for i, cell in enumerate(cells):
        assert iou(truth.labels == i + 1, cell) > 0.9


def test_parasites_stay_inside():
    cell = disc(100, 150, 34)
    spots = disc(92, 140, 7) | disc(125, 160, 6)
    truth = truth_from_boxes(paint((cell, CELL), (spots, PARASITE)), boxes(box(cell)))
    assert iou(truth.labels == 1, cell) > 0.95
    assert (truth.labels[spots] == 1).all()


def test_cells_without_a_box_are_ignored_with_a_margin_and_specks_are_not():
    known, cut, free, speck = (
        disc(60, 80, 30),
        disc(236, 90, 28),
        disc(150, 230, 30),
        disc(40, 250, 3),
    )
    hole = disc(150, 230, 12)
    image = paint(*((m, CELL) for m in (known, cut, free, speck)), (hole, GROUND))
    truth = truth_from_boxes(image, boxes(box(known)))
    assert_sound(truth)
    inner = ndimage.binary_erosion(cut | free, iterations=2)
    assert truth.ignore[inner].all()
    assert truth.ignore[hole].all()
    assert not truth.ignore[ndimage.distance_transform_edt(~(cut | free)) > 8].any()
    assert iou(truth.labels == 1, known) > 0.95


def test_a_neighbour_without_a_box_does_not_come_along():
    known, other = disc(110, 120, 34), disc(150, 168, 34)
    image = paint((known, CELL), (other, CELL))
    truth = truth_from_boxes(image, boxes(box(known)))
    only_other = other & ~ndimage.binary_dilation(known, iterations=6)
    assert (truth.labels[only_other] == 0).mean() > 0.97
    assert truth.ignore[only_other].mean() > 0.95
    assert iou(truth.labels == 1, known) > 0.88


def test_ground_enclosed_by_cells_is_background():
    ring = [disc(120 + 58 * np.sin(t), 160 + 58 * np.cos(t), 30) for t in np.arange(6) * np.pi / 3]
    truth = truth_from_boxes(paint(*((c, CELL) for c in ring)), boxes(*map(box, ring)))
    assert_sound(truth)
    centre = disc(120, 160, 22)
    assert not truth.ignore[centre].any()
    assert not truth.labels[centre].any()


@pytest.mark.parametrize("depth", [0.3, 0.5])
def test_uneven_illumination(depth):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / np.array(SHAPE).reshape(2, 1, 1)
    light = 1 - depth * (0.6 * (x - 0.3) ** 2 + 0.8 * (y - 0.4) ** 2 + 0.2 * x)
    cells = [disc(40, 40, 25), disc(60, 260, 30), disc(190, 60, 28), disc(200, 280, 26)]
    image = paint(*((c, CELL) for c in cells), light=light)
    truth = truth_from_boxes(image, boxes(*map(box, cells)))
    for i, cell in enumerate(cells):
        assert iou(truth.labels == i + 1, cell) > 0.94
    assert not truth.ignore.any()
    share = absorbed_share(image[:, :, 1], truth.boxes.corners)
    ground = share[~ndimage.binary_dilation(np.any(cells, axis=0), iterations=4)]
    assert np.abs(ground).max() < 0.07


def test_faint_cells_beside_dark_ones():
    faint, dark = disc(70, 90, 30), disc(160, 210, 30)
    image = paint((faint, GROUND * 0.85), (dark, CELL * 0.4))
    truth = truth_from_boxes(image, boxes(box(faint), box(dark)))
    assert iou(truth.labels == 1, faint) > 0.93
    assert iou(truth.labels == 2, dark) > 0.95


def test_a_box_without_stain_gets_the_ellipse():
    cell, nothing = disc(70, 90, 30), (140, 180, 200, 250)
    truth = truth_from_boxes(paint((cell, CELL), grain=0), boxes(box(cell), nothing))
    assert_sound(truth)
    assert iou(truth.labels == 2, disc(169.5, 214.5, 30, 35)) > 0.95


def test_boxes_at_the_frame_and_twice_the_same():
    cell = disc(20, 30, 34)
    truth = truth_from_boxes(paint((cell, CELL)), boxes(box(cell), box(cell)))
    assert_sound(truth)
    assert iou(truth.labels == 1, cell) > 0.9
    assert not (truth.labels == 2).any()


def test_no_boxes_means_nothing_is_known():
    truth = truth_from_boxes(paint((disc(70, 90, 30), CELL)), boxes())
    assert not truth.labels.any()
    assert truth.ignore.all()


def test_the_input_is_left_alone():
    cell = disc(70, 90, 30)
    image, given_boxes = paint((cell, CELL)), boxes(box(cell))
    before = image.copy(), given_boxes.corners.copy()
    truth_from_boxes(image, given_boxes)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(given_boxes.corners, before[1])


@pytest.mark.parametrize(
    ("shape", "corners", "message"),
    [
        ((*SHAPE, 1), (0, 0, 9, 9), "RGB"),
        ((*SHAPE, 3), (5, 5, 5, 9), "empty"),
        ((*SHAPE, 3), (5, 5, 241, 9), "inside"),
        ((*SHAPE, 3), (-1, 5, 20, 9), "inside"),
    ],
)
def test_refused(shape, corners, message):
    with pytest.raises(InputError, match=message):
        truth_from_boxes(np.zeros(shape, np.uint8), boxes(corners))


@settings(max_examples=25, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.integers(0, 59), st.integers(0, 79), st.integers(1, 40), st.integers(1, 40)),
        max_size=6,
    ),
    seed=st.integers(0, 99),
)
def test_any_boxes_on_any_image_are_sound(data, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3))
    image = ndimage.uniform_filter(noise, (7, 7, 0)).astype(np.uint8)
    corners = [(y, x, min(60, y + h), min(80, x + w)) for y, x, h, w in data]
    assert_sound(truth_from_boxes(image, boxes(*corners)))
