from itertools import permutations

import numpy as np
import pytest

from cellrim.core.image import Image
from cellrim.core.normalise import measure_range, normalise
from cellrim.errors import InputError
from cellrim.prediction.arrangement import arrange_channels, choose_channels
from cellrim.prediction.survey import survey


def _image(*planes):
    return Image(np.stack(planes, axis=2), ("a", "b", "c")[: len(planes)])


def arranged(image):
    """Numbers of the channels, and what the network sees."""
    found = arrange_channels(image, survey(image, range(len(image.channels))))
    whole = (slice(0, n) for n in image.shape)
    return found.channels, found.apply(image).read(*whole)


def as_it_is(*planes):
    pixels = np.stack(planes, axis=2)
    return normalise(pixels, measure_range(pixels))


def test_any_order_is_brought_to_one(spots, web):
    planes = (spots, web, np.zeros_like(spots))
    for order in permutations(range(3)):
        channels, got = arranged(_image(*(planes[k] for k in order)))
        assert [order[c] for c in channels] == [0, 1]
        np.testing.assert_array_equal(got, as_it_is(spots, web))
    for two in ((web, spots), (spots, web)):
        np.testing.assert_array_equal(arranged(_image(*two))[1], as_it_is(spots, web))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bright_on_dark_comes_out(spots, web, dtype):
    planes = np.dstack([web, spots]).astype(dtype)
    planes += np.random.default_rng(0).integers(0, 9, planes.shape).astype(dtype)
    image, dark = Image(planes, ("actin", "DNA")), Image(255 - planes, ("actin", "DNA"))
    (order, expected), (dark_order, got) = arranged(image), arranged(dark)
    assert order == dark_order == (1, 0)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_one_channel_among_empty_or_equal_ones_is_grey(spots):
    nothing = np.zeros_like(spots)
    for planes in ((spots,), (nothing, spots, nothing), (spots, spots, spots), (nothing, spots)):
        np.testing.assert_array_equal(arranged(_image(*planes))[1], as_it_is(spots))
    assert arranged(_image(nothing, nothing))[1].shape == (*spots.shape, 1)


def test_colours_of_a_stain_come_as_red_green_and_blue(spots):
    """Stains take away green most and blue least, whatever the order of the channels."""
    stain = (250 - spots // 2, 250 - spots, 250 - spots // 3)
    for order in permutations(range(3)):
        channels, got = arranged(_image(*(stain[k] for k in order)))
        assert [order[c] for c in channels] == [0, 1, 2]
        np.testing.assert_array_equal(got, as_it_is(*stain))


def test_the_negative_of_a_stain_is_seen_as_the_stain(spots, web):
    """Much alike, but not grey: dark ground or bright, in any order, it looks the same."""
    stain = (250 - spots // 2 - web // 5, 250 - spots, 250 - spots // 3)
    expected = arranged(_image(*stain))[1]
    for order in permutations(range(3)):
        channels, got = arranged(_image(*(255 - stain[k] for k in order)))
        assert [order[c] for c in channels] == [0, 1, 2]
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_grey_images_come_with_a_dark_ground(spots):
    image = spots + np.random.default_rng(0).integers(0, 9, spots.shape).astype(np.uint8)
    (_, bright_on_dark), (_, dark_on_bright) = (
        arranged(_image(image)),
        arranged(_image(255 - image)),
    )
    assert np.median(bright_on_dark) < 0.2
    np.testing.assert_allclose(dark_on_bright, bright_on_dark, atol=1e-5)
    unknown = np.full((9, 9), np.nan, np.float32)
    assert not arranged(_image(unknown))[1].any()


def test_three_channels_that_show_the_same_on_dark_stay(web):
    planes = (250 - web // 2, 240 - web, 250 - web // 3)
    channels, got = arranged(_image(*planes))
    assert channels == (0, 1, 2)
    np.testing.assert_array_equal(got, as_it_is(*planes))


def test_channels_are_chosen_by_name_or_number():
    names = ("DAPI", "actin", "c", "d")
    assert choose_channels(names, ("actin", 0)) == (1, 0)
    assert choose_channels(names[:3], None) == (0, 1, 2)
    for wrong in (None, (0, 1, 2, 3), ()):
        with pytest.raises(InputError, match=r"one to three.*0 DAPI, 1 actin"):
            choose_channels(names, wrong)
