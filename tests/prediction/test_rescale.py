import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellrim.prediction.rescale import labels_at_size


def _plain(labels, probability, shape, threshold):
    """Slow twin: the definition, pixel by pixel."""
    out = np.zeros(shape, np.int32)
    for y in range(shape[0]):
        for x in range(shape[1]):
            cy = min(max((y + 0.5) * labels.shape[0] / shape[0] - 0.5, 0), labels.shape[0] - 1)
            cx = min(max((x + 0.5) * labels.shape[1] / shape[1] - 0.5, 0), labels.shape[1] - 1)
            votes, total = {}, 0.0
            for yy in (int(cy), min(int(cy) + 1, labels.shape[0] - 1)):
                for xx in (int(cx), min(int(cx) + 1, labels.shape[1] - 1)):
                    wy = cy - int(cy) if yy > int(cy) else 1 - (cy - int(cy))
                    wx = cx - int(cx) if xx > int(cx) else 1 - (cx - int(cx))
                    if yy == int(cy) == labels.shape[0] - 1:
                        wy = 0.5
                    if xx == int(cx) == labels.shape[1] - 1:
                        wx = 0.5
                    total += wy * wx * probability[yy, xx]
                    if labels[yy, xx]:
                        votes[labels[yy, xx]] = votes.get(labels[yy, xx], 0) + wy * wx
            if total > threshold and votes:
                best = max(votes.values())
                out[y, x] = (
                    -1
                    if sum(v > best - 1e-5 for v in votes.values()) > 1
                    else max(votes, key=votes.get)
                )
            if abs(total - threshold) < 1e-5:
                out[y, x] = -1  # a tie: either is right
    return out


small = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)


@given(small, hnp.array_shapes(min_dims=2, max_dims=2, max_side=17), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=80)
def test_agrees_with_the_plain_definition(shape_in, shape_out, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, shape_in).astype(np.int32)
    probability = np.where(labels > 0, 0.9, rng.random(shape_in)).astype(np.float32)
    got = labels_at_size(labels, probability, shape_out, threshold=0.55)
    if shape_in == shape_out:
        np.testing.assert_array_equal(got, labels)
        return
    expected = _plain(labels, probability, shape_out, 0.55)
    rescued = ~np.isin(got, np.unique(expected))  # ids that lost all pixels keep one
    sure = (expected >= 0) & ~rescued
    if (expected < 0).any():  # what is rescued depends on the ties
        sure &= expected > 0
    np.testing.assert_array_equal(got[sure], expected[sure])


def test_outlines_are_as_fine_as_the_input():
    n, big = 24, 240
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    distance = np.hypot(y, x)
    labels = (distance < 8).astype(np.int32)
    probability = (1 / (1 + np.exp(distance - 8))).astype(np.float32)
    got = labels_at_size(labels, probability, (big, big), threshold=0.5) > 0
    y, x = np.mgrid[:big, :big] - (big - 1) / 2
    truth = np.hypot(y, x) < 80
    assert (got & truth).sum() / (got | truth).sum() > 0.985
    blocks = np.kron(labels > 0, np.ones((10, 10), bool))
    assert (blocks & truth).sum() / (blocks | truth).sum() < 0.97


def test_a_border_between_touching_cells_is_straight():
    labels = np.repeat(np.int32([[1, 1, 2, 2]]), 4, axis=0)
    got = labels_at_size(labels, np.ones((4, 4), np.float32), (40, 40), threshold=0.5)
    assert (got[:, :20] == 1).all()
    assert (got[:, 20:] == 2).all()


def test_ids_survive_shrinking():
    labels = np.zeros((64, 64), np.int32)
    labels[3:5, 3:5] = 5
    labels[40:42, 60:62] = 9
    got = labels_at_size(labels, (labels > 0).astype(np.float32), (8, 8), threshold=0.5)
    assert sorted(np.unique(got)) == [0, 5, 9]
    assert got[0, 0] == 5
    assert got[5, 7] == 9


def test_an_id_without_room_gives_way():
    labels = np.zeros((8, 8), np.int32)
    labels[:2, :2] = 1
    labels[:, 2:] = 2
    labels[2:, :] = 2
    got = labels_at_size(labels, np.ones((8, 8), np.float32), (1, 1), threshold=0.5)
    np.testing.assert_array_equal(got, [[2]])


def test_same_size_is_a_copy():
    labels = np.ones((3, 3), np.int32)
    got = labels_at_size(labels, np.zeros((3, 3), np.float32), (3, 3), threshold=0.5)
    np.testing.assert_array_equal(got, labels)
    assert got is not labels


@pytest.mark.parametrize("count", [1, 10_000])
def test_time_does_not_depend_on_the_number_of_cells(count):
    edge = int(count**0.5)
    ids = np.arange(1, count + 1, dtype=np.int32).reshape(edge, edge)
    labels = np.kron(ids, np.ones((500 // edge, 500 // edge), np.int32))
    start = time.process_time()
    labels_at_size(labels, np.ones(labels.shape, np.float32), (1000, 1000), threshold=0.5)
    assert time.process_time() - start < 3
