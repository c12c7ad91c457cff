"""What does int8 cost in accuracy, beyond what any change of the arithmetic does?

Usage: CELLRIM_DATA=path/to/data python benchmarks/orientations.py [MODEL] [--only SET]

A network that was trained on turned patches has no preferred side, but another rounding in each
orientation: an image that is turned by a quarter is as good an image, and moves mAP by chance. Each
held-back image of recipes/general.toml is segmented in its eight orientations, in float32 and in
int8. Prints for each set mAP in float32, as it is and as the mean of the orientations, how far
single orientations lie apart (standard deviation), and what int8 loses: as it is, and as the mean
over the orientations with its standard error. Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of

from cellrim.datasets.base import Sample
from cellrim.evaluation import Counts, scores
from cellrim.models.precision import FLOAT32, INT8
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.accurate import ORIENTATIONS
from cellrim.training.validate import score_image


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--only", metavar="SET", default="", help="sets whose name begins so")
    given = parser.parse_args()
    exact, rounded = (load_model(given.model, precision=p) for p in (FLOAT32, INT8))
    table = Table(
        "set", "images", "float32", "mean", "apart", "int8 - float32", "mean", "standard error"
    )
    for name, samples in by_set(recipe_samples("validation")).items():
        if not name.startswith(given.only):
            continue
        before, after = maps_of(exact, samples), maps_of(rounded, samples)
        lost = after - before
        error = lost.std(ddof=1) / np.sqrt(len(lost))
        plain = (before[0], before.mean(), before.std(ddof=1))
        table.row(name, len(samples), *map(float, (*plain, lost[0], lost.mean(), error)))


def maps_of(model: Segmenter, samples: list[Sample]) -> NDArray[np.float64]:
    """Return the mAP of a set in each of the orientations."""
    totals = [Counts() for _ in ORIENTATIONS]
    for sample in samples:
        image, truth = sample.read_image(), truth_of(sample)
        for number, orientation in enumerate(ORIENTATIONS):
            turned = replace(image, pixels=orientation.turn(image.pixels))
            found = model.segment(turned).labels[np.newaxis]
            labels = np.ascontiguousarray(orientation.place_back(found)[0])
            masks, boxes = score_image(labels, truth)
            totals[number] += boxes or masks
    return np.array([scores(total).map for total in totals])


if __name__ == "__main__":
    main()
