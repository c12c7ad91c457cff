import base64

import imagecodecs
import numpy as np
import pytest
from scipy import ndimage

from cellrim.core.image import image_from_array
from cellrim.errors import InputError
from cellrim.report.pictures import Layer, make_picture


def decoded(text):
    return imagecodecs.webp_decode(base64.b64decode(text))


@pytest.fixture
def image(picture):
    return image_from_array(picture)


def test_outlines_lie_on_the_rim_of_the_cells(image, cells):
    picture = make_picture(image, {"cells": Layer(cells)}, budget=100_000)
    layer = decoded(picture.layers["cells"])
    assert layer.shape == (70, 90, 4)
    drawn = layer[:, :, 3] > 0
    assert drawn.any()
    assert (cells[drawn] > 0).all()
    deep = ndimage.binary_erosion(cells == 3, iterations=3)
    assert deep.any()
    assert not drawn[deep].any()
    shown = decoded(picture.image)[:, :, :3].mean(axis=2)
    assert shown[cells == 3].mean() > shown[cells == 0].mean() + 100


def test_colours_belong_to_ids(image, cells):
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)], np.uint8)
    picture = make_picture(image, {"a": Layer(cells, colours)}, budget=100_000)
    layer = decoded(picture.layers["a"])
    drawn = layer[:, :, 3] > 0
    np.testing.assert_array_equal(layer[drawn][:, :3], colours[cells[drawn]])


@pytest.mark.parametrize("budget", [4_000, 15_000, 60_000])
@pytest.mark.parametrize("shape", [(1200, 900), (40, 3000)])
def test_pictures_stay_within_their_budget(budget, shape):
    """Pure noise and many cells: nothing is larger."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*shape, 3), np.uint8)
    rows, columns = np.arange(shape[0]) // 12, np.arange(shape[1]) // 12
    labels = (rows[:, None] * (columns.max() + 1) + columns + 1).astype(np.int32)
    picture = make_picture(
        image_from_array(noise, axes="YXC"), {"cells": Layer(labels)}, budget=budget
    )
    assert picture.size <= max(budget, 9_000)
    assert max(picture.width, picture.height) >= 128
    assert decoded(picture.image).shape[:2] == (picture.height, picture.width)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (65, 64)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_any_shape_and_type(shape, dtype):
    image = image_from_array(np.zeros(shape, dtype))
    picture = make_picture(image, {"x": Layer(np.ones(shape, np.int32))}, budget=10)
    assert picture.width >= 1


def test_labels_of_another_size(image):
    with pytest.raises(InputError, match="shape"):
        make_picture(image, {"x": Layer(np.zeros((3, 3), np.int32))}, budget=10)
