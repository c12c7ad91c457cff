import math

import numpy as np
import pytest
from scipy import ndimage

from cellrim.core.image import image_from_array
from cellrim.measure.quality import (
    CHECKS,
    Quality,
    background_unevenness,
    edge_blur,
    flags,
    gradient_magnitude,
    measure_quality,
    saturated_share,
    sentences,
    typical,
)

DIAMETER = 24


@pytest.fixture(scope="module")
def scene():
    """Bright discs of 24 pixels with some noise, and their labels."""
    y, x = np.mgrid[:300, :420]
    inside = np.hypot(y % 60 - 30, x % 60 - 30) <= DIAMETER / 2
    labels, _ = ndimage.label(inside)
    rng = np.random.default_rng(0)
    return inside * 140.0 + 30 + rng.normal(size=inside.shape), labels.astype(np.int32)


@pytest.fixture(scope="module")
def varied(scene):
    """The same cells, some brighter than others."""
    pixels, labels = scene
    return pixels + (labels > 0) * np.random.default_rng(2).normal(0, 25, pixels.shape)


def as_uint8(pixels):
    return image_from_array(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 4.0])
def test_blur_is_the_sigma_that_was_put_in(scene, sigma):
    pixels, _ = scene
    blurred = ndimage.gaussian_filter(pixels, sigma)
    rng = np.random.default_rng(1)
    measured = edge_blur(as_uint8(blurred + rng.normal(size=pixels.shape)), DIAMETER)
    assert measured * DIAMETER == pytest.approx(sigma, rel=0.25)


def test_blur_counts_in_cell_diameters(scene):
    """The same picture in twice as many pixels is as blurred as before."""
    pixels, _ = scene
    small = edge_blur(as_uint8(ndimage.gaussian_filter(pixels, 3)), DIAMETER)
    large = ndimage.zoom(ndimage.gaussian_filter(pixels, 3), 2, order=1)
    assert edge_blur(as_uint8(large), 2 * DIAMETER) == pytest.approx(small, rel=0.15)


def test_saturation_is_the_share_that_was_clipped(scene, varied):
    pixels, labels = varied, scene[1]
    for share in (0.1, 0.5):
        top = np.percentile(pixels[labels > 0], 100 * (1 - share))
        image = as_uint8(pixels * 255 / top)
        assert saturated_share(image, labels) == pytest.approx(share, abs=0.04)


def test_saturation_at_12_bits_of_16_and_of_dark_cells(scene, varied):
    pixels, labels = varied, scene[1]
    top = np.percentile(pixels[labels > 0], 70)
    image = image_from_array(np.clip(pixels * 4095 / top, 0, 4095).astype(np.uint16))
    assert saturated_share(image, labels) == pytest.approx(0.3, abs=0.04)
    dark = image_from_array((4095 - image.pixels[:, :, 0]).astype(np.uint16))
    assert saturated_share(dark, labels) == pytest.approx(0.3, abs=0.04)


def test_few_levels_or_a_saturated_ground_are_no_saturated_cells(scene):
    pixels, labels = scene
    assert saturated_share(as_uint8(pixels / 12), labels) < 0.05
    white = as_uint8(300 - pixels)
    assert (white.pixels == 255).mean() > 0.5
    assert saturated_share(white, labels) == 0
    assert saturated_share(as_uint8(np.full((9, 9), 7.0)), np.ones((9, 9), np.int32)) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_unevenness_is_the_slope_that_was_put_in(scene, channels):
    pixels, labels = scene
    slope = np.linspace(0, 50, pixels.shape[1])
    image = np.repeat((pixels + slope)[:, :, np.newaxis], channels, axis=2).astype(np.float32)
    measured = background_unevenness(image_from_array(image, axes="YXC"), labels)
    # Of the contrast from the darkest ground to the brightest cell, between block centres.
    assert measured == pytest.approx(50 * 7 / 8 / 190, rel=0.12)
    assert background_unevenness(as_uint8(pixels), labels) < 0.03


def test_no_background_says_nothing_of_the_light(scene):
    pixels, _ = scene
    assert math.isnan(background_unevenness(as_uint8(pixels), np.ones(pixels.shape, np.int32)))


def test_a_good_image_has_no_flag_and_a_bad_one_has_its_own(scene):
    pixels, labels = scene
    assert flags(measure_quality(as_uint8(pixels), labels, certainty=0.9)) == ()
    blurred = ndimage.gaussian_filter(pixels, DIAMETER * 0.25)
    assert flags(measure_quality(as_uint8(blurred), labels)) == ("out of focus",)
    clipped = as_uint8(pixels * 255 / 165)
    assert flags(measure_quality(clipped, labels)) == ("saturated",)
    shaded = as_uint8(pixels * np.linspace(0.2, 1, pixels.shape[1]) + 60 * np.ones(1))
    assert flags(measure_quality(shaded, labels)) == ()
    ground = as_uint8(pixels + np.linspace(0, 90, pixels.shape[1]) - 20)
    assert flags(measure_quality(ground, labels)) == ("uneven illumination",)
    small = as_uint8(pixels[::4, ::4])
    assert flags(measure_quality(small, labels[::4, ::4])) == ("too few pixels per cell",)
    strange = measure_quality(as_uint8(pixels), labels, certainty=0.1)
    assert flags(strange) == ("unlike the training data",)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.flag)
def test_every_flag_has_a_sentence_with_its_number(check):
    value = check.threshold * (1.5 if check.above else 0.5)
    quality = Quality(**{check.number: value})
    [text] = sentences(quality)
    assert text.lower().startswith(check.flag)
    assert any(character.isdigit() for character in text)
    assert flags(quality) == (check.flag,)
    assert quality.as_numbers()[check.number] == pytest.approx(value, abs=1e-4)


def test_nothing_is_said_where_nothing_is_measured():
    image = as_uint8(np.zeros((20, 30)))
    quality = measure_quality(image, np.zeros((20, 30), np.int32))
    assert flags(quality) == ()
    assert set(quality.as_numbers().values()) == {None}


@pytest.mark.parametrize("shape", [(1, 1), (2, 40)])
def test_small_images_are_measured_too(shape):
    image = image_from_array(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    labels = np.ones(shape, np.int32)
    assert measure_quality(image, labels).cell_diameter > 0


def test_nan_pixels_do_no_harm(scene):
    pixels, labels = scene
    broken = pixels.astype(np.float32)
    broken[::7] = np.nan
    quality = measure_quality(image_from_array(broken), labels)
    assert 0 <= quality.saturated < 0.05
    assert quality.unevenness < 0.1


def test_a_stack_is_as_good_as_its_typical_plane():
    planes = [Quality(blur=0.5), Quality(blur=0.02, saturated=0.3), Quality(blur=0.04)]
    assert typical(planes) == Quality(blur=0.04, saturated=0.3)
    assert flags(typical([])) == ()


@pytest.mark.parametrize("sigma", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(40, 57), (3, 9), (1, 1)])
def test_the_gradient_is_that_of_scipy(shape, sigma):
    plane = np.random.default_rng(0).random(shape).astype(np.float32)
    expected = ndimage.gaussian_gradient_magnitude(plane, sigma)
    np.testing.assert_allclose(gradient_magnitude(plane, sigma), expected, atol=1e-6)
