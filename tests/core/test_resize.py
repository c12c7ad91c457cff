import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from cellrim.core.resize import nearest_pixels, resize, resize_window, scaled_shape
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


@given(sizes, sizes, sizes, sizes, st.data())
@settings(deadline=None, max_examples=40)
def test_a_window_is_that_part_of_the_whole(height, width, to_height, to_width, data):
    image = np.random.default_rng(0).random((height, width, 2)).astype(np.float32)
    window = []
    for size in (to_height, to_width):
        start = data.draw(st.integers(0, size - 1))
        window.append(slice(start, data.draw(st.integers(start + 1, size))))
    asked = []

    def read(rows, columns):
        asked.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return image[rows, columns]

    got = resize_window(
        read, (height, width), shape=(to_height, to_width), window=(window[0], window[1])
    )
    expected = resize(image, (to_height, to_width))[window[0], window[1]]
    np.testing.assert_array_equal(got, expected)
    assert sum(asked) <= height * width


def test_a_window_reads_only_what_it_needs():
    asked = []

    def read(rows, columns):
        asked.append((rows, columns))
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start, 1), np.float32)

    resize_window(read, (1000, 2000), shape=(500, 4000), window=(slice(100, 110), slice(0, 40)))
    [(rows, columns)] = asked
    assert (rows.start, rows.stop) == (199, 221)
    assert columns.stop <= 22


@given(sizes, sizes, sizes, sizes)
@settings(deadline=None, max_examples=40)
def test_each_new_pixel_is_the_one_its_centre_lies_in(height, width, to_height, to_width):
    plane = np.random.default_rng(0).integers(0, 9, (height, width))
    got = nearest_pixels(plane, (to_height, to_width))
    for y, x in np.ndindex(to_height, to_width):
        at = (2 * y + 1) * height // (2 * to_height), (2 * x + 1) * width // (2 * to_width)
        assert got[y, x] == plane[at]
