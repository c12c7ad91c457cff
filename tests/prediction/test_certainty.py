import math

import numpy as np
import pytest

from cellrim.prediction.certainty import certainty_of


def maps_of(logit, length):
    maps = np.zeros((4, 20, 30), np.float32)
    maps[0] = -20
    maps[0, 5:10, 5:10] = logit
    maps[1, 5:10, 5:10] = length
    return maps


def test_sure_maps_and_unsure_ones():
    assert certainty_of(maps_of(20, 1)) == pytest.approx(1)
    assert certainty_of(maps_of(0, 1)) == pytest.approx(0.5)
    assert certainty_of(maps_of(20, 0.3)) == pytest.approx(0.3)


def test_what_is_left_out_of_the_labels_counts_too():
    maps = maps_of(20, 1)
    maps[0, 5:10, 15:20] = -0.5  # below the threshold of the foreground
    assert certainty_of(maps) < 0.6


def test_nothing_is_uncertain_where_nothing_could_be_a_cell():
    assert math.isnan(certainty_of(maps_of(-20, 1)))
