"""How well the scale is estimated: estimated against true median diameter, by set.

Usage: CELLRIM_DATA=path/to/data python benchmarks/scale.py [MODEL]

All held-back images of recipes/general.toml with at least three cells, and deepcell.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
from shared import Table, recipe_samples, truth_of, unseen_samples

from cellrim.core.labels import areas, median_diameter
from cellrim.prediction import load_model

LEAST_CELLS = 3


def main() -> None:
    model = load_model(sys.argv[1] if len(sys.argv) > 1 else "general")
    octaves: dict[str, list[float]] = defaultdict(list)
    for s in recipe_samples("validation") + unseen_samples():
        labels = truth_of(s).labels
        if len(areas(labels)) < LEAST_CELLS:
            continue
        estimated = model.predict(s.read_image()).diameter
        octaves[f"{s.dataset} {s.modality}"].append(np.log2(estimated / median_diameter(labels)))
    table = Table("set", "images", "within 20 %", "off by more than half an octave", "median ratio")
    octaves["all"] = [value for values in octaves.values() for value in values]
    for name, values in octaves.items():
        error = np.abs(values)
        within, off = np.mean(error < np.log2(1.2)), np.mean(error > 0.5)
        ratio = 2 ** np.median(values)
        table.row(name, len(values), f"{within:.2f}", f"{off:.2f}", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
