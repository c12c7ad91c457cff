"""Trials: networks trained alike for so many minutes or patches, scored at the true diameter.

A trial is the product's own training loop with another network, another loss or other targets.
Everything of a trial lies in its own folder; a trial whose result is there is not repeated, and
one that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from shared import RECIPE, Table
from torch import nn

from cellrim.core.image import Image
from cellrim.core.labels import Labels, median_diameter
from cellrim.core.normalise import measure_range, normalise, to_network
from cellrim.core.resize import resize, scaled_shape
from cellrim.core.tiles import plan_tiles, stitch
from cellrim.io.atomic import atomic_path
from cellrim.models.registry import find_model
from cellrim.models.unet import TorchBackend
from cellrim.prediction.rescale import labels_at_size
from cellrim.prediction.segmenter import DEFAULT_TILE
from cellrim.representation.flow import MAPS, DecodeOptions, decode
from cellrim.training.loop import CHECKPOINT, Limits, Trainer
from cellrim.training.recipe import Recipe, load_recipe
from cellrim.training.store import Index, PackedSample, read_index, read_truth, truth_file
from cellrim.training.validate import ImageScore, SetScore, by_set, choose, overall, score_image

RESULT = "result.json"
METRICS = ("ap50", "ap75", "ap90", "map")
# Epochs are the product's; a trial has none.
_NEVER = 10**12
_MINUTES = 10.0
_SECONDS_BETWEEN_LINES = 30.0
LEAST_CONFIDENCES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.45)


@dataclass(frozen=True, slots=True)
class Settings:
    """What must be equal for two trials to be compared."""

    minutes: float | None
    patches: int | None
    seed: int
    batch: int
    device: str
    images_per_set: int | None


@dataclass(frozen=True, slots=True)
class Scored:
    """The outcome of one trial; ``sets`` by name, with ``mean`` of the sets, each counting once."""

    settings: Settings
    patches: int
    sets: dict[str, dict[str, float]]
    extra: dict[str, float]


def add_arguments(parser: Any) -> None:
    """Options that all trials take."""
    parser.add_argument("--packed", type=Path, required=True, help="data from train --pack-only")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trials")
    parser.add_argument("--minutes", type=float, help="training of each trial; 10")
    parser.add_argument(
        "--patches", type=int, help="patches of each trial instead, which a busy machine keeps fair"
    )
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images-per-set", type=int, help="validation images of each set; all")


def settings_of(options: Any) -> Settings:
    """Return what decides the outcome."""
    return Settings(
        _minutes_of(options),
        options.patches,
        options.seed,
        options.batch,
        options.device,
        options.images_per_set,
    )


def _minutes_of(options: Any) -> float | None:
    return None if options.patches else options.minutes or _MINUTES


def recipe_of(options: Any) -> tuple[Recipe, Index]:
    """The default recipe with the options' seed and batch, and its packed data."""
    recipe = load_recipe(RECIPE)
    training = recipe.training.model_copy(
        update={
            "seed": options.seed,
            "batch": options.batch,
            "patches": options.patches or _NEVER,
        }
    )
    validation = recipe.validation.model_copy(update={"every": _NEVER})
    # Background is packed for the product's representation only.
    augmentation = recipe.augmentation.model_copy(update={"background": 0.0})
    index = read_index(options.packed)
    if index is None or index.data_key != recipe.data_key():
        raise SystemExit(
            f"Expected data of {RECIPE.name} in {options.packed}: pack it with "
            "cellrim train --pack-only."
        )
    changed = {"training": training, "validation": validation, "augmentation": augmentation}
    return recipe.model_copy(update=changed), index


def chosen(known: dict[str, Any], only: str) -> dict[str, Any]:
    """Pick what is asked for; all where nothing is."""
    names = [n for n in only.split(",") if n] or list(known)
    if unknown := [n for n in names if n not in known]:
        raise SystemExit(f"Expected names out of {', '.join(known)}, but got {', '.join(unknown)}.")
    return {n: known[n] for n in names}


# ------------------------------------------------------------------ train


class _Live:
    """Prints where a training is."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, 0.0

    def step(self, *, patches: int, total: int, loss: float, seconds_left: float) -> None:
        del total
        if time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(
                f"{self._name}: {patches} patches, loss {loss:.3f}, {seconds_left:.0f} s left",
                flush=True,
            )

    def epoch(self, model: nn.Module, row: dict[str, float]) -> float:
        raise AssertionError(f"A trial has no epochs, but one of {type(model)} ended: {row}")


def limits_of(options: Any) -> Limits:
    """Train for the minutes or patches asked for, the schedule ending with them."""
    minutes = _minutes_of(options)
    return Limits(anneal_minutes=minutes, device=options.device, workers=options.workers)


def train(trainer: Trainer, folder: Path) -> None:
    """Train until the minutes are used up, from the checkpoint of an earlier call if there is one.

    Raises
    ------
    SystemExit
        If the process was asked to stop; the checkpoint is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINT).is_file():
        trainer.resume(folder / CHECKPOINT)
    if trainer.progress < 1 and not trainer.run(folder, _Live(folder.name)):
        raise SystemExit(f"Stopped; the same command goes on with {folder.name}.")


# ------------------------------------------------------------------ score


class MapsOf(Protocol):
    """Anything that runs a network on a batch."""

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


def maps_at(
    backend: MapsOf, image: Image, diameter: float, *, shape: Any, canonical: float, channels: int
) -> NDArray[np.float32]:
    """Maps (channels, Y, X) of an image brought to the canonical scale by its true diameter."""
    pixels = image.pixels
    normalised = normalise(pixels, measure_range(pixels))
    size = canonical_size(image.shape, diameter, canonical)
    small = to_network(resize(normalised, size))
    tiles = plan_tiles(size, size=DEFAULT_TILE, halo=shape.halo, multiple=shape.stride)

    def run(part: NDArray[np.float32]) -> NDArray[np.float32]:
        return backend.predict(np.ascontiguousarray(np.moveaxis(part, 2, 0)[np.newaxis]))[0]

    return stitch(small, tiles, channels=channels, run=run)


