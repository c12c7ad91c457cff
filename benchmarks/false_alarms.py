"""Cells found where there are none: blank, constant and noise images, and real background.

Usage: CELLRIM_DATA=path/to/data python benchmarks/false_alarms.py [MODEL] [--per-set N]

Real background is cut from the held-back images of those sets of recipes/general.toml in which
every cell is annotated: the largest squares without a cell, and a margin of 8 pixels from any.
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
from cellrim.core.labels import Labels
from cellrim.datasets.base import Sample
from cellrim.prediction import Segmenter, load_model
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"
# Sets in which every cell is annotated; mixed and usiigaci leave some out, BBBC041 too.
COMPLETE = ("bbbc009", "bbbc030", "kc167", "dsb2018 fluorescence-nuclei", "dsb2018 histology")
MARGIN = 8
LEAST_EDGE = 64
MOST_PER_IMAGE = 4


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
    found, _ = find_samples(load_recipe(RECIPE), root)
    sets: dict[str, list[Sample]] = defaultdict(list)
    for s in (s for _, part, s in found if part == "validation"):
        for name in COMPLETE:
            if name in (s.dataset, f"{s.dataset} {s.modality}") and len(sets[name]) < per_set:
                sets[name].append(s)
    return dict(sorted(sets.items()))


def sample_crops(sample: Sample) -> Iterator[Image]:
    assert sample.read_truth is not None
    image, truth = sample.read_image(), sample.read_truth()
    occupied = truth.labels > 0 if truth.ignore is None else (truth.labels > 0) | truth.ignore
    for rows, columns in empty_squares(occupied):
        pixels = np.ascontiguousarray(image.pixels[rows, columns])
        yield Image(pixels, image.channels, image.pixel_size)


def empty_squares(occupied: Labels | NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Largest squares without an occupied pixel, a margin apart from any, not overlapping."""
    taken = ndimage.binary_dilation(occupied, np.ones((3, 3), bool), iterations=MARGIN)
    squares = []
    for _ in range(MOST_PER_IMAGE):
        # The chessboard distance d at a pixel: the square of edge 2d - 1 around it is free.
        free = ndimage.distance_transform_cdt(np.pad(~taken, 1), "chessboard")[1:-1, 1:-1]
        y, x = np.unravel_index(int(free.argmax()), free.shape)
        reach = int(free[y, x]) - 1
        if 2 * reach + 1 < LEAST_EDGE:
            break
        square = slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1)
        taken[square] = True
        squares.append(square)
    return squares


def show(name: str, model: Segmenter, images: list[Image]) -> list[tuple[int, int]]:
    """Print one row; return cells and pixels of each image."""
    found = [(model.segment(image).count, image.shape[0] * image.shape[1]) for image in images]
    cells, pixels = np.sum(found, axis=0) if found else (0, 0)
    rate = f"{cells / pixels * 1e6:.2f}" if pixels else ""
    print(f"| {name} | {len(found)} | {pixels / 1e6:.2f} | {cells} | {rate} |", flush=True)
    return found


if __name__ == "__main__":
    main()
