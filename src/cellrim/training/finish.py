"""From the checkpoint of a training to its model folder and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.core.normalise import measure_range, normalise, to_network
from cellrim.core.resize import resize, scaled_shape
from cellrim.errors import RecipeError
from cellrim.models.backend import Backend
from cellrim.models.card import (
    CARD_NAME,
    ONNX_NAME,
    ModelCard,
    TrainingSet,
    write_card,
)
from cellrim.models.export import export_onnx, largest_difference
from cellrim.models.precision import FLOAT32
from cellrim.models.unet import TorchBackend, UNet
from cellrim.prediction.segmenter import Prediction, Segmenter
from cellrim.representation.flow import DecodeOptions
from cellrim.training.calibrate import fit_calibration, judge_predictions
from cellrim.training.checkpoint import Checkpoint, blend, read_checkpoint
from cellrim.training.loop import CHECKPOINT
from cellrim.training.origin import shape_of
from cellrim.training.places import MODEL, Places, Say, packed_index
from cellrim.training.progress import Progress
from cellrim.training.recipe import DecodePart, Recipe
from cellrim.training.report import write_report
from cellrim.training.store import Index, PackedSample, read_truth, truth_file
from cellrim.training.twins import add_int8_twin
from cellrim.training.validate import (
    SetScore,
    by_set,
    choose,
    draft_card,
    exported,
    intervals_by_set,
    overall,
    predict_all,
    score_all,
    score_predictions,
    search_options,
    segmenter_of,
    validate,
)

# Networks differ from one arithmetic to the next; a real fault is hundreds of times larger.
LARGEST_EXPORT_DIFFERENCE = 0.05
_COMPARED_IMAGES = 8

ENLARGEMENTS = (1.125, 1.25, 1.375)
"""Sizes at which cells may be looked at, times the canonical diameter, one after the other."""

LEAST_ENLARGEMENT_GAIN = 0.004
"""What a larger one must add to the score, for it costs a quarter more time."""

Samples = Sequence[tuple[str, PackedSample]]
Predictions = Sequence[tuple[str, PackedSample, Prediction]]


def finish(recipe: Recipe, places: Places, *, progress: Progress | None = None) -> Path:
    """Make the model folder and the report of a run from its checkpoint.

    The best of the best epoch, the last averaged weights and their blends with the first ones is
    taken, by all validation images; decode options are searched on them; the ONNX file is compared
    with torch.

    Raises
    ------
    RecipeError
        If the exported network does not compute what torch computes.
    """
    progress = progress or Progress()
    state = read_checkpoint(places.run / CHECKPOINT)
    index = packed_index(recipe, places, progress.live)
    samples = choose(index, None)
    model = _better_weights(recipe, state, places, samples, say=progress.say)
    decoding = _decoding(recipe, model, places, samples, say=progress.say)
    folder = places.run / MODEL
    export_onnx(model, folder / ONNX_NAME)
    segmenter = exported(folder, draft_card(recipe, model, decoding=decoding), FLOAT32)
    images = score_all(segmenter, places.packed_folder, samples)
    sets = by_set(images)
    card = _complete(segmenter.card, recipe, index, sets=sets, state=state)
    card = msgspec.structs.replace(
        card, intervals=intervals_by_set(images), calibration=decoding.calibration
    )
    write_card(folder / CARD_NAME, card)
    difference = _compare(model, segmenter.backend, places, index, stride=card.stride)
    progress.say(f"ONNX against torch, largest differences: {difference}")
    add_int8_twin(folder, recipe, places, index, say=progress.say)
    write_report(
        places.run,
        recipe,
        state.history,
        images,
        sets,
        segmenter=segmenter,
        packed=places.packed_folder,
        export_difference=difference,
    )
    progress.say(f"model: {folder}; report: {places.run / 'report.html'}")
    return folder


def _better_weights(
    recipe: Recipe, state: Checkpoint, places: Places, samples: Samples, *, say: Say
) -> UNet:
    """Network with the candidate's weights that score highest: best epoch, last average, blends."""
    model = UNet(shape_of(recipe))
    candidates = {"last average": state.average}
    if state.best_model:
        candidates["best epoch"] = state.best_model
    if state.start:
        candidates |= {
            f"{share:.0%} of the way from the start": blend(state.start, state.average, share)
            for share in recipe.validation.blends
        }
    reached = {}
    for name, weights in candidates.items():
        model.load_state_dict(weights)
        sets = validate(recipe, model, places.packed_folder, samples)
        reached[name] = overall(sets)["score"]
        say(f"{name}: score {reached[name]:.4f} on all {len(samples)} validation images")
    model.load_state_dict(candidates[max(reached, key=lambda name: reached[name])])
    return model


