"""Draws the sample image: ``python -m cellrim.samples.make``.

Synthetic stained nuclei: lobed discs with a mottled inside, some of them touching, blurred, on a
slanting ground, with the noise of counted light. Nobody's data, so it can ship with the package.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.labels import Labels
from cellrim.io.atomic import atomic_path

SHAPE = (288, 384)
SEED = 11
_COUNT = 75
_RADIUS = (9.0, 16.0)
_PIXEL_SIZE = 0.65  # micrometres


def draw(*, seed: int = SEED) -> tuple[NDArray[np.uint8], Labels]:
    """Draw the image and its truth.

    Parameters
    ----------
    seed
        Of the random generator.

    Returns
    -------
    pixels
        uint8, axes ``YX``.
    labels
        int32, axes ``YX``.
    """
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    light = np.zeros(SHAPE)
    for k in range(1, _COUNT + 1):
        inside = _lobed_disc(random)
        free = inside & (labels == 0)
        if free.sum() < 0.9 * inside.sum():  # nuclei touch and never pile up
            continue
        labels[free] = k
        light[free] = random.uniform(0.35, 1.0)
    light *= 1 + 0.9 * ndimage.gaussian_filter(random.normal(size=SHAPE), 2.0)
    light = ndimage.gaussian_filter(np.maximum(light, 0), 1.2)
    ground = 0.06 + 0.08 * np.linspace(0, 1, SHAPE[1])
    counts = random.poisson(130 * (light + ground))
    return np.clip(counts + random.normal(4, 1.5, SHAPE), 0, 255).astype(np.uint8), labels


def _lobed_disc(random: np.random.Generator) -> NDArray[np.bool_]:
    centre = random.uniform((0, 0), SHAPE)
    radius = random.uniform(*_RADIUS)
    stretch, turn = random.uniform(1.0, 1.5), random.uniform(0, np.pi)
    lobes = random.normal(0, (0.05, 0.04, 0.015))
    phases = random.uniform(0, 2 * np.pi, 3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    y, x = y - centre[0], x - centre[1]
    along = (np.cos(turn) * y + np.sin(turn) * x) / np.sqrt(stretch)
    across = (np.cos(turn) * x - np.sin(turn) * y) * np.sqrt(stretch)
    angle = np.arctan2(along, across)
    waves = np.cos(np.multiply.outer(angle, (2, 3, 4)) + phases)
    rim: NDArray[np.float64] = radius * (1 + (lobes * waves).sum(axis=-1))
    inside: NDArray[np.bool_] = np.hypot(along, across) <= rim
    return inside


def main() -> None:
    """Write the image beside this module."""
    import tifffile

    pixels, _ = draw()
    with atomic_path(Path(__file__).parent / "nuclei.tif") as partial:
        tifffile.imwrite(
            partial,
            pixels,
            imagej=True,
            compression="zlib",
            resolution=(1 / _PIXEL_SIZE, 1 / _PIXEL_SIZE),
            metadata={"unit": "um", "axes": "YX"},
        )


if __name__ == "__main__":
    main()
