from itertools import permutations

import numpy as np
import pytest

from cellrim.core.image import Image, image_from_array
from cellrim.errors import InputError
from cellrim.io.images import read_image
from cellrim.prediction.nucleus_channel import (
    find_nucleus_channel,
    showing_channels,
)

NAMES = ("a", "b", "c")


def _image(*planes):
    return Image(np.stack(planes, axis=2), NAMES[: len(planes)])


def test_the_compact_one_in_any_order(spots, web):
    planes = (spots, web, np.zeros_like(spots))
    for order in permutations(range(3)):
        image = _image(*(planes[k] for k in order))
        assert find_nucleus_channel(image) == order.index(0)


@pytest.mark.parametrize("kind", ["noisy", "dark on bright", "floats"])
def test_what_it_must_not_depend_on(spots, web, kind):
    image = _image(web, spots)
    if kind == "noisy":
        noise = np.random.default_rng(0).normal(0, 12, image.pixels.shape)
        image = Image(np.clip(image.pixels + noise, 0, 255).astype(np.uint8), image.channels)
    elif kind == "dark on bright":
        image = Image(255 - image.pixels, image.channels)
    else:
        pixels = image.pixels.astype(np.float32) * 1e-4
        pixels[:2, :2] = np.nan
        image = Image(pixels, image.channels)
    assert find_nucleus_channel(image) == 1


def test_of_two_nuclear_markers_the_one_that_covers_more(spots, web):
    few = spots.copy()
    few[:, 60:] = few.min()
    assert find_nucleus_channel(_image(few, web, spots)) == 2


def test_the_only_channel_that_shows_something(web):
    nothing = np.zeros_like(web)
    assert find_nucleus_channel(_image(nothing, web, nothing)) == 1
    assert find_nucleus_channel(_image(web, web, web)) == 0


def test_where_none_stands_out(spots, web):
    for image in (_image(spots, np.roll(spots, 9, axis=0)), _image(web, np.roll(web, 9, axis=0))):
        with pytest.raises(InputError, match=r"none of 0 a, 1 b stands out.*--nucleus N"):
            find_nucleus_channel(image)
    with pytest.raises(InputError, match="all channels are constant"):
        find_nucleus_channel(_image(np.zeros_like(spots)))


def test_only_among_the_chosen_channels(spots, web):
    other = np.roll(spots, 9, axis=0)
    assert find_nucleus_channel(_image(other, web, spots), (1, 2)) == 2
    with pytest.raises(InputError, match="none of the image's channels"):
        find_nucleus_channel(_image(other, web, spots), (3,))


def test_channels_that_show_something(spots, web):
    image = _image(np.full_like(spots, 9), spots, web)
    assert showing_channels(image) == (1, 2)
    assert showing_channels(image, (2, 0)) == (2,)
    assert showing_channels(image_from_array(np.zeros((4, 4)))) == ()


def test_real_images(real_data):
    """All images of kc167 and mixed that have two channels: red is DNA."""
    found = 0
    for path in sorted((real_data / "plain").glob("kc167/images/*.png")) + sorted(
        (real_data / "plain").glob("mixed/images/*.png")
    ):
        image = read_image(path)
        if len(showing_channels(image)) < 2:
            continue
        found += 1
        for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
            assert find_nucleus_channel(image.select(order)) == order.index(0), path.name
    assert found == 13
