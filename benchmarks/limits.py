"""Which of the maps limits a set: scores with the truth in the place of one of them.

Usage: CELLRIM_DATA=path/to/data python benchmarks/limits.py [MODEL]

For the held-back images of recipes/general.toml and for deepcell, in float32, the scale estimated:
AP50 / mAP of the network's maps, with the true foreground, with the true flow, and with both, which
is what the representation and the scale can reach. Sets annotated with boxes have no true maps.
Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from shared import Table, by_set, recipe_samples, truth_of, unseen_samples

from cellrim.core.resize import nearest_pixels
from cellrim.evaluation import Counts, count_image, scores
from cellrim.prediction import load_model
from cellrim.representation.encode import encode

# Places of the maps that are taken from the truth.
TRUE: dict[str, slice] = {
    "the network's": slice(0, 0),
    "true foreground": slice(0, 1),
    "true flow": slice(1, 3),
    "both": slice(0, 3),
}


def main() -> None:
    model = load_model(sys.argv[1] if len(sys.argv) > 1 else "general", precision="float32")
    table = Table("set", *TRUE)
    for name, samples in by_set([*recipe_samples("validation"), *unseen_samples()]).items():
        counts = dict.fromkeys(TRUE, Counts())
        for sample in samples:
            truth = truth_of(sample)
            if truth.boxes is not None:
                continue
            prediction = model.predict(sample.read_image())
            labels = nearest_pixels(truth.labels, prediction.maps.shape[1:])
            right = encode(labels, model.card.canonical_diameter)
            for which, places in TRUE.items():
                maps = prediction.maps.copy()
                maps[places] = right[places]
                found, _ = model.decode(replace(prediction, maps=maps))
                counts[which] += count_image(
                    found, truth.labels, ignore=truth.ignore, boundaries=False
                )
        reached = [scores(c) for c in counts.values()]
        if counts["both"].truth:
            table.row(name, *(f"{s.ap50:.3f} / {s.map:.3f}" for s in reached))


if __name__ == "__main__":
    main()
