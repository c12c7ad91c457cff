"""Is a cell's confidence the chance that it is right? Before and after a map fitted on training.

Usage: CELLRIM_DATA=path/to/data python benchmarks/calibration.py [--model general] [--keep FOLDER]

Every held-back image of recipes/general.toml goes through the predictor as users run it (scale
estimated); a cell is right where it is matched at an IoU of 0.5 (boxes by their boxes). Cells
below the card's minimal confidence are dropped, as for users; --all keeps them. The map is fitted
on training images, at most --fitted of each set, each set weighing the same; the validation images
have no part in it. Confidences of each image are kept in --keep FOLDER, so that a stopped run goes
on and a second one takes seconds.
Needs the ``train`` extra for the recipe's split.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shared import Table, by_set, recipe_samples, truth_of, unseen_samples

from cellrim.datasets.base import Sample
from cellrim.evaluation.calibration import (
    Calibration,
    expected_error,
    fit,
    judge,
    reliability,
)
from cellrim.io.atomic import atomic_path
from cellrim.prediction import Segmenter, load_model
from cellrim.training.prepare import sample_key

SEED = 0
FITTED, CHECKED, UNSEEN = "train", "validation", "unseen"

Judged = dict[str, NDArray[np.float64]]
"""Per set (part/name): confidence and right (n, 2)."""


def main() -> None:
    options = arguments()
    model = load_model(options.model)
    judged = judge_all(model, options)
    least = 0.0 if options.all else model.card.decode.min_confidence
    judged = {name: cells[cells[:, 0] >= least] for name, cells in judged.items()}
    train, checked = part(judged, FITTED), part(judged, CHECKED)
    found = fit(*columns(pool(train)), weights=even_weights(train))
    print(f"Cells of a confidence of {least} and more.")
    print(f"Fitted on training images: slope {found.slope:.4f}, offset {found.offset:.4f}")
    print(f"A raw {least} becomes {float(found.apply(np.array([least]))[0]):.3f}\n")
    errors(checked, part(judged, UNSEEN), found)
    print("\nValidation, pooled, as the network says it:\n")
    show_reliability(pool(checked), Calibration())
    print("\nValidation, pooled, after the fitted map:\n")
    show_reliability(pool(checked), found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="general")
    parser.add_argument("--fitted", type=int, default=12, help="training images of each set")
    parser.add_argument("--checked", type=int, help="validation images of each set; all")
    parser.add_argument("--all", action="store_true", help="also cells that users do not see")
    parser.add_argument("--keep", type=Path, help="folder to keep the confidences in")
    return parser.parse_args()


def judge_all(model: Segmenter, options: argparse.Namespace) -> Judged:
    """Confidence and outcome of every cell found, by part and set."""
    judged = {}
    for which, samples, count in (
        (CHECKED, recipe_samples("validation"), options.checked),
        (FITTED, recipe_samples("train"), options.fitted),
        (UNSEEN, unseen_samples(), options.checked),
    ):
        for name, members in by_set(samples).items():
            cells = [judge_kept(model, s, options.keep) for s in draw(members, count)]
            judged[f"{which}/{name}"] = np.concatenate(cells)
    return judged


def draw(samples: list[Sample], count: int | None) -> list[Sample]:
    rng = np.random.default_rng(SEED)
    chosen = rng.permutation(len(samples))[:count]
    return [samples[i] for i in sorted(chosen)]


def judge_kept(model: Segmenter, sample: Sample, folder: Path | None) -> NDArray[np.float64]:
    """Judge one image, or read what was found of it by the same model before."""
    if folder is None:
        return judge_one(model, sample)
    path = folder / model.card.sha256[:12] / f"{sample_key(sample)}.npy"
    if not path.is_file():
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.save(file, judge_one(model, sample))
    return np.load(path)


def judge_one(model: Segmenter, sample: Sample) -> NDArray[np.float64]:
    everything = replace(model.card.decode, min_confidence=0.0)
    labels, sure = model.decode(model.predict(sample.read_image()), everything)
    right, judged = judge(labels, truth_of(sample))
    return np.stack([sure, right], axis=1)[judged].astype(np.float64)


def part(judged: Judged, which: str) -> Judged:
    return {n.partition("/")[2]: c for n, c in judged.items() if n.startswith(f"{which}/")}


def pool(judged: Judged) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((0, 2)), *judged.values()])


def columns(cells: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return cells[:, 0], cells[:, 1] > 0


def even_weights(judged: Judged) -> NDArray[np.float64]:
    """Each set weighs the same, whatever its number of cells."""
    return np.concatenate([np.full(len(c), 1 / max(len(c), 1)) for c in judged.values()])


def errors(checked: Judged, unseen: Judged, found: Calibration) -> None:
    table = Table(
        "set", "cells", "right", "said", "ECE mass", "ECE width", "ECE mass, fitted",
        "ECE width, fitted",
    )  # fmt: skip
    rows = {**checked, "all validation": pool(checked)}
    rows |= {f"{name} (never trained on)": cells for name, cells in unseen.items()}
    for name, cells in rows.items():
        said, right = columns(cells)
        if not len(said):
            continue
        values = [
            expected_error(chance, right, spacing=spacing)
            for chance in (said, found.apply(said))
            for spacing in ("mass", "width")
        ]
        table.row(name, len(said), float(right.mean()), float(said.mean()), *values)


def show_reliability(cells: NDArray[np.float64], found: Calibration) -> None:
    said, right = columns(cells)
    table = Table("bins", "from", "to", "cells", "said", "right")
    for spacing in ("mass", "width"):
        for b in reliability(found.apply(said), right, spacing=spacing):
            if b.cells:
                table.row(f"equal {spacing}", b.low, b.high, b.cells, b.said, b.right)


if __name__ == "__main__":
    main()
