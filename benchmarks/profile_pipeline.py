"""Where the time goes: CPU-seconds per megapixel of each step from image file to results.

Usage: python benchmarks/profile_pipeline.py [IMAGE ...] [--model general] [--rounds 5]

One thread. Without an image, a synthetic 16-bit field of about 1,500 nuclei (2048 x 2048). The
steps are the product's own, in its order; medians of the rounds, after one to warm up.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tifffile
from shared import Cost, Table, cost_of, median_cost
from synthetic import field

from cellrim.core.resize import resize, scaled_shape
from cellrim.io.images import read_image
from cellrim.prediction import Result, Segmenter, load_model
from cellrim.prediction.arrangement import arrange_channels, choose_channels
from cellrim.prediction.segmenter import Prediction
from cellrim.prediction.survey import survey

EDGE = 2048


class Clock:
    """Notes what each step takes."""

    def __init__(self) -> None:
        self.steps: dict[str, Cost] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        kept: list[Any] = []
        self.steps[name] = cost_of(lambda: kept.append(work()))
        return kept[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--model", default="general")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = load_model(options.model, threads=1)
    with tempfile.TemporaryDirectory() as scratch:
        images = options.images
        if not images:
            images = [Path(scratch) / "field.tif"]
            tifffile.imwrite(images[0], field(EDGE)[0])
        for image in images:
            show(image, model, Path(scratch), rounds=options.rounds)


def show(image: Path, model: Segmenter, scratch: Path, *, rounds: int) -> None:
    runs, result = [], None
    for turn in range(rounds + 1):
        clock = Clock()
        result = steps(image, model, scratch, clock)
        if turn:
            runs.append(clock.steps)
    assert result is not None
    megapixels = result.labels.size / 1e6
    costs = {name: median_cost([r[name] for r in runs]) for name in runs[0]}
    total = sum(c.cpu for c in costs.values())
    print(f"\n{image.name}: {megapixels:.2f} MP, {result.count} cells\n")
    table = Table("step", "CPU-s/MP", "s/MP", "share")
    for name, cost in costs.items():
        table.row(name, cost.cpu / megapixels, cost.wall / megapixels, f"{cost.cpu / total:.0%}")
    wall = sum(c.wall for c in costs.values())
    table.row("all", total / megapixels, wall / megapixels, "100%")


def steps(path: Path, model: Segmenter, scratch: Path, clock: Clock) -> Result:
    """Do what ``Segmenter.segment`` and a run do, step by step."""
    image = clock("read", lambda: read_image(path))
    chosen = choose_channels(image.channels, None)
    arranged = clock("channels", lambda: arrange_channels(image, survey(image, chosen)))
    whole = tuple(slice(0, n) for n in image.shape)
    normalised = clock("normalise", lambda: arranged.apply(image).read(*whole))
    scale = clock("scale estimate", lambda: model._scale(normalised, None))
    small = clock("resize", lambda: resize(normalised, scaled_shape(image.shape, scale)))
    maps = clock("network", lambda: model._run(small))
    diameter = model.card.canonical_diameter / scale
    prediction = Prediction(maps, image.shape, diameter)
    labels, sure = clock("decode", lambda: model.decode(prediction))
    result = Result(labels, sure, diameter, image)
    clock("measure", lambda: result.cells)
    clock("write labels", lambda: result.save_labels(scratch / "labels.tif"))
    clock("write cells", lambda: result.save_cells(scratch / "cells.csv"))
    clock("write overlay", lambda: result.save_overlay(scratch / "overlay.png"))
    return result


if __name__ == "__main__":
    main()
