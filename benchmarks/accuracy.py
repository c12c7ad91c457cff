"""Accuracy of a model on the validation images of the default recipe, with 95 % intervals.

Usage: CELLRIM_DATA=path/to/data python benchmarks/accuracy.py [MODEL] [--diameter]

Prints two tables: the sets of recipes/general.toml (held-back images only), and deepcell, on which
nothing was ever trained. With --diameter the true median diameter is given instead of estimated.
Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

from cellrim.core.labels import median_diameter
from cellrim.datasets import open_dataset
from cellrim.datasets.base import Sample
from cellrim.evaluation import Counts, count_boxes, count_image
from cellrim.evaluation.intervals import Interval, summarise
from cellrim.prediction import Segmenter, load_model
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"
INSTANCES = ("ap50", "ap75", "ap90", "map", "f1")
PIXELS = ("dice", "iou")


def main() -> None:
    arguments = [a for a in sys.argv[1:] if not a.startswith("-")]
    told = "--diameter" in sys.argv
    root = Path(os.environ["CELLRIM_DATA"])
    model = load_model(arguments[0] if arguments else "general")
    found, _ = find_samples(load_recipe(RECIPE), root)
    report(model, [s for _, part, s in found if part == "validation"], told=told)
    report(model, list(open_dataset(root / "plain" / "deepcell").samples), told=told)


def report(model: Segmenter, samples: list[Sample], *, told: bool) -> None:
    modalities: dict[str, set[str]] = defaultdict(set)
    for s in samples:
        modalities[s.dataset].add(s.modality)
    masks: dict[str, list[Counts]] = defaultdict(list)
    boxes: dict[str, list[Counts]] = defaultdict(list)
    for s in samples:
        name = s.dataset if len(modalities[s.dataset]) == 1 else f"{s.dataset} {s.modality}"
        assert s.read_truth is not None
        truth = s.read_truth()
        diameter = median_diameter(truth.labels) if told else None
        labels = model.segment(s.read_image(), diameter=diameter).labels
        masks[name].append(count_image(labels, truth.labels, ignore=truth.ignore, boundaries=False))
        if truth.boxes is not None:
            compared = count_boxes(labels, truth.boxes, ignore=truth.ignore, ignore_border=True)
            boxes[name].append(compared)
    print(f"| set | images | cells | {' | '.join(INSTANCES + PIXELS)} |")
    print("|---|---|---|" + "---|" * len(INSTANCES + PIXELS))
    for name in sorted(masks):
        row(name, masks[name], boxes.get(name))
    print()


def row(name: str, masks: list[Counts], boxes: list[Counts] | None) -> None:
    pixels, instances = summarise(masks).pooled, summarise(boxes or masks).pooled
    cells = sum(c.truth for c in boxes or masks)
    values = [show(instances[n]) for n in INSTANCES] + [show(pixels[n]) for n in PIXELS]
    title = f"{name} (boxes)" if boxes else name
    print(f"| {title} | {len(masks)} | {cells} | {' | '.join(values)} |", flush=True)


def show(interval: Interval) -> str:
    if interval.low == interval.low:
        return f"{interval.value:.3f} ({interval.low:.2f}–{interval.high:.2f})"
    return f"{interval.value:.3f}"


if __name__ == "__main__":
    main()
