"""At which size the network finds cells best: accuracy by the diameter images are brought to.

Usage: CELLRIM_DATA=path/to/data python benchmarks/sizes.py [MODEL] [--diameter]

AP50 / mAP (boxes where the truth is boxes) of every validation set and of deepcell, with cells
brought to each of :data:`DIAMETERS` pixels. With --diameter the true median diameter is given
instead of estimated. The cost of the network grows with the square. Needs the ``train`` extra for
the recipe's split.
"""

from __future__ import annotations

import sys

import msgspec
import numpy as np
from shared import Table, by_set, recipe_samples, score_set, unseen_samples

from cellrim.prediction import Segmenter, load_model

DIAMETERS = (18.0, 21.0, 24.0, 27.0, 30.0)


def main() -> None:
    arguments = [a for a in sys.argv[1:] if not a.startswith("-")]
    told = "--diameter" in sys.argv
    base = load_model(arguments[0] if arguments else "general")
    segmenters = [at(base, diameter) for diameter in DIAMETERS]
    table = Table("set", "images", *(f"{d:g} px" for d in DIAMETERS))
    means = []
    for name, samples in by_set([*recipe_samples("validation"), *unseen_samples()]).items():
        sets = [score_set(segmenter, samples, told=told) for segmenter in segmenters]
        reached = [(s.ap50, s.map) for s in sets]
        means.append(reached)
        table.row(name, len(samples), *map(show, reached))
    table.row("mean", "", *map(show, np.mean(means, axis=0)))


def at(base: Segmenter, diameter: float) -> Segmenter:
    """The same model, looking at cells of this diameter."""
    card = msgspec.structs.replace(base.card, working_diameter=diameter)
    return Segmenter(base.backend, card, tile_size=base.tile_size)


def show(values: tuple[float, float]) -> str:
    return f"{values[0]:.3f} / {values[1]:.3f}"


if __name__ == "__main__":
    main()
