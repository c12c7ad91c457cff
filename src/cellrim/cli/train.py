"""``cellrim train``: from a recipe, or a folder of annotated images, to a model folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellrim.cli.parsing import PATH, FloatRange
from cellrim.errors import UsageError

if TYPE_CHECKING:
    from cellrim.training.recipe import Recipe

BASE = "general"
"""The model that a folder of annotated images fine-tunes where ``--from`` names no other."""


@click.command()
@click.argument(
    "recipe",
    metavar="RECIPE|FOLDER",
    type=PATH,
    help="A recipe (a TOML file), or a folder of annotated images to fit a model to.",
)
@click.option("--out", "-o", type=PATH, help="Run folder [runs/<recipe's name>].")
@click.option("--data", type=PATH, help="Root of the recipe's data paths [$CELLRIM_DATA].")
@click.option("--packed", type=PATH, help="Folder of packed data, shared between runs.")
@click.option("--resume", is_flag=True, help="Continue from the run folder's checkpoint.")
@click.option(
    "--from",
    "start_from",
    help="Model, its folder or a checkpoint to begin with [general for a folder].",
)
@click.option(
    "--max-minutes", type=FloatRange(min=0.01), help="Stop after this time, ready to resume."
)
@click.option(
    "--anneal-minutes",
    type=FloatRange(min=0.01),
    help="End the schedule after this much training in all.",
)
@click.option(
    "--patches",
    type=click.IntRange(min=1),
    help="Length of the training on a folder [4,000]; a recipe has its own.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--workers", type=click.IntRange(min=0), default=2, help="Processes that make patches."
)
@click.option(
    "--dry-run", is_flag=True, help="Check recipe and data, estimate time and memory, stop."
)
@click.option(
    "--pack-only", "prepare_only", is_flag=True, help="Pack the data for another machine, stop."
)
@click.option(
    "--finish",
    "finish_only",
    is_flag=True,
    help="Make model and report from the checkpoint as it is.",
)
def train(
    recipe: Path,
    out: Path | None,
    data: Path | None,
    packed: Path | None,
    resume: bool,
    start_from: str | None,
    max_minutes: float | None,
    anneal_minutes: float | None,
    patches: int | None,
    device: str,
    workers: int,
    dry_run: bool,
    prepare_only: bool,
    finish_only: bool,
) -> None:
    """Train a U-Net as a recipe says; the model and a report come into the run folder.

    With a folder of annotated images (images/ and labels/, or any known data set) an existing model
    is fitted to them, in about ten minutes on a laptop.

    Stop it whenever you like: --resume continues. With several GPUs:
    torchrun --nproc-per-node N -m cellrim train RECIPE.
    """
    from cellrim.cli.show import live_line
    from cellrim.training.store import needs_torch

    needs_torch()
    from cellrim.training.dryrun import dry_run as estimate
    from cellrim.training.finish import finish
    from cellrim.training.loop import Limits
    from cellrim.training.places import Places, packed_index
    from cellrim.training.progress import Progress
    from cellrim.training.run import train as run_training

    if recipe.is_dir():
        recipe = recipe.resolve()
        start_from = start_from or BASE
        data = recipe.parent
    loaded = _load(recipe, start_from, patches)
    places = Places(run=out or Path("runs") / loaded.name, data=data, packed=packed)
    limits = Limits(
        max_minutes=max_minutes, anneal_minutes=anneal_minutes, device=device, workers=workers
    )
    progress = Progress(say=print, live=live_line(sys.stderr))
    if dry_run:
        print(estimate(loaded, places, limits=limits).describe())
    elif prepare_only:
        index = packed_index(loaded, places, progress.live)
        count, crops = len(index.samples), len(index.part("background"))
        print(f"{count - crops} images, {crops} crops of background: {places.packed_folder}")
    elif finish_only:
        finish(loaded, places, progress=progress)
    else:
        run_training(
            loaded,
            places,
            limits=limits,
            resume=resume,
            start_from=None if resume else start_from,
            progress=progress,
        )


def _load(recipe: Path, start_from: str | None, patches: int | None) -> Recipe:
    from cellrim.models.registry import find_model
    from cellrim.training.finetune import PATCHES, fine_tuning_recipe
    from cellrim.training.recipe import load_recipe

    if start_from is not None and recipe.is_dir():
        return fine_tuning_recipe(recipe, find_model(start_from), patches=patches or PATCHES)
    if patches is not None:
        raise UsageError(
            "Expected --patches with a folder of annotated images: a recipe has its own."
        )
    return load_recipe(recipe)
