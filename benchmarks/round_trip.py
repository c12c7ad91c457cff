"""How much of the truth survives the representation: encode real label images, decode them again.

Usage: CELLRIM_DATA=path/to/data python benchmarks/round_trip.py

Prints a table of every annotated set under the data root: AP of the decoded labels against the
original ones, and seconds per megapixel of both directions (one thread, median over the images).
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
from shared import Table, data_folder, truth_of

from cellrim.datasets import open_dataset
from cellrim.errors import DatasetError
from cellrim.evaluation import Counts, count_image, scores
from cellrim.representation.encode import encode
from cellrim.representation.flow import decode

CANONICAL = 24.0


def main() -> None:
    root = data_folder()
    counts: dict[str, Counts] = defaultdict(Counts)
    speed: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in sorted([*(root / "seed").iterdir(), *(root / "plain").iterdir()]):
        try:
            listing = open_dataset(path) if path.is_dir() else None
        except DatasetError:
            continue
        for sample in listing.samples if listing else ():
            if sample.read_truth is None:
                continue
            labels = truth_of(sample).labels
            begin = time.perf_counter()
            maps = encode(labels, CANONICAL)
            middle = time.perf_counter()
            again = decode(maps)
            end = time.perf_counter()
            counts[sample.dataset] += count_image(again, labels)
            speed[sample.dataset].append(
                ((middle - begin) / labels.size * 1e6, (end - middle) / labels.size * 1e6)
            )
    table = Table("set", "images", "cells", "AP50", "AP90", "mAP", "encode s/MP", "decode s/MP")
    for name in sorted(counts):
        s = scores(counts[name])
        precision = [f"{v:.4f}" for v in (s.ap50, s.ap90, s.map)]
        both = np.median(np.array(speed[name]), axis=0)
        table.row(name, counts[name].images, counts[name].truth, *precision, *map(float, both))


if __name__ == "__main__":
    main()
