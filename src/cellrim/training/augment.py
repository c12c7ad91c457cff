"""What microscopes and cameras do to an image: photometric augmentation of patches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.noise import NoiseTally
from cellrim.core.normalise import CLIP, LEAST_CONTRAST
from cellrim.core.resize import resize
from cellrim.training.recipe import AugmentationPart

Pixels = NDArray[np.float32]

# Pixels from one random brightness to the next, and standard deviations of its logarithm.
_SHADE_STEPS = (16.0, 64.0)
_SHADE_DEPTHS = (0.1, 0.5)


def vary(
    image: Pixels,
    settings: AugmentationPart,
    rng: np.random.Generator,
    *,
    nucleus: int | None = None,
) -> Pixels:
    """Return a varied copy of a normalised patch.

    Parameters
    ----------
    image
        float32, axes ``YXC``, mostly within 0..1: one channel where the image is grey, else three.
    settings
        How often each variation is applied.
    rng
        The generator that decides.
    nucleus
        The channel that may be dropped, where the image has one.

    Returns
    -------
    ndarray
        float32, axes ``YXC``, three channels, equal where the image is grey.
    """
    grey = image.shape[2] == 1
    if not grey:
        image = _vary_channels(image, settings, rng, nucleus=nucleus)
    if rng.random() < (settings.invert if grey or nucleus is not None else settings.invert_colour):
        used = image.reshape(-1, image.shape[2]).any(axis=0)
        image = np.where(used, 1 - image, image)
    if rng.random() < settings.gamma:
        image = _gamma(image, float(np.exp(rng.normal(0, 0.35))))
    if rng.random() < settings.blur:
        sigma = float(rng.uniform(0.3, 1.8))
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    if rng.random() < settings.illumination:
        image = _illuminate(image, rng)
    # Asks the generator only where it may happen: patches of recipes without it stay the same.
    if settings.shading and rng.random() < settings.shading:
        image = _shade(image, rng)
    if rng.random() < settings.contrast:
        gain = float(np.exp(rng.normal(0, 0.25)))
        image = (image - 0.3) * gain + 0.3 + float(rng.normal(0, 0.08))
    if rng.random() < settings.noise:
        image = _noise(image, rng)
    image = np.clip(image, *CLIP, dtype=np.float32)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _vary_channels(
    image: Pixels, settings: AugmentationPart, rng: np.random.Generator, *, nucleus: int | None
) -> Pixels:
    if nucleus is not None and rng.random() < settings.drop_channel:
        rest = np.flatnonzero(image.reshape(-1, image.shape[2]).any(axis=0))
        rest = rest[rest != nucleus]
        if len(rest) == 1:  # prediction leaves empty channels out
            return image[:, :, rest]
        image = image.copy()
        image[:, :, nucleus] = 0
    elif nucleus is None and rng.random() < settings.to_grey:
        weights = rng.dirichlet((2.0, 2.0, 2.0)).astype(np.float32)
        return image @ weights[:, None]
    if rng.random() < settings.shuffle_channels:
        image = image[:, :, rng.permutation(3)]
    return image


def _gamma(image: Pixels, exponent: float) -> Pixels:
    inside = np.clip(image, 0, 1)
    result: Pixels = inside**exponent + (image - inside)
    return result


def _illuminate(image: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    a, b, c = rng.normal(0, 0.25, 3).astype(np.float32)
    field = a * y + b * x + c * (y * y + x * x - 0.66)
    change = field[:, :, None]
    varied: Pixels = image * np.exp(change) if rng.random() < 0.5 else image + 0.6 * change
    return varied


def _shade(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Brighten and dim smoothly, from place to place as cells do."""
    step = float(rng.uniform(*_SHADE_STEPS))
    coarse = [math.ceil(length / step) + 1 for length in image.shape[:2]]
    field = rng.standard_normal((*coarse, 1), np.float32) * np.float32(rng.uniform(*_SHADE_DEPTHS))
    height, width = image.shape[:2]
    shade = resize(field, (math.ceil(coarse[0] * step), math.ceil(coarse[1] * step)))
    shaded: Pixels = image * np.exp(shade[:height, :width])
    return shaded


def _noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    strength = np.float32(rng.uniform(0.01, 0.15))
    noise = rng.standard_normal(image.shape, np.float32)
    if rng.random() < 0.3:  # as coarse as a camera that bins or a JPEG
        noise = ndimage.gaussian_filter(noise, (0.8, 0.8, 0)) * 2
    if rng.random() < 0.5:  # shot noise grows with the signal
        noise *= np.sqrt(np.clip(image, 0.02, 1)) * np.float32(1.5)
    noise *= np.ptp(image, axis=(0, 1)) > 0  # prediction leaves channels of mere noise out
    return _as_wide_as_noise(image + strength * noise)


def _as_wide_as_noise(image: Pixels) -> Pixels:
    """Bring noisy channels to the contrast that prediction gives them (core/normalise.py)."""
    tally = NoiseTally((image.shape[0], image.shape[1]), range(image.shape[2]))
    tally.add(image)
    wider = np.maximum(LEAST_CONTRAST * np.asarray(tally.deviations, np.float32), 1)
    ground = np.median(image, axis=(0, 1))
    result: Pixels = ground + (image - ground) / wider
    return result


def empty_image(size: int, rng: np.random.Generator) -> Pixels:
    """Return a field without cells: constant, noise or smooth gradients, axes ``YXC``.

    Normalisation stretches the noise of an empty image over the whole range, so that this is what
    the network meets there.
    """
    channels = 3 if rng.random() < 0.2 else 1
    image = np.zeros((size, size, channels), np.float32)
    form = rng.integers(4)
    if form == 0:
        image += np.float32(rng.uniform(-0.1, 1.1))
    else:
        noise = rng.standard_normal(image.shape, np.float32)
        sigma = float(rng.choice([0, 0, 0.6, 1.0, 2.0, 40.0]))
        if sigma:
            noise = ndimage.gaussian_filter(noise, (sigma, sigma, 0), mode="reflect")
        noise -= noise.mean()
        noise /= noise.std() + 1e-6
        image += np.float32(rng.uniform(0.2, 0.7)) + np.float32(rng.uniform(0.02, 0.25)) * noise
    if form == 3:
        image = _illuminate(image, rng)
    image = np.clip(image, *CLIP, dtype=np.float32)
    return np.repeat(image, 3, axis=2) if channels == 1 else image
