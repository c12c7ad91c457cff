"""What the network says of the scale when it is wrong by so many octaves.

Usage: CELLRIM_DATA=path/to/data python benchmarks/looks.py [MODEL]

Shows each held-back image of recipes/general.toml (at most six of a set) to the network at the
scale of its true median diameter times powers of two, and prints the median of what it says
(octaves) and of the share of the foreground in confident instances.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

import numpy as np
from shared import Table, recipe_samples, truth_of

from cellrim.core.labels import median_diameter
from cellrim.core.normalise import measure_range, normalise
from cellrim.prediction import load_model
from cellrim.prediction.scale import conviction, log2_diameter, view

OFFSETS = (-1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5)
PER_SET = 6


def main() -> None:
    model = load_model(sys.argv[1] if len(sys.argv) > 1 else "general")
    said: dict[float, list[float]] = defaultdict(list)
    explained: dict[float, list[float]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    for s in recipe_samples("validation"):
        seen[s.dataset, s.modality] += 1
        diameter = median_diameter(truth_of(s).labels)
        if seen[s.dataset, s.modality] > PER_SET or diameter == 0:
            continue
        pixels = s.read_image().pixels
        image = normalise(pixels, measure_range(pixels))
        true = np.log2(model.card.canonical_diameter / diameter)
        for offset in OFFSETS:
            # The predictor's own way of running the network, tiles and all.
            maps = model._run(view(image, 2.0 ** (true + offset)))
            octaves = log2_diameter(maps)
            if octaves is not None:
                said[offset].append(octaves)
            explained[offset].append(conviction(maps, model.card.decode))
    table = Table(
        "off by (octaves)", "images", "says (median)", "foreground explained (median)"
    )  # fmt: skip
    for offset in OFFSETS:
        says, share = np.median(said[offset]), np.median(explained[offset])
        table.row(f"{offset:+.2f}", len(explained[offset]), f"{says:+.2f}", f"{share:.2f}")


if __name__ == "__main__":
    main()
