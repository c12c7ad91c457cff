"""How far do images stand out from their noise, and what does it bring not to stretch noise?

Usage: CELLRIM_DATA=path/to/data python benchmarks/contrast.py [MODEL] [--per-set N] [--noise]

Prints, for the annotated images of recipes/general.toml and for real background without a cell
(as benchmarks/false_alarms.py cuts it), the range of the intensities in standard deviations of the
noise. With ``--noise``, AP50 of held-back images to which noise was added, with the range kept
wide enough for the noise (cellrim.core.normalise.LEAST_CONTRAST) and without. Needs the ``train``
extra for the recipe's split.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from channels import ap50, compare, held_back, is_grey
from false_alarms import RECIPE, sample_crops
from false_alarms import held_back as complete_sets
from shared import Table

from cellrim.core import normalise
from cellrim.core.image import Image
from cellrim.core.normalise import LEAST_CONTRAST, measure_range
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.survey import survey
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

# Range of the image in standard deviations of the noise that is added to it.
NOISES = (8, 12, 24)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--per-set", type=int, default=1000, help="at most so many images of a set")
    parser.add_argument("--noise", action="store_true", help="AP50 with noise added instead")
    given = parser.parse_args()
    root = Path(os.environ["CELLRIM_DATA"])
    if given.noise:
        show_noise(load_model(given.model), root, given.per_set)
    else:
        show_contrast(root, given.per_set)


def show_contrast(root: Path, per_set: int) -> None:
    table = Table("images", "channels", "least", "tenth", "median", f"below {LEAST_CONTRAST:.0f}")
    of: dict[str, list[float]] = defaultdict(list)
    for _, _, sample in find_samples(load_recipe(RECIPE), root)[0]:
        of[f"{sample.dataset} {sample.modality}"] += contrasts(sample.read_image())
    for name, samples in complete_sets(root, per_set).items():
        for sample in samples:
            for crop in sample_crops(sample):
                of[f"background of {name}"] += contrasts(crop)
    for name, found in sorted(of.items()):
        low = np.percentile(found, (0, 10, 50))
        below = np.mean(np.array(found) < LEAST_CONTRAST)
        shown = [f"{value:.0f}" if value < 1000 else "more" for value in low]
        table.row(name, len(found), *shown, f"{below:.0%}")


def contrasts(image: Image) -> list[float]:
    """Range over noise of each channel that shows something, grey stored as RGB once."""
    pixels = image.pixels[:, :, :1] if is_grey(image) else image.pixels
    image = Image(pixels, image.channels[: pixels.shape[2]])
    seen = survey(image, range(pixels.shape[2]))
    ranges = measure_range(pixels)
    return [
        (ranges.high[c] - ranges.low[c]) / max(seen.noise[c], 1e-6)
        for c in range(pixels.shape[2])
        if c not in seen.constant
    ]


def show_noise(model: Segmenter, root: Path, per_set: int) -> None:
    sets = held_back(root, per_set)
    table = Table("noise", "stretched", *sets, "mean")
    for noise in (*NOISES, None):
        for least in (LEAST_CONTRAST, 0.0):
            with mock.patch.object(normalise, "LEAST_CONTRAST", least):
                values = [
                    ap50([compare(model, s, noisier(s.read_image(), noise)) for s in samples])
                    for samples in sets.values()
                ]
            table.row(
                f"1/{noise}" if noise else "none",
                "no" if least else "yes",
                *values,
                float(np.mean(values)),
            )


def noisier(image: Image, noise: int | None) -> Image:
    """The image with Gaussian noise of a share of each channel's range, the same in grey as RGB."""
    if noise is None:
        return image
    ranges = measure_range(image.pixels)
    deviation = np.subtract(ranges.high, ranges.low) / noise
    shape = (*image.shape, 1 if is_grey(image) else len(image.channels))
    added = np.random.default_rng(0).normal(size=shape) * deviation
    return replace(image, pixels=(image.pixels + added).astype(np.float32))


if __name__ == "__main__":
    main()
