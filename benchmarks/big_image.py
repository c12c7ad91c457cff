"""Memory, time and exactness of a streamed image: python benchmarks/big_image.py --edge 8192.

The image is a grid of cones, one per 32 x 32 pixels, whose height a stand-in for the network turns
into maps: what is measured is all but the network (whose memory is that of one tile, 0.6 GB; add
``--model general`` to run the real one, whose cells are then whatever it sees in cones). Prints
one JSON line: cells drawn and found, peak memory, CPU-seconds per megapixel of each step, sizes.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from cellrim.core.memory import keep_freed_memory
from cellrim.io.exports import FORMATS
from cellrim.models.card import ModelCard
from cellrim.prediction.large import STREAMED, Model, segment_large
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.workers import open_workers
from cellrim.representation.flow import DecodeOptions

SPACING, RADIUS, TILE = 32, 13, 512


class Cones:
    """Foreground is what is bright, flow goes uphill."""

    device = "cpu"
    precision = "float32"

    def predict(self, batch):
        """Return maps of a batch."""
        height = batch[:, 0]
        up_y, up_x = np.gradient(height, axis=(1, 2))
        length = np.hypot(up_y, up_x) + 1e-6
        return np.stack(
            [30 * (height - 0.05), up_y / length, up_x / length, np.zeros_like(height)], axis=1
        ).astype(np.float32)


@dataclass(frozen=True)
class LoadCones:
    """Stands in for the model, in any process."""

    tile_size: int | None

    def __call__(self) -> Segmenter:
        """Make it."""
        card = ModelCard(
            name="cones",
            version="1",
            created="2026-01-01",
            canonical_diameter=24.0,
            halo=160,
            decode=DecodeOptions(sink_radius=3, min_area=24, min_confidence=0.45),
            sha256="0" * 64,
        )
        return Segmenter(Cones(), card, tile_size=self.tile_size)


def draw(path: Path, edge: int) -> int:
    """Write the image tile by tile and return the number of cells in it."""
    y, x = np.mgrid[:TILE, :TILE] % SPACING - SPACING / 2 + 0.5
    cone = np.maximum(RADIUS - np.hypot(y, x), 0) / RADIUS
    tile = (200 + 40_000 * cone).astype(np.uint16)
    per_edge = -(-edge // TILE)
    tifffile.imwrite(
        path,
        (tile for _ in range(per_edge**2)),
        shape=(edge, edge),
        dtype=np.uint16,
        tile=(TILE, TILE),
        compression="zlib",
        bigtiff=True,
    )
    return (edge // SPACING) ** 2


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def cpu_seconds() -> float:
    """User and system time of this process and the children that ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def main() -> None:
    """Draw, segment, check and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=8192)
    parser.add_argument("--out", choices=("out.ome.zarr", "out.ome.tif"), default="out.ome.zarr")
    parser.add_argument("--folder", type=Path, default=Path("big-image"))
    parser.add_argument("--tile", type=int, help="edge in pixels")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--diameter", type=float, default=24.0)
    parser.add_argument("--save", nargs="*", default=[], choices=STREAMED, help="other results")
    parser.add_argument("--model", help="a real model instead of the stand-in")
    asked = parser.parse_args()
    keep_freed_memory()  # as the command does
    shutil.rmtree(asked.folder, ignore_errors=True)
    asked.folder.mkdir(parents=True)
    source, out = asked.folder / "image.tif", asked.folder / asked.out
    cells = draw(source, asked.edge)
    cpu, begun, steps = {}, [cpu_seconds()], []

    def seen(progress) -> None:
        if not steps or steps[-1] != progress.step:
            steps.append(progress.step)
            begun.append(cpu_seconds())
        cpu[progress.step] = cpu_seconds() - begun[-1]

    clock = time.perf_counter()
    load = LoadCones(asked.tile) if asked.model is None else Model(asked.model, None, asked.tile)
    with open_workers(asked.workers, None) as team:
        result = segment_large(
            source,
            asked.folder / "work",
            load=load,
            diameter=asked.diameter,
            workers=team,
            report=seen,
        )
    before = cpu_seconds()
    result.save_labels(out)
    cpu["Writing"] = cpu_seconds() - before
    for kind in asked.save:
        before, path = cpu_seconds(), asked.folder / f"out{FORMATS[kind].ending}"
        result.save(kind, path)
        cpu[f"Saving {kind}"] = cpu_seconds() - before
    before = cpu_seconds()
    quality = result.quality
    cpu["Quality"] = cpu_seconds() - before
    megapixels = asked.edge**2 / 1e6
    print(
        json.dumps(
            {
                "edge": asked.edge,
                "cells_drawn": cells,
                "cells_found": result.count,
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "peak_mb_workers": round(
                    resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
                ),
                "quality": quality.as_numbers(),
                "seconds": round(time.perf_counter() - clock, 1),
                "cpu_s_per_mpx": {k: round(v / megapixels, 4) for k, v in cpu.items()},
                "bytes_per_px": {
                    "image": round(size_of(source) / asked.edge**2, 3),
                    "unfinished": round(size_of(asked.folder / "work") / asked.edge**2, 3),
                    "labels": round(size_of(out) / asked.edge**2, 3),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
