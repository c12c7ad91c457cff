"""How long measuring takes: many cells, big cells, several channels.

Usage: python benchmarks/measure.py

Prints a table: cells, megapixels, channels, CPU-seconds and peak memory above the arrays that go
in. The goal: 100,000 cells in at most 5 seconds.
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.image import image_from_array
from cellrim.core.labels import Labels
from cellrim.measure import measure_cells


def grid_of_cells(rows: int, columns: int, *, edge: int) -> Labels:
    """Roundish cells, one to each square of this edge."""
    y, x = np.mgrid[:edge, :edge] - (edge - 1) / 2
    cell = (np.hypot(y, x) < 0.47 * edge).astype(np.int32)
    ids = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
    return np.kron(ids, cell)


def ragged_cells(shape: tuple[int, int], count: int) -> Labels:
    """Cells that touch everywhere: the nearest of random centres, with ragged borders."""
    rng = np.random.default_rng(0)
    seeds = np.ones(shape, bool)
    at = rng.choice(shape[0] * shape[1], count, replace=False)
    seeds.ravel()[at] = False
    y, x = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    ids = np.zeros(shape, np.int32)
    ids.ravel()[at] = np.arange(1, count + 1)
    noisy = np.clip(y + rng.integers(-1, 2, shape), 0, shape[0] - 1)
    return ids[noisy, x]


def pixels(shape: tuple[int, int], channels: int, dtype: type) -> NDArray[np.generic]:
    values = np.random.default_rng(1).integers(0, 250, (*shape, channels))
    return values.astype(dtype)


def main() -> None:
    cases = {
        "100,000 round": (grid_of_cells(250, 400, edge=16), 1, np.uint16),
        "100,000 round, three channels": (grid_of_cells(250, 400, edge=16), 3, np.uint16),
        "100,000 ragged, touching": (ragged_cells((5000, 5000), 100_000), 1, np.float32),
        "1,000 large": (grid_of_cells(25, 40, edge=160), 1, np.uint16),
        "one": (np.ones((5000, 5000), np.int32), 1, np.uint16),
    }
    print("| cells | megapixels | channels | CPU-seconds | peak memory, MB |")
    print("|---|---|---|---|---|")
    for name, (labels, channels, dtype) in cases.items():
        image = image_from_array(pixels(labels.shape, channels, dtype), axes="YXC", pixel_size=0.5)
        begin = time.process_time()
        measure_cells(labels, image)
        seconds = time.process_time() - begin
        tracemalloc.start()
        measure_cells(labels, image)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(f"| {name} | {labels.size / 1e6:.0f} | {channels} | {seconds:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
