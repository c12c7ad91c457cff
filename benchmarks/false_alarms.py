"""Cells found where there are none: blank, constant and noise images, and real background.

Usage: CELLRIM_DATA=path/to/data python benchmarks/false_alarms.py [MODEL] [--per-set N]

Real background is cut from the held-back images of those sets of recipes/general.toml in which
every cell is annotated (``complete``): the largest squares without a cell, 8 pixels from any.
Prints the cells found in each and per megapixel. Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.image import Image, image_from_array
from cellrim.datasets.base import Sample
from cellrim.prediction import Segmenter, load_model
from cellrim.training.background import background_crops
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--per-set", type=int, default=1000, help="at most so many images of a set")
    given = parser.parse_args()
    model = load_model(given.model)
    print("| where | images | megapixels | cells | per megapixel |")
    print("|---|---|---|---|---|")
    for name, images in synthetic(np.random.default_rng(0)).items():
        show(name, model, images)
    every = []
    for name, samples in held_back(Path(os.environ["CELLRIM_DATA"]), given.per_set).items():
        crops = [crop for sample in samples for crop in sample_crops(sample)]
        every += show(f"background of {name}", model, crops)
    cells, pixels = np.sum(every, axis=0)
    print(
        f"| background of all | {len(every)} | {pixels / 1e6:.2f} | {cells} | "
        f"{cells / pixels * 1e6:.2f} |"
    )


def synthetic(rng: np.random.Generator, edge: int = 384) -> dict[str, list[Image]]:
    """Images that hold nothing, by what they are."""
    shape = (edge, edge)
    normal = rng.normal(size=shape)
    planes: dict[str, list[NDArray]] = {
        "blank": [np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)],
        "constant": [np.full(shape, 255, np.uint8), np.full(shape, 0.3, np.float32)],
        "normal noise": [
            np.clip(100 + 5 * normal, 0, 255).astype(np.uint8),
            (1000 + 30 * normal).astype(np.uint16),
            normal.astype(np.float32),
        ],
        "uniform noise": [rng.integers(0, 256, shape).astype(np.uint8)],
        "shot noise": [rng.poisson(m, shape).astype(np.uint16) for m in (2, 30, 400)],
        "smooth noise": [
            ndimage.gaussian_filter(normal, sigma).astype(np.float32) for sigma in (0.7, 1.2)
        ],
        "salt and pepper": [np.where(rng.random(shape) < 0.001, 4000, 100).astype(np.uint16)],
    }
    images = {name: [image_from_array(p) for p in of] for name, of in planes.items()}
    colour = rng.normal(200, 6, (*shape, 3)).clip(0, 255).astype(np.uint8)
    return images | {"colour noise": [image_from_array(colour, axes="YXC")]}


def held_back(root: Path, per_set: int) -> dict[str, list[Sample]]:
    recipe = load_recipe(RECIPE)
    found, _ = find_samples(recipe, root)
    sets: dict[str, list[Sample]] = defaultdict(list)
    for source, part, s in found:
        name = " ".join((s.dataset, *recipe.data[source].only))
        if part == "validation" and recipe.data[source].complete and len(sets[name]) < per_set:
            sets[name].append(s)
    return dict(sorted(sets.items()))


def sample_crops(sample: Sample) -> Iterator[Image]:
    assert sample.read_truth is not None
    yield from background_crops(sample.read_image(), sample.read_truth())


def show(name: str, model: Segmenter, images: list[Image]) -> list[tuple[int, int]]:
    """Print one row; return cells and pixels of each image."""
    found = [(model.segment(image).count, image.shape[0] * image.shape[1]) for image in images]
    cells, pixels = np.sum(found, axis=0) if found else (0, 0)
    rate = f"{cells / pixels * 1e6:.2f}" if pixels else ""
    print(f"| {name} | {len(found)} | {pixels / 1e6:.2f} | {cells} | {rate} |", flush=True)
    return found


if __name__ == "__main__":
    main()
