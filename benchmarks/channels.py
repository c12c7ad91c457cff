"""Do the labels depend on the order of the channels, the contrast or how grey is stored?

Usage: CELLRIM_DATA=path/to/data python benchmarks/channels.py [MODEL] [--per-set N] [--only SET]

Segments the held-back images of recipes/general.toml as they are, with their contrast inverted,
grey images as one channel and as RGB, the others under every other order of their channels and
with noise in their empty ones. Prints AP50 of each set (of boxes where the truth is boxes), pooled
over its images, and how far it is from the images as they are. Needs the ``train`` extra for the
recipe's split.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from cellrim.core.image import Image, image_from_array
from cellrim.datasets.base import Sample
from cellrim.evaluation import Counts, count_boxes, count_image
from cellrim.evaluation.intervals import summarise
from cellrim.prediction import Segmenter, load_model
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"
AS_IS = "as it is"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--per-set", type=int, default=1000, help="at most so many images of a set")
    parser.add_argument("--only", metavar="SET", help="only sets whose name begins so")
    given = parser.parse_args()
    model = load_model(given.model)
    print("| set | images | variant | ap50 | difference |")
    print("|---|---|---|---|---|")
    for name, samples in held_back(Path(os.environ["CELLRIM_DATA"]), given.per_set).items():
        if not name.startswith(given.only or ""):
            continue
        counts: dict[str, list[Counts]] = defaultdict(list)
        for sample in samples:
            for variant, image in variants(sample.read_image()).items():
                counts[variant].append(compare(model, sample, image))
        show(name, counts)


def held_back(root: Path, per_set: int) -> dict[str, list[Sample]]:
    """Validation samples by set; where a set has several modalities, by set and modality."""
    found, _ = find_samples(load_recipe(RECIPE), root)
    samples = [s for _, part, s in found if part == "validation"]
    modalities = Counter(d for d, _ in {(s.dataset, s.modality) for s in samples})
    sets: dict[str, list[Sample]] = defaultdict(list)
    for s in samples:
        name = s.dataset if modalities[s.dataset] == 1 else f"{s.dataset} {s.modality}"
        if len(sets[name]) < per_set:
            sets[name].append(s)
    return dict(sorted(sets.items()))


def variants(image: Image) -> dict[str, Image]:
    """Images that show the same cells; equal ones (a grey image with permuted channels) once."""
    result = {AS_IS: image, "inverted": inverted(image)}
    if is_grey(image):
        grey = image.pixels[:, :, 0]
        if len(image.channels) > 1:
            return result | {"as one channel": image_from_array(grey)}
        return result | {"as RGB": image_from_array(np.dstack([grey] * 3), axes="YXC")}
    empty = [c for c in range(len(image.channels)) if np.ptp(image.pixels[:, :, c]) == 0]
    if empty:
        result["noise in the empty"] = noisy(image, empty)
    count = len(image.channels)
    for order in permutations(range(count)):
        if order != tuple(range(count)):
            name = "channels " + "".join(map(str, order))
            result[name] = replace(image, pixels=np.ascontiguousarray(image.pixels[:, :, order]))
    return result


def is_grey(image: Image) -> bool:
    return bool((image.pixels == image.pixels[:, :, :1]).all())


def inverted(image: Image) -> Image:
    """Bright for dark within the range of each channel; a constant channel stays as it is."""
    low, high = image.pixels.min(axis=(0, 1)), image.pixels.max(axis=(0, 1))
    return replace(image, pixels=low + (high - image.pixels))


def noisy(image: Image, channels: list[int]) -> Image:
    """An image whose empty channels were recorded: they hold the noise of a camera."""
    rng = np.random.default_rng(0)
    pixels = image.pixels.copy()
    for c in channels:
        noise = rng.normal(20, 3, image.shape).clip(0, 255)
        pixels[:, :, c] = noise.astype(pixels.dtype)
    return replace(image, pixels=pixels)


def compare(model: Segmenter, sample: Sample, image: Image) -> Counts:
    assert sample.read_truth is not None
    truth = sample.read_truth()
    labels = model.segment(image).labels
    if truth.boxes is not None:
        return count_boxes(labels, truth.boxes, ignore=truth.ignore, ignore_border=True)
    return count_image(labels, truth.labels, ignore=truth.ignore, boundaries=False)


def show(name: str, counts: dict[str, list[Counts]]) -> None:
    base = ap50(counts[AS_IS])
    for variant, of in counts.items():
        value = ap50(of)
        gap = "" if variant == AS_IS else f"{value - base:+.3f}"
        print(f"| {name} | {len(of)} | {variant} | {value:.3f} | {gap} |", flush=True)


def ap50(counts: list[Counts]) -> float:
    return summarise(counts, resamples=1).pooled["ap50"].value


if __name__ == "__main__":
    main()
