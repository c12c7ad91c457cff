from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from cellrim.datasets.base import Boxes, Truth
from cellrim.errors import InputError
from cellrim.evaluation import count_boxes, count_image
from cellrim.evaluation.calibration import Calibration, expected_error, fit, judge, reliability


def outcomes(slope, offset, count=20_000, seed=0):
    """Confidences, and outcomes whose chance is a known map of them."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.05, 0.95, count)
    chance = special.expit(slope * special.logit(said) + offset)
    return said, rng.random(count) < chance


def slow_error(said, right, bins):
    """Expected calibration error over bins of equal width, by the book."""
    total = 0.0
    for k in range(bins):
        inside = (said >= k / bins) & ((said < (k + 1) / bins) | (k == bins - 1))
        if inside.any():
            total += inside.sum() / len(said) * abs(said[inside].mean() - right[inside].mean())
    return total


def test_error_is_that_of_the_definition():
    said, right = outcomes(2.0, -0.5, count=500)
    assert expected_error(said, right, spacing="width") == pytest.approx(
        slow_error(said, right, 10)
    )


def test_bins_of_equal_mass_hold_as_many_cells():
    said, right = outcomes(1.0, 0.0, count=1003)
    cells = [b.cells for b in reliability(said, right)]
    assert sum(cells) == 1003
    assert max(cells) - min(cells) <= 1


def test_what_is_calibrated_has_a_small_error_and_what_is_not_a_large_one():
    said, right = outcomes(1.0, 0.0)
    assert expected_error(said, right) < 0.02
    assert expected_error(said, said > 2) > 0.4


def test_fit_finds_the_map_and_repairs_unseen_cells():
    found = fit(*outcomes(2.0, -0.7))
    assert found.slope == pytest.approx(2.0, abs=0.1)
    assert found.offset == pytest.approx(-0.7, abs=0.1)
    said, right = outcomes(2.0, -0.7, seed=1)
    assert expected_error(found.apply(said), right) < 0.02 < expected_error(said, right)


def test_weights_count_like_copies():
    said, right = outcomes(1.5, 0.2, count=400)
    twice = np.r_[np.ones(200), np.full(200, 2.0)]
    by_weight = fit(said, right, weights=twice)
    by_copy = fit(np.r_[said, said[200:]], np.r_[right, right[200:]])
    assert by_weight.slope == pytest.approx(by_copy.slope, abs=0.05)
    assert by_weight.offset == pytest.approx(by_copy.offset, abs=0.05)


def test_one_sided_outcomes_change_nothing():
    assert fit(np.array([0.3, 0.8]), np.array([True, True])) == Calibration()
    assert fit(np.zeros(0), np.zeros(0, bool)) == Calibration()


def test_the_map_rises_even_where_the_outcomes_fall():
    said, right = outcomes(-2.0, 0.0, count=2000)
    assert fit(said, right).slope > 0


def test_no_cells_have_no_error():
    assert np.isnan(expected_error(np.zeros(0), np.zeros(0, bool)))


@pytest.mark.parametrize("said", [[1.2], [np.nan], [0.5, 0.5]])
def test_wrong_confidences_are_refused(said):
    with pytest.raises(InputError, match="Expected"):
        reliability(np.array(said), np.array([True]))


def field():
    """Truth with an ignored corner; predictions right, wrong, ignored."""
    truth = np.zeros((20, 30), np.int32)
    truth[2:8, 2:8] = 1
    labels = np.zeros_like(truth)
    labels[2:8, 3:8] = 1
    labels[10:14, 10:14] = 2
    labels[14:19, 24:29] = 3
    ignore = np.zeros(truth.shape, bool)
    ignore[12:, 22:] = True
    return labels, truth, ignore


def test_judge_agrees_with_the_counts_of_masks():
    labels, truth, ignore = field()
    right, judged = judge(labels, Truth(truth, ignore))
    assert right.tolist() == [True, False, False]
    assert judged.tolist() == [True, True, False]
    counts = count_image(labels, truth, ignore=ignore)
    assert (counts.tp[0], counts.fp[0]) == (right.sum(), (judged & ~right).sum())


def test_judge_agrees_with_the_counts_of_boxes():
    labels, truth, ignore = field()
    labels[0:3, 20:24] = 4  # at the frame and without a box
    boxes = Boxes(np.array([[2, 2, 8, 8]]), ("cell",))
    right, judged = judge(labels, Truth(truth, ignore, boxes))
    assert right.tolist() == [True, False, False, False]
    assert judged.tolist() == [True, True, False, False]
    counts = count_boxes(labels, boxes, ignore=ignore, ignore_border=True)
    assert (counts.tp[0], counts.fp[0]) == (right.sum(), (judged & ~right).sum())


def test_no_predictions_at_all():
    right, judged = judge(np.zeros((5, 5), np.int32), Truth(np.ones((5, 5), np.int32)))
    assert len(right) == len(judged) == 0
