import numpy as np
import pytest

from cellrim.datasets.base import Boxes, Truth
from cellrim.evaluation.counts import count_boxes, count_image
from cellrim.evaluation.mistakes import (
    FOUND,
    IGNORED,
    INVENTED,
    MERGED,
    MISSED,
    SPLIT,
    box_lines,
    judge,
)


@pytest.fixture
def pair():
    """One of each: found, missed, split, two merged, invented, ignored; ids with gaps."""
    truth = np.zeros((40, 120), np.int32)
    predicted = np.zeros_like(truth)
    truth[5:15, 5:15] = 2
    predicted[5:15, 5:14] = 9
    truth[5:15, 25:35] = 4  # missed
    truth[5:15, 45:65] = 6  # split
    predicted[5:15, 45:55], predicted[5:15, 55:65] = 3, 4
    truth[5:15, 75:85], truth[5:15, 85:95] = 8, 9  # merged
    predicted[5:15, 75:95] = 20
    predicted[25:35, 5:15] = 30  # invented
    predicted[25:35, 45:55] = 31  # where nobody says what is there
    ignore = np.zeros(truth.shape, bool)
    ignore[25:35, 40:60] = True
    return predicted, Truth(truth, ignore)


def test_one_of_each(pair):
    predicted, truth = pair
    verdict = judge(predicted, truth)
    assert verdict.truth.tolist() == [FOUND, MISSED, SPLIT, MERGED, MERGED]
    assert verdict.predicted.tolist() == [SPLIT, SPLIT, FOUND, MERGED, INVENTED, IGNORED]


def test_the_verdict_agrees_with_the_counts(pair):
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = rng.integers(0, 9, (6, 8)).astype(np.int32).repeat(6, 0).repeat(6, 1)
        predicted = np.roll(truth, rng.integers(0, 4, 2), (0, 1))
        predicted[predicted == 3] = 4
        counts = count_image(predicted, truth, boundaries=False)
        verdict = judge(predicted, Truth(truth))
        assert np.sum(verdict.truth == SPLIT) <= counts.splits
        assert np.sum(verdict.predicted == MERGED) == counts.merges
        assert np.sum(verdict.truth == MISSED) <= counts.fn[0]
        assert np.sum(verdict.predicted == INVENTED) <= counts.fp[0]


def test_boxes_are_judged_as_boxes():
    predicted = np.zeros((60, 60), np.int32)
    predicted[5:15, 5:15], predicted[30:40, 30:40], predicted[50:60, 0:9] = 1, 2, 3
    corners = np.array([(5, 5, 15, 14), (30, 5, 40, 15)])
    truth = Truth(np.zeros((60, 60), np.int32), boxes=Boxes(corners, ("a", "b")))
    verdict = judge(predicted, truth)
    assert verdict.truth.tolist() == [FOUND, MISSED]
    assert verdict.predicted.tolist() == [FOUND, INVENTED, IGNORED]
    strict = judge(predicted, truth, ignore_border=False)
    assert strict.predicted.tolist() == [FOUND, INVENTED, INVENTED]
    counts = count_boxes(predicted, truth.boxes)
    assert (counts.tp[0], counts.fp[0], counts.fn[0]) == (1, 2, 1)


def test_frames_of_boxes():
    drawn = box_lines(np.array([(-3, 2, 5, 8), (10, 10, 20, 20)]), (15, 25), width=1)
    assert drawn.shape == (15, 25)
    assert (drawn[10, 10:20] == 2).all()
    assert drawn[12, 12] == 0
    assert (drawn[:5, 2] == 1).all()
    assert drawn[2, 4] == 0


def test_nothing_at_all():
    nothing = np.zeros((9, 9), np.int32)
    verdict = judge(nothing, Truth(nothing))
    assert len(verdict.truth) == len(verdict.predicted) == 0
