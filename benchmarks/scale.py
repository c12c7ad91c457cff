"""How well the scale is estimated: estimated against true median diameter, by set.

Usage: CELLRIM_DATA=path/to/data python benchmarks/scale.py [MODEL]

All held-back images of recipes/general.toml with at least three cells, and deepcell.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from cellrim.core.labels import areas, median_diameter
from cellrim.datasets import open_dataset
from cellrim.prediction import load_model
from cellrim.training.prepare import find_samples
from cellrim.training.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"
LEAST_CELLS = 3


def main() -> None:
    root = Path(os.environ["CELLRIM_DATA"])
    model = load_model(sys.argv[1] if len(sys.argv) > 1 else "general")
    found, _ = find_samples(load_recipe(RECIPE), root)
    samples = [s for _, part, s in found if part == "validation"]
    samples += open_dataset(root / "plain" / "deepcell").samples
    octaves: dict[str, list[float]] = defaultdict(list)
    for s in samples:
        assert s.read_truth is not None
        labels = s.read_truth().labels
        if len(areas(labels)) < LEAST_CELLS:
            continue
        estimated = model.predict(s.read_image()).diameter
        octaves[f"{s.dataset} {s.modality}"].append(np.log2(estimated / median_diameter(labels)))
    print("| set | images | within 20 % | off by more than half an octave | median ratio |")
    print("|---|---|---|---|---|")
    octaves["all"] = [value for values in octaves.values() for value in values]
    for name, values in octaves.items():
        error = np.abs(values)
        print(
            f"| {name} | {len(values)} | {np.mean(error < np.log2(1.2)):.2f} | "
            f"{np.mean(error > 0.5):.2f} | {2 ** np.median(values):.2f} |"
        )


if __name__ == "__main__":
    main()
