from __future__ import annotations

import numpy as np
import pytest

from cellrim.core.normalise import CLIP
from cellrim.training.augment import empty_image, vary
from cellrim.training.recipe import AugmentationPart

SETTINGS = AugmentationPart()


def test_shading_changes_brightness_smoothly_and_all_channels_alike():
    only = dict.fromkeys(("invert", "invert_colour", "gamma", "contrast", "illumination"), 0.0)
    only |= dict.fromkeys(("noise", "blur", "shuffle_channels", "drop_channel", "to_grey"), 0.0)
    flat = np.full((96, 96, 3), 0.4, np.float32)
    rng = np.random.default_rng(0)
    same = vary(flat, AugmentationPart(**only), rng)
    assert (same == flat).all()
    for _ in range(5):
        shaded = vary(flat, AugmentationPart(**only, shading=1.0), rng)
        assert (shaded == shaded[:, :, :1]).all()
        assert shaded.std() > 0.01
        steps = np.abs(np.diff(np.log(shaded[:, :, 0]), axis=0))
        assert steps.max() < 0.2


@pytest.mark.parametrize("seed", range(30))
def test_grey_stays_grey_and_everything_stays_in_range(seed):
    rng = np.random.default_rng(seed)
    grey = rng.random((32, 32, 1)).astype(np.float32)
    before = grey.copy()
    out = vary(grey, SETTINGS, rng)
    assert (grey == before).all()
    assert out.shape == (32, 32, 3)
    assert out.dtype == np.float32
    assert (out == out[:, :, :1]).all()
    assert out.min() >= CLIP[0]
    assert out.max() <= CLIP[1]


def test_only_the_nucleus_is_dropped():
    always = AugmentationPart(
        drop_channel=1.0,
        shuffle_channels=0.0,
        invert=0.0,
        noise=0.0,
        contrast=0.0,
        illumination=0.0,
    )
    rng = np.random.default_rng(0)
    image = rng.random((16, 16, 3)).astype(np.float32)
    out = vary(image, always, rng, nucleus=0)
    assert (out[:, :, 0] == 0).all()
    assert (out[:, :, 1] > 0).any()


def test_an_empty_channel_stays_empty_when_inverted():
    always = AugmentationPart(
        invert=1.0,
        drop_channel=0.0,
        shuffle_channels=0.0,
        noise=0.0,
        contrast=0.0,
        illumination=0.0,
        gamma=0.0,
        blur=0.0,
    )
    image = np.zeros((16, 16, 3), np.float32)
    image[4:8, 4:8, 1] = 0.8
    out = vary(image, always, np.random.default_rng(0), nucleus=0)
    assert (out[:, :, 2] == 0).all()
    assert out[5, 5, 1] == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(12))
def test_empty_images(seed):
    image = empty_image(32, np.random.default_rng(seed))
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
