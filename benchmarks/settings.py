"""Training settings compared: the product's network trained for the same patches, scored alike.

Usage, with CELLRIM_DATA set (``train`` extra):

    python benchmarks/settings.py --packed FOLDER --out FOLDER [--patches 8000] [--only NAMES]

Each trial changes a few settings of recipes/general.toml. It is scored on the held-back images at
their true diameter with the card's decode options, goes on where it was stopped and writes
OUT/table.md.
"""

from __future__ import annotations

import argparse
from typing import Any

import trial

from cellrim.training.loop import Trainer
from cellrim.training.recipe import Recipe
from cellrim.training.store import Index

# By name: part of the recipe, setting, value.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "as they are": {},
    "small cells": {"training": {"small_cells": 0.5}},
    "larger batch": {"training": {"batch": 32, "learning_rate": 1.5e-3}},
    "finer scale": {"augmentation": {"scale_octaves": 0.6}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    trial.add_arguments(parser)
    options = parser.parse_args()
    results = {name: compare(name, options) for name in trial.chosen(SETTINGS, options.only)}
    trial.write_table(trial.table_by_set(results, ()), options.out / "table.md")


def compare(name: str, options: Any) -> trial.Scored:
    """Train and score one setting, or read its result."""
    limits, change = trial.limits_of(options), SETTINGS[name]

    def make(recipe: Recipe, index: Index) -> Trainer:
        return Trainer(changed(recipe, change), options.packed, index, limits=limits)

    return trial.compare(name, options, make)


def changed(recipe: Recipe, settings: dict[str, dict[str, Any]]) -> Recipe:
    """Replace settings of parts of a recipe."""
    parts = {p: getattr(recipe, p).model_copy(update=values) for p, values in settings.items()}
    return recipe.model_copy(update=parts)


if __name__ == "__main__":
    main()
