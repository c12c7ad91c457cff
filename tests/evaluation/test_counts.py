import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import hausdorff_distance

from cellrim.datasets.base import Boxes
from cellrim.errors import InputError
from cellrim.evaluation import Counts, count_boxes, count_image, scores

SHAPE = st.shared(st.tuples(st.integers(1, 9), st.integers(1, 9)), key="shape")
LABELS = arrays(np.int32, SHAPE, elements=st.integers(0, 4))
RATIOS = [
    "ap50",
    "ap75",
    "ap90",
    "map",
    "f1",
    "precision",
    "recall",
    "pq",
    "sq",
    "rq",
    "aji",
    "dice",
    "iou",
]


def boxes_of(corners, categories=None):
    corners = np.array(corners, np.int64).reshape(-1, 4)
    return Boxes(corners, categories or ("cell",) * len(corners))


def assert_agrees(reference, predicted, truth):
    counts = count_image(predicted, truth)
    s = scores(counts)
    for k, threshold in enumerate(reference.THRESHOLDS):
        tp, fp, fn, total = reference.instance_counts(predicted, truth, threshold)
        assert (counts.tp[k], counts.fp[k], counts.fn[k]) == (tp, fp, fn)
        if k == 0:
            assert counts.iou_sum == pytest.approx(total)
            if tp + fp + fn:
                assert s.pq == pytest.approx(total / (tp + fp / 2 + fn / 2))
                assert s.ap50 == pytest.approx(tp / (tp + fp + fn))
    a, b = predicted > 0, truth > 0
    if (a | b).any():
        assert s.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
        assert s.iou == pytest.approx((a & b).sum() / (a | b).sum())
    assert s.splits == reference.split_count(predicted, truth)
    assert s.merges == reference.split_count(truth, predicted)
    assert s.count_error == abs(len(reference.masks_of(predicted)) - len(reference.masks_of(truth)))
    return s


def test_agrees_with_masks_on_cells(reference, pair):
    predicted, truth = pair
    s = assert_agrees(reference, predicted, truth)
    assert 0.2 < s.ap50 < 1
    assert s.splits + s.merges > 0
    assert s.aji == pytest.approx(reference.aji(predicted, truth))


@given(LABELS, LABELS)
@settings(deadline=None)
def test_agrees_with_masks_on_anything(reference, predicted, truth):
    s = assert_agrees(reference, predicted, truth)
    if not reference.has_ties(predicted, truth):
        assert s.aji == pytest.approx(reference.aji(predicted, truth))


def test_outline_distances(reference, pair):
    predicted, truth = pair
    p, t = reference.masks_of(predicted), reference.masks_of(truth)
    pairs = reference.optimal_pairs(reference.iou_table(p, t), 0.5)
    expected = np.array([reference.outline_distances(p[i], t[j]) for i, j in pairs])
    counts = count_image(predicted, truth)
    assert counts.measured == len(pairs) > 5
    s = scores(counts)
    assert s.boundary == pytest.approx(expected[:, 0].mean())
    assert s.hausdorff95 == pytest.approx(expected[:, 1].mean())
    largest = [hausdorff_distance(*(m & ~_eroded(m) for m in (p[i], t[j]))) for i, j in pairs]
    assert s.hausdorff95 <= np.mean(largest) + 1e-9


def _eroded(mask):
    padded = np.pad(mask, 1)
    return mask & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]


def test_without_outlines(pair):
    counts = count_image(*pair, boundaries=False)
    assert counts.measured == 0
    assert np.isnan(scores(counts).boundary)
    assert scores(counts).ap50 == scores(count_image(*pair)).ap50


@given(LABELS)
@settings(deadline=None)
def test_identity_is_perfect(labels):
    s = scores(count_image(labels, labels))
    for name in RATIOS:
        assert getattr(s, name) == 1
    assert s.count_error == 0
    assert s.splits == s.merges == 0
    assert s.boundary == s.hausdorff95 == 0 or not labels.any()


@given(LABELS, LABELS)
@settings(deadline=None)
def test_exchanging_the_roles_exchanges_the_errors(a, b):
    there, back = count_image(a, b), count_image(b, a)
    assert there.tp == back.tp
    assert there.fp == back.fn
    assert there.splits == back.merges
    assert there.iou_sum == pytest.approx(back.iou_sum)
    assert (there.pixel_fp, there.pixel_fn) == (back.pixel_fn, back.pixel_fp)
    s, t = scores(there), scores(back)
    for name in ("ap50", "map", "f1", "pq", "dice", "iou", "count_error"):
        assert getattr(s, name) == pytest.approx(getattr(t, name))


