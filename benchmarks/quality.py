"""How well the quality flags tell good images from bad ones: hit and false-alarm rates.

Usage: CELLRIM_DATA=path/to/data python benchmarks/quality.py [--cache NUMBERS.json] [--each N]

The middle (448 pixels) of held-back images of recipes/general.toml and deepcell, as they are and
degraded on purpose: blurred (and their noise put back, since a camera adds noise after the lens),
clipped, vignetted, brought down to few pixels per cell. Each is segmented; the flags see what a
user's run would see. For "unlike the training data" an image counts as bad where AP at IoU 0.5 is
below 0.4, and as good from 0.7 on, whatever was done to it. --cache keeps the numbers, so that
thresholds can be looked at again without segmenting.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.measure import blur_effect

from cellrim.core.image import Image
from cellrim.core.labels import median_diameter
from cellrim.core.resize import resize
from cellrim.datasets import open_dataset
from cellrim.evaluation import count_image, scores
from cellrim.measure.quality import CHECKS, measure_quality
from cellrim.prediction import load_model
from cellrim.prediction.certainty import certainty_of
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"
BLURS = (0.1, 0.2)  # sigma, in cell diameters
CLIPPED = 0.25  # share of the pixels in cells
CORNER = 0.6  # light lost in the corners
DIAMETERS = (8, 6)
BAD, GOOD = 0.4, 0.7
EDGE = 448


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--each", type=int, default=4, help="images of each set")
    args = parser.parse_args()
    rows = [json.loads(t) for t in _lines(args.cache)] or list(measure(args.each, args.cache))
    show_flags(rows)
    show_sizes(rows)
    show_certainty(rows)


def _lines(cache):
    return cache.read_text().splitlines() if cache and cache.exists() else []


def measure(each, cache):
    model = load_model("general", threads=1)
    for sample in samples(each):
        image, truth = sample.read_image(), sample.read_truth()
        if truth.boxes is not None or not truth.labels.any():
            continue
        image, labels_here = middle(image, truth.labels)
        if not labels_here.any():
            continue
        for name, changed, labels in variants(image, labels_here):
            prediction = model.predict(changed)
            found, _ = model.decode(prediction)
            quality = measure_quality(changed, found, certainty=certainty_of(prediction.maps))
            row = {
                "set": f"{sample.dataset} {sample.modality}",
                "image": sample.name,
                "variant": name,
                "ap50": scores(count_image(found, labels, boundaries=False)).ap50,
                "true_diameter": median_diameter(labels),
                "blur_effect": float(blur_effect(changed.pixels.mean(axis=2))),
                **quality.as_numbers(),
            }
            if cache:
                with cache.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            yield row


def samples(each):
    root = Path(os.environ["CELLRIM_DATA"])
    found, _ = find_samples(load_recipe(RECIPE), root)
    held_back = [s for _, part, s in found if part == "validation"]
    held_back += open_dataset(root / "plain" / "deepcell").samples
    sets = defaultdict(list)
    for sample in held_back:
        sets[sample.dataset, sample.modality].append(sample)
    # By turns, so that an early stop leaves some of each set.
    turns = zip_longest(*(some[:each] for some in sets.values()))
    yield from (sample for turn in turns for sample in turn if sample is not None)


def middle(image, labels):
    """The middle of a large image: the flags need no more, and it is segmented sooner."""
    part = tuple(slice((n - EDGE) // 2, (n + EDGE) // 2) if n > EDGE else slice(0, n)
                 for n in labels.shape)  # fmt: skip
    return replace(image, pixels=image.pixels[part]), labels[part]


def variants(image, labels):
    diameter = median_diameter(labels)
    yield "as it is", image, labels
    for part in BLURS:
        yield f"blur {part}", blurred(image, part * diameter), labels
    clip = clipped(image, labels)
    if clip is not None:
        yield "clipped", clip, labels
    yield "vignetted", vignetted(image), labels
    for wanted in DIAMETERS:
        if wanted < diameter:
            yield f"{wanted} px", *shrunk(image, labels, wanted / diameter)


def blurred(image, sigma):
    pixels = image.pixels.astype(np.float32)
    smooth = ndimage.gaussian_filter(pixels, (sigma, sigma, 0))
    # Sigma of the noise from the Laplacian (Immerkaer 1996), without what structure adds: the
    # median instead of the mean.
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)[:, :, np.newaxis]
    rough = np.abs(ndimage.convolve(pixels, kernel))
    noise = np.median(rough, axis=(0, 1)) / 0.6745 / 6
    rng = np.random.default_rng(0)
    return _as(image, smooth + rng.normal(size=pixels.shape) * noise)


def clipped(image, labels):
    """Overexpose; None where the cells are not the bright part."""
    pixels = image.pixels.astype(np.float32)
    inside = pixels[labels > 0]
    if inside.mean() <= 1.2 * pixels[labels == 0].mean():
        return None
    top = np.percentile(inside, 100 * (1 - CLIPPED), axis=0)
    most = float(np.iinfo(image.pixels.dtype).max) if image.pixels.dtype.kind == "u" else 1.0
    return _as(image, pixels * (most / np.maximum(top, 1)))


def vignetted(image):
    y, x = (np.linspace(-1, 1, n) for n in image.shape)
    light = 1 - CORNER * (y[:, np.newaxis] ** 2 + x**2) / 2
    return _as(image, image.pixels * light[:, :, np.newaxis])


def shrunk(image, labels, scale):
    shape = tuple(max(1, round(n * scale)) for n in labels.shape)
    small = resize(image.pixels.astype(np.float32), shape)
    y = ((np.arange(shape[0]) + 0.5) / scale).astype(int).clip(0, labels.shape[0] - 1)
    x = ((np.arange(shape[1]) + 0.5) / scale).astype(int).clip(0, labels.shape[1] - 1)
    return _as(image, small), labels[np.ix_(y, x)]


def _as(image: Image, pixels) -> Image:
    dtype = image.pixels.dtype
    if dtype.kind == "u":
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(dtype).max)
    return replace(image, pixels=pixels.astype(dtype))


def raised(check, row):
    value = row[check.number]
    if value is None:
        return False
    return value > check.threshold if check.above else value < check.threshold


def show_flags(rows):
    """Share of the images of each variant on which each flag is raised."""
    names = list(dict.fromkeys(r["variant"] for r in rows))
    print("| variant | images | AP50 | " + " | ".join(c.flag for c in CHECKS) + " |")
    print("|" + "---|" * (len(CHECKS) + 3))
    for name in names:
        those = [r for r in rows if r["variant"] == name]
        rates = " | ".join(f"{np.mean([raised(c, r) for r in those]):.2f}" for c in CHECKS)
        print(f"| {name} | {len(those)} | {np.mean([r['ap50'] for r in those]):.2f} | {rates} |")
    print()
    groups = list(dict.fromkeys(r["set"] for r in rows))
    print("As they are, by set:")
    for name in groups:
        those = [r for r in rows if r["set"] == name and r["variant"] == "as it is"]
        rates = ", ".join(f"{c.flag} {sum(raised(c, r) for r in those)}" for c in CHECKS)
        print(f"  {name} ({len(those)}): {rates}")


def show_sizes(rows):
    print("\nAP50 by true diameter, images brought down (and as they are):")
    for name in ("as it is", *(f"{d} px" for d in DIAMETERS)):
        values = [r["ap50"] for r in rows if r["variant"] == name]
        print(f"  {name}: median {np.median(values):.2f}")


def show_certainty(rows):
    check = next(c for c in CHECKS if c.number == "certainty")
    bad = [r for r in rows if r["ap50"] < BAD and r["certainty"] is not None]
    good = [r for r in rows if r["ap50"] >= GOOD and r["certainty"] is not None]
    print(
        f"\nUnlike the training data: {len(bad)} images below AP50 {BAD}, {len(good)} from {GOOD}"
    )
    for threshold in sorted({*np.arange(0.35, 0.75, 0.05).round(2), check.threshold}):
        hit = np.mean([r["certainty"] < threshold for r in bad])
        false = np.mean([r["certainty"] < threshold for r in good])
        print(f"  {threshold:.2f}: hits {hit:.2f}, false alarms {false:.2f}")


if __name__ == "__main__":
    main()
