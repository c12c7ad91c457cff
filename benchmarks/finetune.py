"""What ten minutes of fine-tuning on five annotated images bring, on images held back from it.

Usage: CELLRIM_DATA=path/to/data python benchmarks/finetune.py OUT [SET ...] [--minutes M]

For each set (usiigaci and mixed where none is named) five training images, evenly spread over
it, are copied into a folder OUT/SET, ``cellrim train OUT/SET --from general`` is run on it, and
the validation images of recipes/general.toml are segmented with both models. Needs the ``train``
extra.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from accuracy import report
from shared import recipe_samples

from cellrim.datasets.base import Sample
from cellrim.prediction import load_model

IMAGES = 5
BASE = "general"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", default=["usiigaci", "mixed"])
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    for name in options.sets:
        tuned = fine_tune(options.out, name, _of("train", name), minutes=options.minutes)
        for title, model in ((BASE, BASE), ("fine-tuned", str(tuned))):
            print(f"{name}, {title}:", flush=True)
            report(load_model(model), _of("validation", name), told=False)


def _of(part: str, name: str) -> list[Sample]:
    return [s for s in recipe_samples(part) if s.dataset == name]


def fine_tune(out: Path, name: str, samples: list[Sample], *, minutes: float) -> Path:
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
        command = [sys.executable, "-m", "cellrim", "train", str(data), "--from", BASE]
        command += ["-o", str(run), "--anneal-minutes", str(minutes)]
        subprocess.run(command, check=True)
    return run / "model"


if __name__ == "__main__":
    main()
