from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from orientations import Change, by_image, make_views

VIEWS = make_views(2)


@pytest.mark.parametrize("view", VIEWS)
def test_labels_of_a_view_come_back_to_their_place(view):
    labels = np.arange(1, 50 * 41 + 1, dtype=np.int32).reshape(50, 41)
    seen = view.of(labels[..., np.newaxis])
    np.testing.assert_array_equal(view.back(seen[..., 0]), labels)


def test_the_image_as_it_is_comes_first_and_moved_ones_last():
    pixels = np.random.default_rng(0).random((8, 5, 1))
    np.testing.assert_array_equal(VIEWS[0].of(pixels), pixels)
    assert len(VIEWS) == 16
    assert all(view.down == view.right == 0 for view in VIEWS[:8])
    assert all(1 <= move < 32 for view in VIEWS[8:] for move in (view.down, view.right))


def test_a_difference_is_told_with_its_standard_error():
    change = Change(np.array([0.5, 0.6, 0.7, 0.6]), np.array([0.6, 0.6, 0.8, 0.6]))
    plain, mean, apart, difference, gain, error = change.columns()
    assert (plain, mean, difference) == pytest.approx((0.5, 0.6, 0.1))
    assert apart == pytest.approx(np.sqrt(0.02 / 3))
    assert gain == change.gain == pytest.approx(0.05)
    assert error == change.error == pytest.approx(np.sqrt(0.01 / 3) / 2)


def test_each_image_for_itself_keeps_the_name_of_its_set():
    first, second, other = (SimpleNamespace(name=name) for name in ("a", "b", "a"))
    sets = {"cells bright": [first, second], "cells dark": [other]}
    expected = {"cells bright a": [first], "cells bright b": [second], "cells dark a": [other]}
    assert by_image(sets) == expected
