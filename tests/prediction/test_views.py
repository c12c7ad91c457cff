from __future__ import annotations

import numpy as np
import pytest

from cellrim.prediction.views import PLAIN, make_views

VIEWS = make_views(16)


@pytest.mark.parametrize("view", VIEWS)
def test_labels_of_a_view_come_back_to_their_place(view):
    labels = np.arange(1, 50 * 41 + 1, dtype=np.int32).reshape(50, 41)
    seen = view.of(labels[..., np.newaxis])
    np.testing.assert_array_equal(view.back(seen[..., 0]), labels)


def test_the_image_as_it_is_comes_first_and_moved_ones_last():
    pixels = np.random.default_rng(0).random((8, 5, 1))
    np.testing.assert_array_equal(PLAIN.of(pixels), pixels)
    assert VIEWS[0] == PLAIN
    assert len(set(VIEWS)) == 16
    assert make_views(3) == VIEWS[:3]
    assert all(view.down == view.right == 0 for view in VIEWS[:8])
    assert all(1 <= move < 32 for view in VIEWS[8:] for move in (view.down, view.right))
