"""One training from recipe to model folder: the door of this room."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.core.normalise import measure_range, normalise, to_network
from cellrim.core.resize import resize, scaled_shape
from cellrim.errors import RecipeError
from cellrim.io.atomic import atomic_path
from cellrim.models.backend import OnnxBackend
from cellrim.models.card import CARD_NAME, ONNX_NAME, ModelCard, TrainingSet, sha256_of, write_card
from cellrim.models.export import export_onnx, largest_difference
from cellrim.models.registry import find_model
from cellrim.models.unet import TorchBackend, UNet, UNetShape
from cellrim.training.calibrate import fit_calibration, judge_predictions
from cellrim.training.checkpoint import Checkpoint, read_checkpoint
from cellrim.training.loop import CHECKPOINT, Limits, Trainer
from cellrim.training.prepare import data_root, prepare
from cellrim.training.recipe import Recipe
from cellrim.training.report import write_report
from cellrim.training.store import Index, read_index, read_truth, truth_file
from cellrim.training.validate import (
    SetScore,
    by_set,
    choose,
    draft_card,
    intervals_by_set,
    overall,
    predict_all,
    score_predictions,
    search_options,
    segmenter_of,
    validate,
)

RECIPE = "recipe.json"
LOG = "log.csv"
MODEL = "model"
PACKED = "packed"
# Networks differ from one arithmetic to the next; a real fault is hundreds of times larger.
LARGEST_EXPORT_DIFFERENCE = 0.05
_COMPARED_IMAGES = 8

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a training reads and writes.

    Parameters
    ----------
    run
        The run folder: recipe, log, checkpoint, model, report.
    data
        Root of the recipe's data paths; ``CELLRIM_DATA`` or the current folder where left out.
    packed
        Folder of the packed data; ``packed`` in the run folder where left out. May be shared by
        runs with the same data, and carried to a machine without the data.
    """

    run: Path
    data: Path | None = None
    packed: Path | None = None

    @property
    def packed_folder(self) -> Path:
        """The folder of the packed data."""
        return self.packed or self.run / PACKED


@dataclass(slots=True)
class Progress:
    """Prints one live line, and one line for each epoch.

    Parameters
    ----------
    say
        Prints a line that stays.
    live
        Prints a line that the next one replaces.
    every
        Seconds between two live lines.
    """

    say: Say = print
    live: Say = lambda _: None
    every: float = 1.0
    _last: float = field(default=0.0, init=False)
    _score: str = field(default="", init=False)

    def step(self, *, patches: int, total: int, loss: float, seconds_left: float) -> None:
        """Show where the training is."""
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        left = f"{seconds_left / 60:.0f} min left" if math.isfinite(seconds_left) else ""
        self.live(f"patch {patches:,} of {total:,}  loss {loss:.3f}  {self._score}  {left}")

    def epoch(self, row: dict[str, float], sets: list[SetScore]) -> None:
        """Show the validation of one epoch."""
        self._score = f"instance AP50 {row['val_ap50']:.3f}"
        names = "  ".join(f"{s.name} {s.values['ap50']:.2f}" for s in sets)
        self.say(
            f"epoch {row['epoch']:.0f}: {row['patches']:.0f} patches, {row['minutes']:.0f} min, "
            f"{_losses(row)}Dice {row['val_dice']:.3f}, "
            f"AP50 {row['val_ap50']:.3f}, mAP {row['val_map']:.3f} | {names}"
        )


def _losses(row: dict[str, float]) -> str:
    if "loss" not in row:  # epoch 0, before any training
        return ""
    return f"loss {row['loss']:.3f}, training Dice {row['train_dice']:.3f}, "


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


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Write one row per epoch as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)


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
    if trainer.rank != 0:
        return None
    if not finished:
        progress.say(f"time is up after {trainer.patches} patches; continue with --resume")
        return None
    return finish(recipe, places, progress=progress)


def _start_from(trainer: Trainer, source: str | Path) -> None:
    if Path(source).is_file():
        trainer.start_from(read_checkpoint(Path(source)).average)
    else:
        trainer.start_from_model(find_model(source))


def packed_index(recipe: Recipe, places: Places, live: Say) -> Index:
    """Pack the data where that is still to do.

    Raises
    ------
    RecipeError
        If neither packed data nor the data itself is there.
    """
    index = read_index(places.packed_folder)
    if index is not None and index.data_key == recipe.data_key():
        return index
    return prepare(recipe, data_root(places.data), places.packed_folder, progress=live)


