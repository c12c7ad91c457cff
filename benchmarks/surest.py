"""Do fields without cells tell themselves by the confidence of their surest cell?

Usage: CELLRIM_DATA=path/to/data python benchmarks/surest.py [MODEL] [--again]
           [--precision float32]

Looks at the held-back images of recipes/general.toml and of deepcell in three ways: whole; windows
of three to eight diameters around with one to three cells; and background without any cell. For
several least confidences of the surest cell, prints how many cells each way keeps. With --again
doubtful images are looked at a second time, as --accurate does at the same scale, and that look
says how sure the surest cell is. Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from false_alarms import held_back, sample_crops
from numpy.typing import NDArray
from shared import Table, by_set, data_folder, recipe_samples, truth_of, unseen_samples

from cellrim.core.image import Image, image_from_array
from cellrim.core.labels import Labels, median_diameter, relabel
from cellrim.evaluation import count_image
from cellrim.prediction import Segmenter, load_model

LEAST = (0.0, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.93, 0.94, 0.95)
DIAMETERS = (3, 4, 6, 8)
PER_SET = 20
# From this confidence on, an image is not looked at again.
SURE = 0.98


@dataclass(frozen=True)
class Found:
    """What was found in an image: right and wrong cells, and how sure the surest is."""

    right: int
    wrong: int
    surest: float
    megapixels: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--again", action="store_true", help="look twice at doubtful images")
    parser.add_argument("--precision", default="auto", help="auto, float32 or int8")
    options = parser.parse_args()
    model = load_model(options.model, precision=options.precision)
    judge = None
    if options.again:
        judge = load_model(options.model, precision=options.precision, accurate=True)
    samples = by_set([*recipe_samples("validation"), *unseen_samples()])
    whole, few = [], []
    for members in samples.values():
        rng = np.random.default_rng(0)
        for number, sample in enumerate(members):
            image, truth = sample.read_image(), truth_of(sample).labels
            whole.append(find(model, judge, image, truth))
            if number < PER_SET:
                few += [find(model, judge, *window) for window in windows(image, truth, rng)]
    empty = [
        find(model, judge, crop, np.zeros(crop.shape, np.int32))
        for members in held_back(data_folder(), 1000).values()
        for sample in members
        for crop in sample_crops(sample)
    ]
    megapixels = sum(f.megapixels for f in empty)
    print(
        f"{len(whole)} whole images, {len(few)} windows, {len(empty)} fields, {megapixels:.2f} MP"
    )
    table = Table(
        "surest, at least",
        "images lost",
        "right in windows",
        "wrong",
        "wrong in empty fields",
        "/MP",
    )
    for least in LEAST:
        lost = sum(f.surest < least and f.right > 0 for f in whole)
        some = [f for f in few if f.surest >= least]
        wrong = sum(f.wrong for f in empty if f.surest >= least)
        right = sum(f.right for f in some)
        table.row(least, lost, right, sum(f.wrong for f in some), wrong, wrong / megapixels)


def windows(
    image: Image, truth: Labels, rng: np.random.Generator
) -> Iterator[tuple[Image, Labels]]:
    """Cut out squares with one to three cells, of several sizes."""
    height, width = truth.shape
    for _ in range(6):
        edge = int(min(height, width, median_diameter(truth) * rng.choice(DIAMETERS)))
        y, x = rng.integers(0, height - edge + 1), rng.integers(0, width - edge + 1)
        part = slice(y, y + edge), slice(x, x + edge)
        cells = relabel(np.ascontiguousarray(truth[part]))
        if 1 <= cells.max() <= 3:
            yield image_from_array(np.ascontiguousarray(image.pixels[part]), axes="YXC"), cells


def find(
    model: Segmenter, judge: Segmenter | None, image: Image, truth: NDArray[np.int32]
) -> Found:
    """Segment with the card's options, but whatever the surest cell is.

    Where that is doubtful, the judge, if there is one, says how sure it is.
    """
    least = model.card.decode_options(model.card.least_confidence)
    result = model.segment(image, options=least)
    counts = count_image(result.labels, truth, boundaries=False)
    surest = float(np.max(result.confidence, initial=0))
    if judge is not None and 0 < surest < SURE:
        again = judge.segment(image, options=least, diameter=result.diameter)
        surest = float(np.max(again.confidence, initial=0))
    return Found(counts.tp[0], counts.fp[0], surest, image.shape[0] * image.shape[1] / 1e6)


if __name__ == "__main__":
    main()