def _decoding(
    recipe: Recipe, model: UNet, places: Places, samples: Samples, *, say: Say
) -> DecodePart:
    """Find how maps become instances; what the recipe says where nothing is to be searched.

    The decode options that score highest, the size at which cells are looked at, and the
    calibration that fits both.
    """
    packed, decoding = places.packed_folder, recipe.decode
    if not decoding.search:
        return decoding
    segmenter, predictions, score = _predicted(recipe, model, decoding, packed, samples)
    options = search_options(segmenter, packed, predictions, say=say)
    if options != decoding.options:
        # The looks that estimate the scale keep theirs, so the scales stay as they are.
        look = decoding.look or decoding.options
        decoding = decoding.model_copy(update={"options": options, "look": look})
        before, score = score, _score_of(segmenter, packed, predictions, options)
        say(f"decode options {options}: score {score:.4f}; before: {before:.4f}")
    for factor in ENLARGEMENTS:
        diameter = factor * recipe.model.canonical_diameter
        larger = decoding.model_copy(update={"working_diameter": diameter})
        found = _predicted(recipe, model, larger, packed, samples)
        say(f"cells of {diameter:g} px: score {found[2]:.4f}; before: {score:.4f}")
        if found[2] < score + LEAST_ENLARGEMENT_GAIN:
            break
        decoding, (segmenter, predictions, score) = larger, found
    judged = judge_predictions(segmenter, packed, predictions, options=decoding.options)
    calibration, error = fit_calibration(judged)
    say(f"{calibration}: expected calibration error {error:.4f} on unseen images")
    decoding = decoding.model_copy(update={"calibration": calibration})
    if not decoding.surest:
        return decoding
    options = replace(decoding.options, min_surest=calibration.undo(decoding.surest))
    reached = _score_of(segmenter, packed, predictions, options)
    say(f"no cells where none is surer than {decoding.surest}: score {reached:.4f}")
    if reached < score:
        return decoding
    return decoding.model_copy(update={"options": options})


def _predicted(
    recipe: Recipe, model: UNet, decoding: DecodePart, packed: Path, samples: Samples
) -> tuple[Segmenter, Predictions, float]:
    """Predict all samples as a card of this decoding would; the predictor, the maps, the score."""
    segmenter = segmenter_of(recipe, model, decoding=decoding)
    predictions = predict_all(segmenter, packed, samples)
    return segmenter, predictions, _score_of(segmenter, packed, predictions, decoding.options)


def _score_of(
    segmenter: Segmenter, packed: Path, predictions: Predictions, options: DecodeOptions
) -> float:
    """Score that training maximises, of predictions decoded with these options."""
    images = score_predictions(segmenter, packed, predictions, options=options)
    return overall(by_set(images))["score"]


def _complete(
    card: ModelCard,
    recipe: Recipe,
    index: Index,
    *,
    sets: list[SetScore],
    state: Checkpoint,
) -> ModelCard:
    trained: dict[tuple[str, str], list[int]] = {}
    for s in index.part("train"):
        trained.setdefault((s.dataset, s.licence), []).append(s.cells)
    return msgspec.structs.replace(
        card,
        version=__version__,
        created=datetime.now(UTC).date().isoformat(),
        licence=recipe.card.licence,
        limitations=recipe.card.limitations,
        architecture=recipe.model.model_dump(),
        training_sets=tuple(
            TrainingSet(name=n, licence=licence, images=len(c), cells=sum(c))
            for (n, licence), c in trained.items()
        ),
        recipe=recipe.model_dump_json(),
        patches_seen=state.patches,
        started_from=state.started_from,
        taught_by=state.taught_by,
        validation={
            s.name: {"images": float(s.images), **{k: round(v, 4) for k, v in s.values.items()}}
            for s in sets
        },
    )


def _compare(
    model: UNet, backend: Backend, places: Places, index: Index, *, stride: int
) -> dict[str, float]:
    samples = choose(index, 1)[:_COMPARED_IMAGES]
    batches = []
    for _, sample in samples:
        image, _ = read_truth(truth_file(places.packed_folder, sample.key))
        batches.append(network_batch(image.pixels, stride))
    difference = largest_difference(TorchBackend(model), backend, batches)
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
