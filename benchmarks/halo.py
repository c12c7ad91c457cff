"""How much context a tile needs: maps of a tile with less of it against those of the whole.

Usage: CELLRIM_DATA=path/to/data python benchmarks/halo.py [MODEL] [--per-set 2]

Validation images at the canonical scale, in float32. The upper left quarter of each goes through
the network with more and less of the rest around it; the table tells by how much its last 32 rows
and columns differ from what the whole image gives: length of the difference of the flow, and share
of the pixels that change between cell and background. "Cost" is what an image of 2048 x 2048 takes
in tiles of the default size, over its own pixels.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of

from cellrim.core.labels import median_diameter
from cellrim.core.resize import resize, scaled_shape
from cellrim.core.tiles import plan_tiles
from cellrim.datasets.base import Sample
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.arrangement import arrange_channels, choose_channels
from cellrim.prediction.segmenter import DEFAULT_TILE
from cellrim.prediction.survey import survey

LEAST, MOST = 576, 960
"""Edges of the pixels looked at: smaller images are continued by reflection."""
SEAM = 32

Values = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--per-set", type=int, default=2)
    options = parser.parse_args()
    segmenter = load_model(options.model, precision="float32")
    stride = segmenter.card.stride
    halos = [k * stride for k in range(6)]
    found: dict[int, list[tuple[float, float, float]]] = {h: [] for h in halos}
    for samples in by_set(recipe_samples("validation")).values():
        for sample in samples[: options.per_set]:
            pixels = canonical_pixels(sample, segmenter)
            whole = segmenter.run_tile(pixels)
            for halo in halos:
                found[halo].append(differences(segmenter, pixels, whole, halo))
    table = Table("halo", "cost", "flow, mean", "flow, most", "changed, mean", "changed, most")
    for halo, rows in found.items():
        mean, most, changed = np.array(rows).T
        numbers = mean.mean(), most.max(), changed.mean(), changed.max()
        table.row(halo, cost(halo, stride), *(f"{n:.5f}" for n in numbers))


def canonical_pixels(sample: Sample, segmenter: Segmenter) -> Values:
    """A sample as the network gets it, ``YXC``."""
    image = sample.read_image()
    height, width = image.shape
    arranged = arrange_channels(image, survey(image, choose_channels(image.channels, None)))
    pixels = arranged.apply(image).read(slice(0, height), slice(0, width))
    scale = segmenter.card.canonical_diameter / median_diameter(truth_of(sample).labels)
    pixels = resize(pixels, scaled_shape(image.shape, scale))
    pad = [(0, max(0, LEAST - n)) for n in pixels.shape[:2]]
    pixels = np.pad(pixels, (*pad, (0, 0)), mode="symmetric")[:MOST, :MOST]
    height, width = (n // segmenter.card.stride * segmenter.card.stride for n in pixels.shape[:2])
    return pixels[:height, :width]


def differences(
    segmenter: Segmenter, pixels: Values, whole: Values, halo: int
) -> tuple[float, float, float]:
    stride = segmenter.card.stride
    height, width = (n // 2 // stride * stride for n in pixels.shape[:2])
    part = segmenter.run_tile(pixels[: height + halo, : width + halo])
    seam = np.zeros((height, width), bool)
    seam[-SEAM:] = seam[:, -SEAM:] = True
    a, b = (maps[:, :height, :width][:, seam] for maps in (part, whole))
    flow = np.hypot(a[1] - b[1], a[2] - b[2])
    return float(flow.mean()), float(flow.max()), float(np.mean((a[0] > 0) != (b[0] > 0)))


def cost(halo: int, stride: int, edge: int = 2048) -> float:
    tiles = plan_tiles((edge, edge), size=DEFAULT_TILE, halo=halo, multiple=stride)
    read = sum((y.stop - y.start) * (x.stop - x.start) for y, x in (t.read for t in tiles))
    return read / edge**2


if __name__ == "__main__":
    main()
