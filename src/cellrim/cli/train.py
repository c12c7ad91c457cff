"""``cellrim train``: from a recipe, or a folder of annotated images, to a model folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellrim.errors import UsageError

if TYPE_CHECKING:
    from cellrim.training.recipe import Recipe

BASE = "general"
"""The model that a folder of annotated images fine-tunes where ``--from`` names no other."""


def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|FOLDER",
            help="A recipe (a TOML file), or a folder of annotated images to fit a model to.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder [runs/<recipe's name>].")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Root of the recipe's data paths [$CELLRIM_DATA].")
    ] = None,
    packed: Annotated[
        Path | None, typer.Option(help="Folder of packed data, shared between runs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the run folder's checkpoint.")
    ] = False,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Model, its folder or a checkpoint to begin with [general for a folder].",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop after this time, ready to resume.")
    ] = None,
    anneal_minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="End the schedule after this much training in all."),
    ] = None,
    patches: Annotated[
        int | None,
        typer.Option(
            min=1, help="Length of the training on a folder [4,000]; a recipe has its own."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that make patches.")] = 2,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check recipe and data, estimate time and memory, stop."),
    ] = False,
    prepare_only: Annotated[
        bool, typer.Option("--pack-only", help="Pack the data for another machine, stop.")
    ] = False,
    finish_only: Annotated[
        bool,
        typer.Option("--finish", help="Make model and report from the checkpoint as it is."),
    ] = False,
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
