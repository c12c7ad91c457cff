"""Which cells are missed, by their size beside the others of their image.

Usage: CELLRIM_DATA=path/to/data python benchmarks/missed.py [MODEL] [--set SET]

For the held-back images of one set of recipes/general.toml (dsb2018 fluorescence-nuclei where left
out): cells by diameter over the image's median diameter, how many have no partner at an IoU of
0.5, how many of those were taken for background (less than a third of them lies in any instance),
and how many are cut by the frame. Then the set's scores, with all cells and with those less than
half as wide as the others ignored, found or not. Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
from accuracy import at_frame
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of

from cellrim.core.labels import Labels, median_diameter, relabel
from cellrim.evaluation import Counts, count_image, scores
from cellrim.evaluation.overlap import find_overlap, match
from cellrim.prediction import load_model

SET = "dsb2018 fluorescence-nuclei"
# Of the image's median diameter.
EDGES = (0.0, 0.3, 0.5, 0.7, 0.9, 1.2, np.inf)
SMALL = 0.5
COVERED = 1 / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--set", default=SET)
    options = parser.parse_args()
    samples = by_set(recipe_samples("validation"))
    if options.set not in samples:
        raise SystemExit(f"Expected a set out of {', '.join(samples)}, but got {options.set!r}.")
    model = load_model(options.model)
    rows, invented, counts, without_small = [], 0, Counts(), Counts()
    for sample in samples[options.set]:
        found = model.segment(sample.read_image()).labels
        truth = relabel(truth_of(sample).labels)
        cells, extra = judge(found, truth)
        rows.append(cells)
        invented += extra
        small = np.concatenate([[False], cells[0] < SMALL])[truth]
        counts += count_image(found, truth, boundaries=False)
        without_small += count_image(
            found, np.where(small, 0, truth), ignore=small, boundaries=False
        )
    show(np.concatenate(rows, axis=1))
    print(f"\nInstances without a partner: {invented}\n")
    table = Table("cells", "AP50", "mAP")
    for name, total in (("all", counts), ("small ones ignored", without_small)):
        table.row(name, scores(total).ap50, scores(total).map)


def judge(found: Labels, truth: Labels) -> tuple[NDArray[np.float64], int]:
    """Of each true cell: relative diameter, missed, background, at the frame; and inventions."""
    overlap = find_overlap(found, truth)
    pairs = match(overlap)
    areas = overlap.truth_areas
    missed = np.ones(len(areas), bool)
    missed[overlap.truth[pairs]] = False
    covered = np.bincount(overlap.truth, weights=overlap.shared, minlength=len(areas))
    frame = at_frame(truth)
    relative = np.sqrt(areas * 4 / np.pi) / median_diameter(truth)
    background = missed & (covered < COVERED * areas)
    cells = np.stack([relative, missed, background, missed & frame[1:]])
    return cells, len(overlap.predicted_areas) - len(pairs)


def show(cells: NDArray[np.float64]) -> None:
    table = Table("diameter / median", "cells", "missed", "of these background", "cut by the frame")
    relative, flags = cells[0], cells[1:].astype(bool)
    for low, high in pairwise(EDGES):
        inside = (relative >= low) & (relative < high)
        name = f"{low:.1f} to {high:.1f}" if np.isfinite(high) else f"from {low:.1f}"
        table.row(name, int(inside.sum()), *(int(f[inside].sum()) for f in flags))
    table.row("all", len(relative), *(int(f.sum()) for f in flags))


if __name__ == "__main__":
    main()