def canonical_size(shape: tuple[int, int], diameter: float, canonical: float) -> tuple[int, int]:
    """Height and width at which the median cell has the canonical diameter."""
    return scaled_shape(shape, canonical / diameter if diameter > 0 else 1.0)


def predict_all(
    trainer: Trainer, packed: Path, samples: list[tuple[str, PackedSample]], *, channels: int
) -> list[NDArray[np.float16]]:
    """Maps of each validation image by the averaged weights, at half precision."""
    model: Any = trainer.average
    found = []
    for _, sample in samples:
        image, truth = read_truth(truth_file(packed, sample.key))
        maps = maps_at(
            TorchBackend(model),
            image,
            median_diameter(truth.labels),
            shape=model.shape,
            canonical=trainer.recipe.model.canonical_diameter,
            channels=channels,
        )
        found.append(maps.astype(np.float16))
    return found


Decode = Callable[[NDArray[np.float32], tuple[int, int]], Labels]


def score(
    decode: Decode,
    maps: list[NDArray[np.float16]],
    packed: Path,
    samples: list[tuple[str, PackedSample]],
) -> list[SetScore]:
    """Decode maps at the size of the image and compare them with the truth."""
    images = []
    for (name, sample), found in zip(samples, maps, strict=True):
        image, truth = read_truth(truth_file(packed, sample.key))
        labels = decode(found.astype(np.float32), image.shape)
        images.append(ImageScore(sample, name, *score_image(labels, truth)))
    return by_set(images)


def validation_samples(index: Index, options: Any) -> list[tuple[str, PackedSample]]:
    """Validation images with their set, always the same ones."""
    return choose(index, options.images_per_set)


def values_of(sets: list[SetScore]) -> dict[str, dict[str, float]]:
    """Metrics by set, and the mean of the sets with the score that training maximises."""
    values = {s.name: {m: s.values[m] for m in METRICS} for s in sets}
    mean = {m: float(np.mean([v[m] for v in values.values()])) for m in METRICS}
    return {**values, "mean": mean | {"score": overall(sets)["score"]}}


def compare(name: str, options: Any, make: Callable[[Recipe, Index], Trainer]) -> Scored:
    """Train and score one trial in the product's representation, or read its result.

    Decode options are those of the embedded model's card, but for the least confidence, which is
    the one that scores highest: a network that learned little is rightly unsure of itself.
    """
    folder, settings = options.out / name.replace(" ", "-"), settings_of(options)
    if (done := read_result(folder, settings)) is not None:
        return done
    recipe, index = recipe_of(options)
    trainer = make(recipe, index)
    train(trainer, folder)
    samples = validation_samples(index, options)
    maps = predict_all(trainer, options.packed, samples, channels=len(MAPS))
    # A network of few patches is never as sure as the embedded one must be of one cell at least.
    decoding = replace(find_model("general").card.decode, min_surest=0.0)
    best: dict[str, dict[str, float]] = {}
    used = 0.0
    for least in LEAST_CONFIDENCES:
        decoding = replace(decoding, min_confidence=least)
        decode_all = partial(labels_of, options=decoding)
        values = values_of(score(decode_all, maps, options.packed, samples))
        if not best or values["mean"]["score"] > best["mean"]["score"]:
            best, used = values, least
    result = Scored(settings, trainer.patches, best, {"least confidence": used})
    write_result(folder, result)
    return result


def labels_of(maps: NDArray[np.float32], shape: tuple[int, int], options: DecodeOptions) -> Labels:
    """Labels at the size of the image from the product's maps."""
    threshold = options.foreground_threshold
    probability = 1 / (1 + np.exp(-maps[0]))
    return labels_at_size(decode(maps, options), probability, shape, threshold=threshold)


# ------------------------------------------------------------------ keep


def read_result(folder: Path, settings: Settings) -> Scored | None:
    """Outcome of a trial that is done; None where it is not.

    Raises
    ------
    SystemExit
        If it was made with other settings.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    table = json.loads(path.read_text(encoding="utf-8"))
    before = Settings(**table.pop("settings"))
    if before != settings:
        raise SystemExit(f"{path} was made with {before}: choose another folder than --out.")
    return Scored(settings=before, **table)


def write_result(folder: Path, result: Scored) -> None:
    """Write the outcome, whole or not at all."""
    with atomic_path(folder / RESULT) as unfinished:
        unfinished.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


def table_by_set(results: dict[str, Scored], extra: tuple[str, ...]) -> Table:
    """One row for each set and trial; the extra figures in the rows of the mean."""
    table = Table("set", "trial", "AP50", "AP75", "AP90", "mAP", "patches", *extra)
    names = [n for n in next(iter(results.values())).sets if n != "mean"]
    for name in [*names, "mean"]:
        for trial, result in results.items():
            more: list[object] = [""] * (1 + len(extra))
            if name == "mean":
                more = [result.patches, *(result.extra[e] for e in extra)]
            table.row(name, trial, *(result.sets[name][m] for m in METRICS), *more)
    return table


def write_table(table: Table, path: Path) -> None:
    """Keep a table beside the trials."""
    with atomic_path(path) as unfinished:
        unfinished.write_text(f"{table}\n", encoding="utf-8")


def widen(model: Any, outputs: int) -> Any:
    """The same network with a head of another width."""
    model.head = nn.Conv2d(model.head.in_channels, outputs, 1)
    return model
