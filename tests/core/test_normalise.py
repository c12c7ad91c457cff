from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.core.normalise import percentiles_of, to_network
from cellrim.errors import InputError

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@given(data=st.data(), percentiles=st.lists(st.floats(0, 100), min_size=1, max_size=4))
def test_percentiles_are_those_of_numpy_to_the_last_bit(dtype, data, percentiles):
    elements = {"min_value": 0, "max_value": 250}
    values = data.draw(arrays(dtype, SHAPES, elements=elements))
    found = percentiles_of(values, percentiles)
    assert found.dtype == np.percentile(values, percentiles).dtype
    np.testing.assert_array_equal(found, np.percentile(values, percentiles))


def test_percentiles_of_a_view_with_steps():
    image = np.random.default_rng(0).integers(0, 60_000, (90, 70, 3)).astype(np.uint16)
    view = image[::3, ::2, 1]
    found = percentiles_of(view, (1.0, 50.0, 99.8))
    np.testing.assert_array_equal(found, np.percentile(view, (1.0, 50.0, 99.8)))


@pytest.mark.parametrize(("count", "seen"), [(1, [0, 0, 0]), (2, [0, 1, None]), (3, [0, 1, 2])])
def test_the_network_sees_three_channels(count, seen):
    pixels = np.random.default_rng(0).random((5, 7, count), np.float32)
    empty = np.zeros((5, 7), np.float32)
    wanted = np.stack([empty if c is None else pixels[:, :, c] for c in seen], axis=2)
    np.testing.assert_array_equal(to_network(pixels), wanted)


def test_which_of_four_channels_to_use_is_to_be_said():
    with pytest.raises(InputError, match="got 4: choose which to use"):
        to_network(np.zeros((5, 7, 4), np.float32))
