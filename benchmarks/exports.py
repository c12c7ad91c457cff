"""How long each format takes to write and to read back, and whether the same labels come back.

Usage: python benchmarks/exports.py [CELLS]

Default 25,000 round cells, and as many that touch everywhere, with ragged borders, holes and many
parts: the worst that can come. The goal: at most 10 seconds each.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cellrim.core.image import image_from_array
from cellrim.core.labels import Labels, relabel
from cellrim.io.exports import FORMATS, CellSet
from cellrim.measure import measure_cells
from measure import grid_of_cells, pixels, ragged_cells


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 25_000
    edge = int(np.sqrt(count))
    show("round", grid_of_cells(edge, -(-count // edge), edge=20))
    show("ragged", ragged_cells((20 * edge, 20 * edge), count))


def show(kind: str, labels: Labels) -> None:
    """Print the table of one label image."""
    image = image_from_array(pixels(labels.shape, 1, np.uint16), axes="YXC", pixel_size=0.5)
    table = measure_cells(labels, image)
    cells = CellSet("field", labels, image, measure=lambda: table.columns)
    print(f"\n{len(table)} {kind} cells, {labels.shape[0]} x {labels.shape[1]} pixels\n")
    print("| format | write, CPU-seconds | read, CPU-seconds | MB | same labels |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, known in FORMATS.items():
            path = Path(folder) / f"field{known.ending}"
            begin = time.process_time()
            known.write(path, cells)
            wrote = time.process_time() - begin
            files = path.rglob("*") if path.is_dir() else [path]
            size = sum(p.stat().st_size for p in files if p.is_file()) / 1e6
            read, same = "", ""
            if known.read is not None:
                begin = time.process_time()
                [found] = known.read(path, lambda _name: labels.shape)
                read = f"{time.process_time() - begin:.1f}"
                same = str(np.array_equal(relabel(found.labels), relabel(labels)))
            print(f"| {kind} | {wrote:.1f} | {read} | {size:.1f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
