from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from orientations import Change, by_image, views_for

from cellrim.prediction.views import make_views


@pytest.mark.parametrize(
    ("images", "looks", "views"), [(1, 0, 8), (1, 64, 64), (5, 64, 13), (52, 64, 8)]
)
def test_all_orientations_are_seen_and_more_views_of_few_images(images, looks, views):
    assert views_for([SimpleNamespace()] * images, looks) == make_views(views)


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
