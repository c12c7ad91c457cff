import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.evaluation.overlap import (
    THRESHOLDS,
    count_splits,
    find_overlap,
    match,
    reached,
)

SHAPE = st.shared(st.tuples(st.integers(1, 9), st.integers(1, 9)), key="shape")
LABELS = arrays(np.int32, SHAPE, elements=st.integers(0, 4))


def dense(overlap):
    table = np.zeros((len(overlap.predicted_areas), len(overlap.truth_areas)))
    table[overlap.predicted, overlap.truth] = overlap.iou
    return table


@given(LABELS, LABELS)
@settings(deadline=None)
def test_table_holds_all_pairs(reference, predicted, truth):
    overlap = find_overlap(predicted, truth)
    np.testing.assert_allclose(
        dense(overlap),
        reference.iou_table(reference.masks_of(predicted), reference.masks_of(truth)),
    )
    assert (overlap.shared > 0).all()
    assert overlap.predicted_areas.tolist() == [m.sum() for m in reference.masks_of(predicted)]
    assert overlap.truth_areas.tolist() == [m.sum() for m in reference.masks_of(truth)]


@given(LABELS, LABELS)
@settings(deadline=None, max_examples=300)
def test_matching_is_optimal_at_each_threshold(reference, predicted, truth):
    overlap = find_overlap(predicted, truth)
    matches = match(overlap)
    assert len(set(overlap.predicted[matches])) == len(set(overlap.truth[matches])) == len(matches)
    counts = reached(overlap.shared[matches], overlap.union[matches]).sum(axis=0)
    table = dense(overlap)
    assert counts.tolist() == [len(reference.optimal_pairs(table, t)) for t in THRESHOLDS]
    best = sum(table[p] for p in reference.optimal_pairs(table, 0.5))
    assert overlap.iou[matches].sum() == pytest.approx(best)


def test_two_halves_of_one_cell_are_one_match():
    truth = np.ones((2, 4), np.int32)
    predicted = np.array([[1, 1, 2, 2]] * 2, np.int32)
    assert len(match(find_overlap(predicted, truth))) == 1
    assert len(match(find_overlap(truth, predicted))) == 1


@pytest.mark.parametrize("k", range(10))
def test_thresholds_are_met_exactly(k):
    truth = np.ones((1, 20), np.int32)
    predicted = truth.copy()
    predicted[0, 10 + k :] = 0
    overlap = find_overlap(predicted, truth)
    met = reached(overlap.shared, overlap.union)[0]
    assert met.tolist() == [i <= k for i in range(10)]


@given(LABELS, LABELS)
@settings(deadline=None)
def test_splits_and_merges(reference, predicted, truth):
    expected = reference.split_count(predicted, truth), reference.split_count(truth, predicted)
    assert count_splits(find_overlap(predicted, truth)) == expected


def test_a_speck_is_no_split():
    truth = np.ones((10, 10), np.int32)
    predicted = truth.copy()
    predicted[0, :9] = 2
    assert count_splits(find_overlap(predicted, truth)) == (0, 0)
    predicted[0, :] = 2
    assert count_splits(find_overlap(predicted, truth)) == (1, 0)
    assert count_splits(find_overlap(truth, predicted)) == (0, 1)


def test_many_instances_cost_pixels_only():
    labels = np.arange(1, 1_000_001, dtype=np.int32).reshape(1000, 1000)
    overlap = find_overlap(labels, labels[::-1])
    assert len(overlap.shared) == 1_000_000
