"""One training from recipe to model folder: the door of this room."""

from __future__ import annotations

from pathlib import Path

from cellrim.errors import RecipeError
from cellrim.io.atomic import atomic_path
from cellrim.models.registry import find_model
from cellrim.models.unet import UNet
from cellrim.training.finish import finish
from cellrim.training.loop import CHECKPOINT, Limits, Trainer
from cellrim.training.places import LOG, RECIPE, Places, packed_index
from cellrim.training.progress import Progress, write_log
from cellrim.training.recipe import Recipe
from cellrim.training.store import Index
from cellrim.training.validate import choose, overall, validate


class _Validating:
    """Observer of the loop that validates, logs and prints."""

    def __init__(
        self, trainer: Trainer, index: Index, places: Places, *, progress: Progress
    ) -> None:
        self._trainer = trainer
        self._places = places
        self._progress = progress
        per_set = trainer.recipe.validation.images_per_set
        self._samples = choose(index, per_set)

    def step(self, *, patches: int, total: int, loss: float, seconds_left: float) -> None:
        self._progress.step(patches=patches, total=total, loss=loss, seconds_left=seconds_left)

    def epoch(self, model: UNet, row: dict[str, float]) -> float:
        recipe = self._trainer.recipe
        sets = validate(recipe, model, self._places.packed_folder, self._samples)
        row |= overall(sets)
        row |= {f"ap50 {s.name}": s.values["ap50"] for s in sets}
        row |= {f"map {s.name}": s.values["map"] for s in sets}
        write_log(self._places.run / LOG, [*self._trainer.history, row])
        self._progress.epoch(row, sets)
        return row["score"]


def train(
    recipe: Recipe,
    places: Places,
    *,
    limits: Limits | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    progress: Progress | None = None,
) -> Path | None:
    """Train a recipe.

    Parameters
    ----------
    recipe
        What to train on and how.
    places
        Folders to read from and write to.
    limits
        Time, device and worker processes.
    resume
        Continue the run folder's checkpoint; else the folder must not have one.
    start_from
        What to begin with (fine-tuning): a checkpoint, of which the averaged weights are taken,
        the folder of a model, or the name of an embedded one.
    progress
        Where to report.

    Returns
    -------
    Path or None
        The model folder; None if the time was up before the schedule was: resume.

    Raises
    ------
    RecipeError
        If the recipe, the data or the checkpoint cannot work; before any training.
    """
    limits = limits or Limits()
    progress = progress or Progress()
    checkpoint = places.run / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise RecipeError(f"Nothing to resume: {checkpoint} is not there.")
    if not resume and checkpoint.is_file():
        raise RecipeError(
            f"The run folder {places.run} has a checkpoint already: "
            "continue it with --resume, or choose another folder."
        )
    index = packed_index(recipe, places, progress.live)
    trainer = Trainer(recipe, places.packed_folder, index, limits=limits)
    if start_from is not None:
        _start_from(trainer, start_from)
    if resume:
        trainer.resume(checkpoint)
    if trainer.rank == 0:
        with atomic_path(places.run / RECIPE) as partial:
            partial.write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
    observer = _Validating(trainer, index, places, progress=progress)
    if start_from is not None and not resume:
        trainer.judge_start(observer)
    finished = trainer.run(places.run, observer)
    trainer.leave()
    if trainer.rank != 0:
        return None
    if not finished:
        progress.say(f"time is up after {trainer.patches} patches; continue with --resume")
        return None
    return finish(recipe, places, progress=progress)


def _start_from(trainer: Trainer, source: str | Path) -> None:
    if Path(source).is_file():
        trainer.start_from_checkpoint(Path(source))
    else:
        trainer.start_from_model(find_model(source))