@given(LABELS, LABELS, st.permutations(range(1, 5)), st.integers(1, 10**6))
@settings(deadline=None)
def test_ids_do_not_matter(reference, predicted, truth, order, factor):
    assume(not reference.has_ties(predicted, truth))
    table = np.array([0, *order], np.int32) * factor
    first, second = count_image(predicted, truth), count_image(table[predicted], truth)
    np.testing.assert_allclose(first.as_row(), second.as_row())
    second = count_image(predicted, table[truth])
    np.testing.assert_allclose(first.as_row(), second.as_row())


def test_counts_add_up(pair):
    predicted, truth = pair
    one, two = count_image(predicted, truth), count_image(truth, truth)
    both = one + two
    assert sum([one, two]) == both
    assert sum([]) == 0
    np.testing.assert_allclose(both.as_row(), one.as_row() + two.as_row())
    assert both.tp == tuple(a + b for a, b in zip(one.tp, two.tp, strict=True))
    assert one + Counts() == one


def empty(n=6):
    return np.zeros((n, n), np.int32)


def test_nothing_to_find_and_nothing_found():
    s = scores(count_image(empty(), empty()))
    for name in RATIOS:
        assert getattr(s, name) == 1
    assert s.count_error == s.splits == s.merges == 0
    assert np.isnan(s.boundary)


@pytest.mark.parametrize("swap", [False, True])
def test_only_one_has_cells(swap):
    pair = [empty(), empty()]
    pair[swap][1:3, 1:3] = 1
    s = scores(count_image(*pair))
    for name in RATIOS:
        assert getattr(s, name) == 0
    assert s.count_error == 1
    assert np.isnan(s.hausdorff95)


def test_no_background():
    full = np.ones((5, 7), np.int32)
    assert scores(count_image(full, full)).boundary == 0
    halves = full.copy()
    halves[:, 4:] = 2
    s = scores(count_image(halves, full))
    assert s.dice == 1
    assert s.splits == 1
    assert s.ap50 == pytest.approx(0.5)


def test_one_pixel():
    assert scores(count_image(np.ones((1, 1), np.int32), np.ones((1, 1), np.int32))).map == 1


def test_no_images():
    s = scores(Counts())
    assert s.ap50 == 1
    assert np.isnan(s.dice)
    assert np.isnan(s.count_error)


@pytest.mark.parametrize("name", ["field 7", None])
def test_unequal_shapes_name_the_image(name):
    with pytest.raises(InputError, match=r"\(4, 5\).*\(5, 4\)") as info:
        count_image(np.zeros((4, 5), np.int32), np.zeros((5, 4), np.int32), name=name)
    assert ("field 7" in str(info.value)) == bool(name)
    with pytest.raises(InputError, match="ignored"):
        count_image(empty(), empty(), ignore=np.zeros((2, 2), bool), name=name)
    with pytest.raises(InputError, match="predicted"):
        count_image(empty() - 1, empty(), name=name)


# ---------------------------------------------------------------------- ignored pixels


def test_ignored_predictions_are_no_mistakes():
    truth, predicted = empty(10), empty(10)
    truth[1:4, 1:4] = 1
    predicted[1:4, 1:4] = 5
    predicted[6:9, 6:9] = 6
    ignore = np.zeros((10, 10), bool)
    ignore[6:9, 6:8] = True
    counts = count_image(predicted, truth, ignore=ignore)
    assert counts.fp == (0,) * 10
    assert counts.predicted == 1
    assert counts.count_error == 0
    assert counts.pixel_fp == 3
    assert scores(counts).aji == 1
    ignore[6:9, 7] = False
    counts = count_image(predicted, truth, ignore=ignore)
    assert counts.fp == (1,) * 10
    assert scores(counts).aji == 0.5


def test_half_is_not_mostly():
    predicted, ignore = empty(4), np.zeros((4, 4), bool)
    predicted[0] = 1
    ignore[0, :2] = True
    assert count_image(predicted, empty(4), ignore=ignore).fp[0] == 1


def test_a_match_counts_though_it_is_ignored():
    truth = empty()
    truth[1:4, 1:4] = 1
    counts = count_image(truth, truth, ignore=truth > 0)
    assert counts.tp[0] == 1
    assert counts.fp == (0,) * 10
    assert counts.pixel_tp == 0


