"""Accuracy of a model on the validation images of the default recipe, with 95 % intervals.

Usage: CELLRIM_DATA=path/to/data python benchmarks/accuracy.py [MODEL] [--diameter]
           [--inside] [--precision float32] [--train N]

Prints two tables: the sets of recipes/general.toml (held-back images only), and deepcell, on which
nothing was ever trained. With --diameter the true median diameter is given instead of estimated.
With --inside cells that touch the frame are left out, found and true: annotators outline some of
them and leave out others. With --train the images are N of each set that the model was trained on:
what it has not learnt there it is too small, or was trained too little, to learn. Needs the
``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of, unseen_samples

from cellrim.core.labels import Labels, median_diameter, relabel
from cellrim.datasets.base import Sample, Truth
from cellrim.evaluation import Counts, count_boxes, count_image
from cellrim.evaluation.intervals import Interval, summarise
from cellrim.evaluation.overlap import find_overlap, match
from cellrim.prediction import Segmenter, load_model

INSTANCES = ("ap50", "ap75", "ap90", "map", "f1")
PIXELS = ("dice", "iou")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--diameter", action="store_true", help="give the true median diameter")
    parser.add_argument("--inside", action="store_true", help="leave out what touches the frame")
    parser.add_argument("--precision", default="auto", help="auto, float32 or int8")
    parser.add_argument("--train", type=int, metavar="N", help="N training images of each set")
    options = parser.parse_args()
    model = load_model(options.model, precision=options.precision)
    if options.train:
        looked_at = [learnt_samples(options.train)]
    else:
        looked_at = [recipe_samples("validation"), unseen_samples()]
    for samples in looked_at:
        report(model, samples, told=options.diameter, inside=options.inside)


def learnt_samples(per_set: int) -> list[Sample]:
    """Draw some of each set's training images, the same ones each time."""
    drawn = np.random.default_rng(0)
    return [
        members[i]
        for members in by_set(recipe_samples("train")).values()
        for i in sorted(drawn.permutation(len(members))[:per_set])
    ]


def report(model: Segmenter, samples: list[Sample], *, told: bool, inside: bool) -> None:
    masks: dict[str, list[Counts]] = defaultdict(list)
    boxes: dict[str, list[Counts]] = defaultdict(list)
    groups = by_set(samples)
    for name, members in groups.items():
        for s in members:
            truth = truth_of(s)
            diameter = median_diameter(truth.labels) if told else None
            labels = model.segment(s.read_image(), diameter=diameter).labels
            if inside and truth.boxes is None:  # they are ignored among boxes anyway
                labels, truth = without_cut_cells(labels, truth)
            masks[name].append(
                count_image(labels, truth.labels, ignore=truth.ignore, boundaries=False)
            )
            if truth.boxes is not None:
                compared = count_boxes(labels, truth.boxes, ignore=truth.ignore, ignore_border=True)
                boxes[name].append(compared)
    table = Table("set", "images", "cells", *INSTANCES, *PIXELS)
    for name in groups:
        table.row(*row(name, masks[name], boxes.get(name)))
    print()


def without_cut_cells(found: Labels, truth: Truth) -> tuple[Labels, Truth]:
    """Leave out the cells that touch the frame: true ones, and found ones without another partner.

    What lies in a true cell that is left out is ignored.
    """
    found, true = relabel(found), relabel(truth.labels)
    cut = at_frame(true)
    hidden = cut[true] if truth.ignore is None else cut[true] | truth.ignore
    kept = np.where(cut[true], 0, true)
    overlap = find_overlap(found, kept)
    dropped = at_frame(found)
    dropped[overlap.predicted[match(overlap)] + 1] = False
    return np.where(dropped[found], 0, found), replace(truth, labels=kept, ignore=hidden)


def at_frame(labels: Labels) -> NDArray[np.bool_]:
    """Of each id of a label image without gaps, 0 included: whether it touches the frame."""
    touches = np.zeros(int(labels.max(initial=0)) + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touches[edge] = True
    touches[0] = False
    return touches


def row(name: str, masks: list[Counts], boxes: list[Counts] | None) -> list[object]:
    pixels, instances = summarise(masks).pooled, summarise(boxes or masks).pooled
    cells = sum(c.truth for c in boxes or masks)
    values = [show(instances[n]) for n in INSTANCES] + [show(pixels[n]) for n in PIXELS]
    return [f"{name} (boxes)" if boxes else name, len(masks), cells, *values]


def show(interval: Interval) -> str:
    if interval.low == interval.low:
        return f"{interval.value:.3f} ({interval.low:.2f}–{interval.high:.2f})"
    return f"{interval.value:.3f}"


if __name__ == "__main__":
    main()
