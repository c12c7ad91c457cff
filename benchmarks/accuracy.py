"""Accuracy of a model on the validation images of the default recipe, with 95 % intervals.

Usage: CELLRIM_DATA=path/to/data python benchmarks/accuracy.py [MODEL] [--diameter]
           [--precision float32]

Prints two tables: the sets of recipes/general.toml (held-back images only), and deepcell, on which
nothing was ever trained. With --diameter the true median diameter is given instead of estimated.
Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

from shared import Table, by_set, recipe_samples, truth_of, unseen_samples

from cellrim.core.labels import median_diameter
from cellrim.datasets.base import Sample
from cellrim.evaluation import Counts, count_boxes, count_image
from cellrim.evaluation.intervals import Interval, summarise
from cellrim.prediction import Segmenter, load_model

INSTANCES = ("ap50", "ap75", "ap90", "map", "f1")
PIXELS = ("dice", "iou")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--diameter", action="store_true", help="give the true median diameter")
    parser.add_argument("--precision", default="auto", help="auto, float32 or int8")
    options = parser.parse_args()
    model = load_model(options.model, precision=options.precision)
    report(model, recipe_samples("validation"), told=options.diameter)
    report(model, unseen_samples(), told=options.diameter)


def report(model: Segmenter, samples: list[Sample], *, told: bool) -> None:
    masks: dict[str, list[Counts]] = defaultdict(list)
    boxes: dict[str, list[Counts]] = defaultdict(list)
    groups = by_set(samples)
    for name, members in groups.items():
        for s in members:
            truth = truth_of(s)
            diameter = median_diameter(truth.labels) if told else None
            labels = model.segment(s.read_image(), diameter=diameter).labels
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
