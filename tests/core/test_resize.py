import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from cellrim.core.resize import resize, scaled_shape
from cellrim.errors import InputError

sizes = st.integers(1, 60)


@given(sizes, sizes, sizes, sizes)
@settings(deadline=None, max_examples=60)
def test_agrees_with_pillow(height, width, to_height, to_width):
    image = np.random.default_rng(0).random((height, width)).astype(np.float32)
    opened = PilImage.fromarray(image)
    expected = np.asarray(opened.resize((to_width, to_height), PilImage.Resampling.BILINEAR))
    got = resize(image[..., None], (to_height, to_width))[..., 0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)


@given(sizes, sizes, sizes, sizes, st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_a_constant_stays(height, width, to_height, to_width, channels):
    image = np.full((height, width, channels), 0.7, np.float32)
    got = resize(image, (to_height, to_width))
    assert got.shape == (to_height, to_width, channels)
    np.testing.assert_allclose(got, 0.7, rtol=1e-5)


def test_same_shape_is_the_image_itself():
    image = np.zeros((4, 5, 1), np.float32)
    assert resize(image, (4, 5)) is image


def test_fine_stripes_turn_grey_instead_of_aliasing():
    image = np.tile(np.float32([0, 1]), 64)[np.newaxis, :, np.newaxis].repeat(128, axis=0)
    small = resize(image, (30, 30))
    assert abs(small - 0.5).max() < 0.05


def test_shapes():
    assert scaled_shape((100, 3), 0.1) == (10, 1)
    with pytest.raises(InputError):
        resize(np.zeros((4, 5, 1), np.float32), (0, 5))
