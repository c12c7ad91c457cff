"""What ten minutes of fine-tuning on five annotated images bring, on images held back from it.

Usage: CELLRIM_DATA=path/to/data python benchmarks/finetune.py OUT [SET ...] [--minutes M]
           [--base MODEL | --train-base MINUTES]

For each set (usiigaci and mixed where none is named) five training images, evenly spread over
it, are copied into a folder OUT/SET, ``cellrim train OUT/SET --from BASE`` is run on it, and
the validation images of recipes/general.toml are segmented with both models. The embedded model
has seen the training images of every set; ``--train-base`` first trains a base from nothing, by
the recipe without these sets, in OUT/base, to show what fine-tuning does for a kind of images
that is new. What is in OUT already is not repeated. Needs the ``train`` extra.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from accuracy import report
from shared import RECIPE, recipe_samples

from cellrim.datasets.base import Sample
from cellrim.prediction import load_model

IMAGES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", default=["usiigaci", "mixed"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--base", default="general", help="a model's name or folder")
    parser.add_argument("--train-base", type=float, metavar="MINUTES")
    options = parser.parse_args()
    base = options.base
    if options.train_base:
        base = str(train_base(options.out, options.sets, minutes=options.train_base))
    for name in options.sets:
        samples = _of("train", name)
        tuned = fine_tune(options.out, name, samples, base=base, minutes=options.minutes)
        for title, model in (("base", base), ("fine-tuned", str(tuned))):
            print(f"{name}, {title}:", flush=True)
            report(load_model(model), _of("validation", name), told=False)


def _of(part: str, name: str) -> list[Sample]:
    return [s for s in recipe_samples(part) if s.dataset == name]


def train_base(out: Path, sets: list[str], *, minutes: float) -> Path:
    """Train by the recipe without some of its sets; return the model folder."""
    run = out / "base"
    if not (run / "model").is_dir():
        paragraphs = RECIPE.read_text(encoding="utf-8").split("\n\n")
        left = [p for p in paragraphs if not any(f'path = "plain/{s}"' in p for s in sets)]
        if len(left) != len(paragraphs) - len(sets):
            sys.exit(f"Expected one [[data]] part of {RECIPE} for each of {', '.join(sets)}.")
        out.mkdir(parents=True, exist_ok=True)
        recipe = out / "base.toml"
        recipe.write_text("\n\n".join(left), encoding="utf-8")
        _train(str(recipe), "-o", str(run), "--anneal-minutes", str(minutes))
    return run / "model"


def fine_tune(out: Path, name: str, samples: list[Sample], *, base: str, minutes: float) -> Path:
    """Copy five images and run the command a user would; return the model folder."""
    run = out / f"{name}-run"
    if not (run / "model").is_dir():
        data = out / name
        chosen = np.linspace(0, len(samples) - 1, IMAGES).round().astype(int)
        for folder in ("images", "labels"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        for i in chosen:
            image, labels = samples[i].paths
            shutil.copy(image, data / "images" / f"{i}{image.suffix}")
            shutil.copy(labels, data / "labels" / f"{i}{labels.suffix}")
        _train(str(data), "--from", base, "-o", str(run), "--anneal-minutes", str(minutes))
    return run / "model"


def _train(*options: str) -> None:
    subprocess.run([sys.executable, "-m", "cellrim", "train", *options], check=True)


if __name__ == "__main__":
    main()
