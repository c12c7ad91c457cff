import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.core.labels import areas, as_labels, halve, median_diameter, relabel
from cellrim.errors import InputError

SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 8))


@given(arrays(np.int32, SHAPES, elements=st.sampled_from([0, 1, 5, 9, 2**31 - 1])))
def test_relabel_closes_the_gaps_and_keeps_order_and_pixels(labels):
    result = relabel(labels)
    assert result.dtype == np.int32
    ids = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(np.unique(result[result > 0]), np.arange(1, len(ids) + 1))
    np.testing.assert_array_equal(result > 0, labels > 0)
    np.testing.assert_array_equal(ids[result[labels > 0] - 1], labels[labels > 0])


def test_relabel_of_nothing():
    assert relabel(np.zeros((0, 4), np.int32)).shape == (0, 4)


def test_areas_and_diameter():
    labels = np.array([[0, 3, 3], [7, 0, 3]], np.int32)
    assert areas(labels).tolist() == [3, 1]
    assert median_diameter(labels) == pytest.approx(np.sqrt(np.array([3, 1]) * 4 / np.pi).mean())
    assert np.isnan(median_diameter(labels * 0))


@pytest.mark.parametrize(
    "bad",
    [np.zeros(3), np.zeros((2, 2, 2)), [[0.5]], [[np.nan]], [[-1]], [[2**31]], [["a"]], [[1j]]],
)
def test_what_is_no_label_image(bad):
    with pytest.raises(InputError):
        as_labels(bad)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint64, np.float32, ">u2"])
def test_any_whole_numbers(dtype):
    labels = as_labels(np.array([[0, 1], [1, 0]], dtype))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[0, 1], [1, 0]]


def _commonest(block):
    """Slow twin of :func:`halve` for one 2x2 block."""
    values = block.ravel().tolist()
    return max(values, key=lambda v: (values.count(v), -values.index(v)))


@given(arrays(np.uint32, SHAPES, elements=st.sampled_from([0, 1, 5, 2**32 - 1])))
def test_halve_takes_the_commonest_label(labels):
    result = halve(labels)
    assert result.dtype == labels.dtype
    even = np.pad(labels, [(0, n % 2) for n in labels.shape], mode="edge")
    assert result.shape == (even.shape[0] // 2, even.shape[1] // 2)
    for y, x in np.ndindex(result.shape):
        assert result[y, x] == _commonest(even[2 * y : 2 * y + 2, 2 * x : 2 * x + 2])
