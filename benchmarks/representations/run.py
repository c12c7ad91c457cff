"""Representations compared: same network body, patches, seed, minutes and validation images.

Usage, with CELLRIM_DATA set (``bench`` and ``train`` extras):

    python benchmarks/representations/run.py --packed FOLDER --out FOLDER [--minutes 10]
        [--only flow,star]
    python benchmarks/representations/run.py --bound [--full-size]

The first trains each representation and scores it on the held-back images at their true diameter,
so that no scale estimate takes part. Decode options are chosen for each on these images, out of
several. It goes on where it was stopped and writes OUT/table.md.
The second needs no training: true labels to maps and back, which is the most each could reach. The
labels are brought to the canonical scale first, as the network would see them; --full-size leaves
them as they are.
Decoding time is CPU-seconds at the size of the maps.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

import trial
from representations.base import Options, Representation, coverage
from representations.combined import Combined
from representations.flow import Flow
from representations.patches import RepresentationTrainer, pack
from representations.star import Star
from representations.watershed import Watershed
from shared import Table, by_set, cost_of, recipe_samples, truth_of

from cellrim.core.labels import Labels, median_diameter, relabel
from cellrim.evaluation import Counts, count_image, scores

KINDS: dict[str, type[Representation]] = {k.name: k for k in (Flow, Watershed, Star, Combined)}
CANONICAL = 24.0
DECODING = "decode ms/MP"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    if "--bound" in sys.argv:
        parser.add_argument("--bound", action="store_true")
        parser.add_argument("--full-size", action="store_true")
        parser.add_argument("--only", default="")
        options = parser.parse_args()
        bound(trial.chosen(KINDS, options.only), full_size=options.full_size)
        return
    trial.add_arguments(parser)
    options = parser.parse_args()
    results = {}
    for name, kind in trial.chosen(KINDS, options.only).items():
        results[name] = compare(kind(), options)
        table = trial.table_by_set(results, (DECODING,))
        trial.write_table(table, options.out / "table.md")


# ------------------------------------------------------------------ trained


def compare(kind: Representation, options: Any) -> trial.Scored:
    """Train and score one representation, or read its result."""
    folder, settings = options.out / kind.name, trial.settings_of(options)
    if (done := trial.read_result(folder, settings)) is not None:
        return done
    recipe, index = trial.recipe_of(options)
    described = options.out / "described" / kind.name
    pack(kind, recipe, index, described)
    trainer = RepresentationTrainer(
        kind, described, recipe, options.packed, index, limits=trial.limits_of(options)
    )
    trial.train(trainer, folder)
    samples = trial.validation_samples(index, options)
    maps = trial.predict_all(trainer, options.packed, samples, channels=kind.outputs)
    sets, best = search(kind, maps, options.packed, samples)
    extra = {DECODING: decoding_time(kind, maps, best), **best}
    result = trial.Scored(settings, trainer.patches, trial.values_of(sets), extra)
    trial.write_result(folder, result)
    return result


def search(
    kind: Representation, maps: list[NDArray[np.float16]], packed: Path, samples: Any
) -> tuple[Any, dict[str, float]]:
    """Score all combinations of the decode options and return the best."""
    best: tuple[float, Any, dict[str, float]] = (-1.0, [], {})
    for values in itertools.product(*kind.tried.values()):
        tried = dict(zip(kind.tried, values, strict=True))
        sets = trial.score(lambda m, s, t=tried: kind.labels(m, s, t), maps, packed, samples)
        reached = trial.values_of(sets)["mean"]["score"]
        print(f"{kind.name} {tried}: score {reached:.4f}", flush=True)
        best = max(best, (reached, sets, tried), key=lambda x: x[0])
    return best[1], best[2]


def decoding_time(kind: Representation, maps: list[NDArray[np.float16]], options: Options) -> float:
    """Median CPU-milliseconds per megapixel of maps."""
    full = [m.astype(np.float32) for m in maps]
    spent = [1e9 * cost_of(lambda m=m: kind.decode(m, options)).cpu / m[0].size for m in full]
    return float(np.median(spent))


# ------------------------------------------------------------------ the most that is possible


def bound(kinds: dict[str, type[Representation]], *, full_size: bool) -> None:
    """Print what is left of the true labels of the validation images."""
    table = Table("set", "cells", "representation", "AP50", "AP75", "AP90", "mAP", DECODING)
    pooled: dict[str, Counts] = defaultdict(Counts)
    spent: dict[str, list[float]] = defaultdict(list)
    for name, members in by_set(recipe_samples("validation")).items():
        truths = [truth_of(s).labels for s in members]
        for title, make in kinds.items():
            counts, times = Counts(), []
            for labels in truths:
                again, time = round_trip(make(), labels, full_size=full_size)
                counts += count_image(again, labels, boundaries=False)
                times.append(time)
            pooled[title] += counts
            spent[title] += times
            _row(table, name, title, counts, times)
    for title in kinds:
        _row(table, "all", title, pooled[title], spent[title])


def _row(table: Table, name: str, title: str, counts: Counts, times: list[float]) -> None:
    s = scores(counts)
    table.row(
        name, counts.truth, title, s.ap50, s.ap75, s.ap90, s.map, float(np.median(times))
    )  # fmt: skip


def round_trip(kind: Representation, labels: Labels, *, full_size: bool) -> tuple[Labels, float]:
    """True labels brought to the canonical scale (or not), encoded, decoded and brought back.

    Returns
    -------
    labels
        At the size of the input.
    float
        CPU-milliseconds per megapixel of decoding.
    """
    shape = (labels.shape[0], labels.shape[1])
    diameter = CANONICAL if full_size else median_diameter(labels)
    size = trial.canonical_size(shape, diameter, CANONICAL)
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * old / n).astype(int), old - 1)
        for n, old in zip(size, shape, strict=True)
    )
    small = relabel(labels[np.ix_(rows, columns)])
    maps = kind.encode(small, foreground=coverage(labels, size))
    cost = cost_of(lambda: kind.decode(maps, kind.defaults))
    return kind.labels(maps, shape, kind.defaults), 1e9 * cost.cpu / small.size


if __name__ == "__main__":
    main()
