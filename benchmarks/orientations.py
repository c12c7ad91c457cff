"""What does int8 cost in accuracy, or another model gain, beyond what is chance?

Usage: CELLRIM_DATA=path/to/data python benchmarks/orientations.py [MODEL] [--against OTHER]
       [--only SET] [--looks 8] [--images]

A network that was trained on turned patches has no preferred side, but another rounding in each
orientation: an image that is turned by a quarter is as good an image, and moves mAP by chance. Each
held-back image of recipes/general.toml is segmented in its eight orientations, in float32 and in
int8; where a set's images times eight are fewer than ``--looks``, also moved by up to 31 pixels
down and right, with its mirror image in the gap, so that the network's coarse pixels lie elsewhere.
Prints for each set mAP in float32, as it is and as the mean over all views, how far single views
lie apart (standard deviation), and what int8 loses: as it is, and as the mean over the views with
its standard error.

With ``--against`` the score that training maximises (the mean of AP50 and mAP; for boxes F1) is
compared with that of another model, both as users run them, and the mean over the sets is a row of
its own; a second table is of deepcell, on which nothing was ever trained. ``--images`` gives each
image a row: the standard error says how much a mean moves as images are turned, the rows how much
it may with other images. Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of, unseen_samples

from cellrim.datasets.base import Sample
from cellrim.evaluation import Counts, scores
from cellrim.models.precision import FLOAT32, INT8
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.accurate import ORIENTATIONS
from cellrim.prediction.views import View, make_views
from cellrim.training.validate import INSTANCE_METRICS, SetScore, score_image

Values = NDArray[np.float64]
Value = Callable[[Counts, bool], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--against", metavar="OTHER", help="another model instead of float32")
    parser.add_argument("--only", metavar="SET", default="", help="sets whose name begins so")
    parser.add_argument("--looks", type=int, default=0, help="at each set, at least")
    parser.add_argument("--images", action="store_true", help="each image for itself")
    given = parser.parse_args()
    held_back, unseen = (
        {name: found for name, found in by_set(samples).items() if name.startswith(given.only)}
        for samples in (recipe_samples("validation"), unseen_samples())
    )
    if given.images:
        held_back, unseen = by_image(held_back), by_image(unseen)
    if given.against:
        for sets in filter(None, (held_back, unseen)):
            compare_models(given.against, given.model, sets, looks=given.looks)
        return
    before, after = (load_model(given.model, precision=p) for p in (FLOAT32, INT8))
    table = Table(*titles(FLOAT32, INT8))
    for name, samples in held_back.items():
        views = views_for(samples, given.looks)
        change = Change(*(values_of(m, samples, views, mean_ap) for m in (before, after)))
        table.row(name, len(samples), *change.columns())


def by_image(sets: Mapping[str, list[Sample]]) -> dict[str, list[Sample]]:
    """Take each image as a set of its own."""
    return {f"{name} {sample.name}": [sample] for name, found in sets.items() for sample in found}


def compare_models(
    before: str | Path, after: str | Path, sets: Mapping[str, list[Sample]], *, looks: int = 0
) -> Change:
    """Print the table of two models, both as users run them; return the change of their scores.

    The scores are means over the sets.
    """
    models = [load_model(name) for name in (before, after)]
    table = Table(*titles(str(before), str(after)))
    seen: list[Change] = []
    for name, samples in sets.items():
        views = views_for(samples, looks)
        seen.append(Change(*(values_of(m, samples, views, headline) for m in models)))
        table.row(name, len(samples), *seen[-1].columns())
    common = min(len(change.before) for change in seen)
    mean = Change(*np.mean([(c.before[:common], c.after[:common]) for c in seen], axis=0))
    table.row("mean of the sets", "", *mean.columns())
    return mean


def views_for(samples: list[Sample], looks: int) -> list[View]:
    """All orientations, and more views where the images are few."""
    return make_views(max(len(ORIENTATIONS), -(-looks // len(samples))))


def titles(before: str, after: str) -> list[str]:
    change = f"{after} - {before}"
    return ["set", "images", before, "mean", "apart", change, "mean", "standard error"]


class Change(NamedTuple):
    """Values in each of the views, before and after."""

    before: Values
    after: Values

    @property
    def gain(self) -> float:
        """Mean over the views."""
        return float((self.after - self.before).mean())

    @property
    def error(self) -> float:
        """Standard error of the gain."""
        change = self.after - self.before
        return float(change.std(ddof=1) / np.sqrt(len(change)))

    def columns(self) -> list[float]:
        """Columns of the table."""
        before, after = self
        plain = before[0], before.mean(), before.std(ddof=1), after[0] - before[0]
        return [*map(float, plain), self.gain, self.error]


def mean_ap(total: Counts, _: bool) -> float:
    return float(scores(total).map)


def headline(total: Counts, boxes: bool) -> float:
    """The score that training maximises."""
    values = {name: float(getattr(scores(total), name)) for name in INSTANCE_METRICS}
    return SetScore("", 1, values, boxes).headline


def values_of(model: Segmenter, samples: list[Sample], views: list[View], value: Value) -> Values:
    """Return the value of a set in each of the views."""
    totals = [Counts() for _ in views]
    boxed = False
    for sample in samples:
        image, truth = sample.read_image(), truth_of(sample)
        boxed = truth.boxes is not None
        for number, view in enumerate(views):
            found = model.segment(replace(image, pixels=view.of(image.pixels)))
            masks, boxes = score_image(view.back(found.labels), truth)
            totals[number] += boxes or masks
    return np.array([value(total, boxed) for total in totals])


if __name__ == "__main__":
    main()