def finish(recipe: Recipe, places: Places, *, progress: Progress | None = None) -> Path:
    """Make the model folder and the report of a run from its checkpoint.

    The better of the best epoch and the last averaged weights is taken, by all validation images;
    decode options are searched on them; the ONNX file is compared with torch.

    Raises
    ------
    RecipeError
        If the exported network does not compute what torch computes.
    """
    progress = progress or Progress()
    state = read_checkpoint(places.run / CHECKPOINT)
    index = packed_index(recipe, places, progress.live)
    samples = choose(index, None)
    model = UNet(UNetShape(recipe.model.widths, recipe.model.rim))
    candidates = {"last average": state.average}
    if state.best_model:
        candidates["best epoch"] = state.best_model
    best = ("", float("-inf"))
    for name, weights in candidates.items():
        model.load_state_dict(weights)
        score = overall(validate(recipe, model, places.packed_folder, samples))["score"]
        progress.say(f"{name}: score {score:.4f} on all {len(samples)} validation images")
        best = max(best, (name, score), key=lambda x: x[1])
    model.load_state_dict(candidates[best[0]])
    segmenter = segmenter_of(recipe, model)
    predictions = predict_all(segmenter, places.packed_folder, samples)
    options = recipe.decode.options
    if recipe.decode.search:
        options, score = search_options(
            segmenter, places.packed_folder, predictions, say=progress.say
        )
        progress.say(f"decode options {options}: score {score:.4f}")
    images = score_predictions(segmenter, places.packed_folder, predictions, options=options)
    calibration = recipe.decode.calibration
    if recipe.decode.search:
        judged = judge_predictions(segmenter, places.packed_folder, predictions, options=options)
        calibration, error = fit_calibration(judged)
        progress.say(f"{calibration}: expected calibration error {error:.4f} on unseen images")
    sets = by_set(images)
    folder = places.run / MODEL
    card = draft_card(recipe, model, options=options)
    export_onnx(model, folder / ONNX_NAME)
    card = _complete(card, recipe, index, folder, sets=sets, state=state)
    card = card.model_copy(
        update={"intervals": intervals_by_set(images), "calibration": calibration}
    )
    write_card(folder / CARD_NAME, card)
    difference = _compare(model, folder, card, places, index)
    progress.say(f"ONNX against torch, largest differences: {difference}")
    write_report(
        places.run,
        recipe,
        state.history,
        images,
        sets,
        segmenter=segmenter_of(recipe, model, options=options),
        packed=places.packed_folder,
        export_difference=difference,
    )
    progress.say(f"model: {folder}; report: {places.run / 'report.html'}")
    return folder


def _complete(
    card: ModelCard,
    recipe: Recipe,
    index: Index,
    folder: Path,
    *,
    sets: list[SetScore],
    state: Checkpoint,
) -> ModelCard:
    trained: dict[tuple[str, str], list[int]] = {}
    for s in index.part("train"):
        trained.setdefault((s.dataset, s.licence), []).append(s.cells)
    return card.model_copy(
        update={
            "version": __version__,
            "created": datetime.now(UTC).date().isoformat(),
            "licence": recipe.card.licence,
            "limitations": recipe.card.limitations,
            "architecture": recipe.model.model_dump(),
            "training_sets": tuple(
                TrainingSet(name=n, licence=licence, images=len(c), cells=sum(c))
                for (n, licence), c in trained.items()
            ),
            "recipe": recipe.model_dump_json(),
            "patches_seen": state.patches,
            "started_from": state.started_from,
            "validation": {
                s.name: {"images": float(s.images), **{k: round(v, 4) for k, v in s.values.items()}}
                for s in sets
            },
            "sha256": sha256_of((folder / ONNX_NAME).read_bytes()),
        }
    )


def _compare(
    model: UNet, folder: Path, card: ModelCard, places: Places, index: Index
) -> dict[str, float]:
    samples = choose(index, 1)[:_COMPARED_IMAGES]
    batches = []
    for _, sample in samples:
        image, _ = read_truth(truth_file(places.packed_folder, sample.key))
        batches.append(network_batch(image.pixels, card.stride))
    difference = largest_difference(
        TorchBackend(model), OnnxBackend(folder, card, device="cpu"), batches
    )
    if max(difference.values()) > LARGEST_EXPORT_DIFFERENCE:
        raise RecipeError(f"The exported network differs from torch: {difference}.")
    return difference


def network_batch(pixels: NDArray[np.generic], stride: int) -> NDArray[np.float32]:
    """Bring an image ``YXC`` to a batch of one that fits the stride, at most 512 pixels wide."""
    normalised = to_network(normalise(pixels, measure_range(pixels)))
    height, width = normalised.shape[:2]
    factor = min(1.0, 512 / max(height, width))
    shape = scaled_shape((height, width), factor)
    shape = (max(stride, shape[0] // stride * stride), max(stride, shape[1] // stride * stride))
    return np.ascontiguousarray(np.moveaxis(resize(normalised, shape), 2, 0)[np.newaxis])