def test_ignored_pixels_leave_the_pixel_counts(pair):
    predicted, truth = pair
    ignore = np.random.default_rng(0).random(truth.shape) < 0.3
    counts = count_image(predicted, truth, ignore=ignore)
    a, b = (predicted > 0)[~ignore], (truth > 0)[~ignore]
    got = counts.pixel_tp, counts.pixel_fp, counts.pixel_fn
    assert got == ((a & b).sum(), (a & ~b).sum(), (~a & b).sum())


def test_nothing_ignored_changes_nothing(pair):
    assert count_image(*pair, ignore=np.zeros(pair[0].shape, bool)) == count_image(*pair)


# ---------------------------------------------------------------------- boxes

PLACE, SIDE = st.integers(0, 8), st.integers(1, 8)
CORNERS = st.lists(st.tuples(PLACE, PLACE, SIDE, SIDE), max_size=6)


@given(arrays(np.int32, (16, 16), elements=st.integers(0, 5)), CORNERS)
@settings(deadline=None)
def test_boxes_agree_with_an_assignment(reference, noise, corners):
    labels = np.kron(noise[:4, :4], np.ones((4, 4), np.int32))
    true = [(y, x, y + h, x + w) for y, x, h, w in corners]
    found = []
    for mask in reference.masks_of(labels):
        y, x = np.nonzero(mask)
        found.append((y.min(), x.min(), y.max() + 1, x.max() + 1))
    iou = np.zeros((len(found), len(true)))
    for i, j in itertools.product(range(len(found)), range(len(true))):
        iou[i, j] = reference.box_iou(found[i], true[j])
    counts = count_boxes(labels, boxes_of(true))
    for k, threshold in enumerate(reference.THRESHOLDS):
        tp = len(reference.optimal_pairs(iou, threshold))
        assert (counts.tp[k], counts.fp[k], counts.fn[k]) == (
            tp,
            len(found) - tp,
            len(true) - tp,
        )
    assert counts.iou_sum == pytest.approx(sum(iou[p] for p in reference.optimal_pairs(iou, 0.5)))


def test_the_greedy_choice_is_not_taken():
    labels = np.zeros((10, 30), np.int32)
    labels[0:10, 0:10] = 1
    labels[0:10, 10:14] = 2
    # The first instance fits both boxes; the second box has no other.
    counts = count_boxes(labels, boxes_of([(0, 0, 10, 10), (0, 2, 10, 12)]))
    assert counts.tp[0] == 1
    counts = count_boxes(labels, boxes_of([(0, 0, 10, 14), (0, 10, 10, 14)]))
    assert counts.tp[0] == 2


def test_cells_at_the_frame():
    labels = np.zeros((20, 20), np.int32)
    labels[0:4, 5:9] = 1
    labels[8:12, 8:12] = 2
    labels[16:20, 2:6] = 3
    boxes = boxes_of([(0, 5, 4, 9)])
    assert count_boxes(labels, boxes).fp[0] == 2
    counts = count_boxes(labels, boxes, ignore_border=True)
    assert (counts.tp[0], counts.fp[0], counts.fn[0]) == (1, 1, 0)
    assert counts.predicted == 2
    ignore = np.zeros((20, 20), bool)
    ignore[8:12, 8:12] = True
    assert count_boxes(labels, boxes, ignore_border=True, ignore=ignore).fp[0] == 0


def test_boxes_beyond_the_frame_are_cut():
    labels = np.ones((10, 10), np.int32)
    assert count_boxes(labels, boxes_of([(-5, -5, 30, 30)])).tp == (1,) * 10


def test_boxes_without_anything():
    none = boxes_of([])
    counts = count_boxes(np.zeros((5, 5), np.int32), none)
    assert scores(counts).f1 == 1
    assert np.isnan(scores(counts).dice)
    assert count_boxes(np.zeros((5, 5), np.int32), boxes_of([(1, 1, 3, 3)])).fn[0] == 1
    assert count_boxes(np.ones((5, 5), np.int32), none).fp[0] == 1
    assert count_boxes(np.ones((5, 5), np.int32), boxes_of([(2, 2, 2, 2)])).fn[0] == 1


def test_pixel_metrics_are_of_the_masks_alone(pair):
    masks = count_image(*pair)
    both = masks + count_boxes(pair[0], boxes_of([(0, 0, 5, 5)]))
    assert both.images == 2
    assert scores(both).dice == scores(masks).dice
