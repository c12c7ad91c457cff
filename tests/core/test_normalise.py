from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.core.normalise import percentiles_of

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
