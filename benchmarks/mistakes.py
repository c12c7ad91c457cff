"""What goes wrong: cells missed, split, merged and invented, by set.

Usage: CELLRIM_DATA=path/to/data python benchmarks/mistakes.py [MODEL]

For the held-back images of recipes/general.toml and for deepcell, in float32, at an IoU of 0.5:
true cells that are found, missed, split into several or merged with others, and instances where
there is no cell. Where the truth is boxes there are no splits and no merges. Needs the ``train``
extra for the recipe's split.
"""

from __future__ import annotations

import sys

import numpy as np
from shared import Table, by_set, recipe_samples, truth_of, unseen_samples

from cellrim.evaluation.mistakes import FOUND, INVENTED, MERGED, MISSED, SPLIT, judge
from cellrim.prediction import load_model


def main() -> None:
    model = load_model(sys.argv[1] if len(sys.argv) > 1 else "general", precision="float32")
    table = Table("set", "cells", "found", "missed", "split", "merged", "invented")
    kinds = (FOUND, MISSED, SPLIT, MERGED)
    for name, samples in by_set([*recipe_samples("validation"), *unseen_samples()]).items():
        true = np.zeros(len(kinds), int)
        invented = 0
        for sample in samples:
            verdict = judge(model.segment(sample.read_image()).labels, truth_of(sample))
            true += [np.count_nonzero(verdict.truth == kind) for kind in kinds]
            invented += np.count_nonzero(verdict.predicted == INVENTED)
        table.row(name, true.sum(), *true, invented)


if __name__ == "__main__":
    main()
