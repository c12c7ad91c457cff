"""How much context tiles need: the cells of tiled images against those of whole ones.

Usage: CELLRIM_DATA=path/to/data python benchmarks/halo.py [MODEL] [--per-set 1]

Validation images, large enough at the network's scale to be cut into tiles of 480 pixels, with
halos from 64 pixels up, in float32 and in 8-bit integers. The table counts cells without a partner
of an IoU of 0.99, of the whole and of the tiled image, and gives the smallest IoU of best partners.
"Cost" is what an image of 8192 x 8192 takes in tiles of the default size, over its own pixels.
"""

from __future__ import annotations

import argparse

import msgspec
import numpy as np
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of

from cellrim.core.labels import Labels, median_diameter
from cellrim.core.tiles import plan_tiles
from cellrim.datasets.base import Sample
from cellrim.evaluation.overlap import find_overlap
from cellrim.prediction import Segmenter, load_model

TILE = 480
LEAST = 700
"""Pixels at the network's scale that the shorter edge of an image has at least."""
SAME = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--per-set", type=int, default=1)
    options = parser.parse_args()
    for precision in ("float32", "int8"):
        segmenter = load_model(options.model, precision=precision)
        stride, most = segmenter.card.stride, segmenter.card.halo
        halos = range(2 * stride, most + stride, stride)
        print(f"\n{precision}\n")
        table = Table("set", "cells", *(f"halo {h}" for h in halos))
        table.row("cost", "", *(cost(h, stride, segmenter.tile_size) for h in halos))
        for name, samples in by_set(recipe_samples("validation")).items():
            for sample in samples[: options.per_set]:
                whole, tiled = segmented(sample, segmenter, list(halos))
                found = [partners(labels, whole) for labels in tiled]
                cells = [f"{int(np.sum(p < SAME))} ({p.min(initial=1.0):.3f})" for p in found]
                table.row(name, int(whole.max()), *cells)


def segmented(
    sample: Sample, segmenter: Segmenter, halos: list[int]
) -> tuple[Labels, list[Labels]]:
    image = sample.read_image()
    diameter = min(
        median_diameter(truth_of(sample).labels),
        segmenter.card.network_diameter * min(image.shape) / LEAST,
    )
    backend, card = segmenter.backend, segmenter.card
    whole = Segmenter(backend, card, tile_size=8 * TILE).segment(image, diameter=diameter)
    tiled = []
    for halo in halos:
        less = msgspec.structs.replace(card, halo=halo)
        tiles = Segmenter(backend, less, tile_size=TILE)
        tiled.append(tiles.segment(image, diameter=diameter).labels)
    return whole.labels, tiled


def partners(a: Labels, b: Labels) -> NDArray[np.float64]:
    """IoU of each cell of both with its best partner in the other."""
    overlap = find_overlap(a, b)
    best = np.zeros(len(overlap.predicted_areas)), np.zeros(len(overlap.truth_areas))
    np.maximum.at(best[0], overlap.predicted, overlap.iou)
    np.maximum.at(best[1], overlap.truth, overlap.iou)
    return np.concatenate(best)


def cost(halo: int, stride: int, tile: int, edge: int = 8192) -> float:
    """Pixels that the network sees for each of a large image."""
    tiles = plan_tiles((edge, edge), size=tile, halo=halo, multiple=stride)
    read = sum((y.stop - y.start) * (x.stop - x.start) for y, x in (t.read for t in tiles))
    return read / edge**2


if __name__ == "__main__":
    main()
