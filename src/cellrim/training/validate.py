"""Validation: whole held-back images through the real predictor, scored by instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.datasets.base import Truth
from cellrim.evaluation import Counts, count_boxes, count_image, scores
from cellrim.evaluation.intervals import summarise
from cellrim.models.card import ONNX_NAME, ModelCard, sha256_of
from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.unet import TorchBackend, UNet
from cellrim.prediction.segmenter import Prediction, Segmenter
from cellrim.prediction.views import PLAIN, View
from cellrim.representation.flow import DecodeOptions
from cellrim.training.recipe import DecodePart, Recipe
from cellrim.training.store import Index, PackedSample, read_truth, truth_file

INSTANCE_METRICS = ("ap50", "ap75", "ap90", "map", "f1")
PIXEL_METRICS = ("dice", "iou")
UNKNOWN_HASH = "0" * 64
# Below the first of these a network sees a cell here and there in nothing but noise (up to 0.38).
LEAST_CONFIDENCES = (0.4, 0.45, 0.5, 0.55)

LEAST_GAIN = 0.002
"""What another decode option must add to the score: half-size weights alone move it by 0.001."""


@dataclass(frozen=True, slots=True)
class ImageScore:
    """Counts of one validation image: pixels and instances, and boxes where the truth is boxes."""

    sample: PackedSample
    set_name: str
    counts: Counts
    boxes: Counts | None


@dataclass(frozen=True, slots=True)
class SetScore:
    """Pooled metrics of one validation set; with ``boxes``, of instances compared as boxes."""

    name: str
    images: int
    values: dict[str, float]
    boxes: bool

    @property
    def headline(self) -> float:
        """What training maximises: the mean of AP50 and mean AP; for boxes, F1 at IoU 0.5."""
        if self.boxes:
            return self.values["f1"]
        return (self.values["ap50"] + self.values["map"]) / 2


def draft_card(recipe: Recipe, model: UNet, *, decoding: DecodePart | None = None) -> ModelCard:
    """Make the card of a model that is still training: enough to predict with."""
    decoding = decoding or recipe.decode
    return ModelCard(
        name=recipe.name,
        version="0",
        created="",
        canonical_diameter=recipe.model.canonical_diameter,
        working_diameter=decoding.working_diameter,
        stride=model.shape.stride,
        halo=model.shape.halo,
        decode=decoding.options,
        look=decoding.look,
        sha256=UNKNOWN_HASH,
    )


def segmenter_of(recipe: Recipe, model: UNet, *, decoding: DecodePart | None = None) -> Segmenter:
    """Make the real predictor run the torch model."""
    return Segmenter(TorchBackend(model), draft_card(recipe, model, decoding=decoding))


def exported(folder: Path, card: ModelCard, precision: str) -> Segmenter:
    """Predict as users will, with the network of a model folder on the CPU."""
    digest = sha256_of((folder / ONNX_NAME).read_bytes())
    card = msgspec.structs.replace(card, sha256=digest)
    return Segmenter(OnnxBackend(folder, card, device="cpu", precision=precision), card)


def set_names(index: Index) -> dict[str, str]:
    """Name of the validation set of each sample: the data set, with its modality if it has many."""
    modalities: dict[str, set[str]] = {}
    for s in index.samples:
        modalities.setdefault(s.dataset, set()).add(s.modality)
    return {
        s.key: s.dataset if len(modalities[s.dataset]) == 1 else f"{s.dataset} {s.modality}"
        for s in index.samples
    }


def choose(index: Index, per_set: int | None) -> list[tuple[str, PackedSample]]:
    """Choose validation samples: all, or the first few of each set; always the same ones."""
    names = set_names(index)
    chosen: dict[str, list[PackedSample]] = {}
    for sample in sorted(index.part("validation"), key=lambda s: s.key):
        members = chosen.setdefault(names[sample.key], [])
        if per_set is None or len(members) < per_set:
            members.append(sample)
    return [(name, s) for name in sorted(chosen) for s in chosen[name]]


def predict_all(
    segmenter: Segmenter,
    folder: Path,
    samples: Iterable[tuple[str, PackedSample]],
    *,
    view: View = PLAIN,
) -> list[tuple[str, PackedSample, Prediction]]:
    """Compute the maps of validation images, kept at half precision to be decoded many ways."""
    found = []
    for name, sample in samples:
        image, _ = read_truth(truth_file(folder, sample.key))
        seen = replace(image, pixels=view.of(image.pixels))
        found.append((name, sample, segmenter.predict(seen)))
    return found


def score_image(labels: Labels, truth: Truth) -> tuple[Counts, Counts | None]:
    """Count pixels and instances, and boxes where the truth is boxes."""
    counts = count_image(labels, truth.labels, ignore=truth.ignore, boundaries=False)
    if truth.boxes is None:
        return counts, None
    return counts, count_boxes(labels, truth.boxes, ignore=truth.ignore, ignore_border=True)


def score_predictions(
    segmenter: Segmenter,
    folder: Path,
    predictions: Sequence[tuple[str, PackedSample, Prediction]],
    *,
    options: DecodeOptions | None = None,
    view: View = PLAIN,
) -> list[ImageScore]:
    """Decode predictions, of images seen in a view, and compare them with the truth."""
    out = []
    for name, sample, prediction in predictions:
        _, truth = read_truth(truth_file(folder, sample.key))
        labels, _ = segmenter.decode(prediction, options)
        out.append(ImageScore(sample, name, *score_image(view.back(labels), truth)))
    return out


def by_set(images: Iterable[ImageScore]) -> list[SetScore]:
    """Pool the counts of each set."""
    groups: dict[str, list[ImageScore]] = {}
    for image in images:
        groups.setdefault(image.set_name, []).append(image)
    return [_pool(name, members) for name, members in groups.items()]


def _pool(name: str, members: list[ImageScore]) -> SetScore:
    pixels = scores(_total([m.counts for m in members]))
    boxes = [m.boxes for m in members if m.boxes is not None]
    instances = scores(_total(boxes)) if boxes else pixels
    values = {name: float(getattr(instances, name)) for name in INSTANCE_METRICS}
    values |= {name: float(getattr(pixels, name)) for name in PIXEL_METRICS}
    return SetScore(name, len(members), values, bool(boxes))


def intervals_by_set(images: Iterable[ImageScore]) -> dict[str, dict[str, tuple[float, float]]]:
    """Bootstrap the metrics of each set over its images: 95 % intervals, low and high.

    Sets of one image have none, nor have metrics that are not measured.
    """
    groups: dict[str, list[ImageScore]] = {}
    for image in images:
        groups.setdefault(image.set_name, []).append(image)
    return {name: _intervals(members) for name, members in groups.items() if len(members) > 1}


def _intervals(members: list[ImageScore]) -> dict[str, tuple[float, float]]:
    pixels = summarise([m.counts for m in members]).pooled
    boxes = [m.boxes for m in members if m.boxes is not None]
    instances = summarise(boxes).pooled if boxes else pixels
    found = {n: instances[n] for n in INSTANCE_METRICS} | {n: pixels[n] for n in PIXEL_METRICS}
    return {
        name: (round(i.low, 4), round(i.high, 4))
        for name, i in found.items()
        if np.isfinite(i.low) and np.isfinite(i.high)
    }


def _total(counts: Sequence[Counts]) -> Counts:
    total = counts[0]
    for other in counts[1:]:
        total = total + other
    return total


def overall(sets: Sequence[SetScore]) -> dict[str, float]:
    """Mean over the sets, each counting once, and the score that training maximises."""
    names = ("ap50", "map", "dice", "iou")
    row = {f"val_{n}": float(np.mean([s.values[n] for s in sets])) for n in names}
    row["score"] = float(np.mean([s.headline for s in sets]))
    return row


def validate(
    recipe: Recipe, model: UNet, folder: Path, samples: Sequence[tuple[str, PackedSample]]
) -> list[SetScore]:
    """Predict and score with a network that is still in training."""
    return by_set(score_all(segmenter_of(recipe, model), folder, samples))


def score_all(
    segmenter: Segmenter,
    folder: Path,
    samples: Sequence[tuple[str, PackedSample]],
    *,
    view: View = PLAIN,
) -> list[ImageScore]:
    """Predict and score in one go, one image in memory at a time."""
    images: list[ImageScore] = []
    for item in samples:
        prediction = predict_all(segmenter, folder, [item], view=view)
        images += score_predictions(segmenter, folder, prediction, view=view)
    return images


def mean_over(views: Sequence[Sequence[SetScore]]) -> list[SetScore]:
    """Average the metrics of the same sets, as they are in several views."""
    means = []
    for looks in zip(*views, strict=True):
        first = looks[0]
        values = {name: float(np.mean([s.values[name] for s in looks])) for name in first.values}
        means.append(replace(first, values=values))
    return means


def search_options(
    segmenter: Segmenter,
    folder: Path,
    predictions: Sequence[tuple[str, PackedSample, Prediction]],
    *,
    say: Callable[[str], None],
) -> DecodeOptions:
    """Find decode options by coordinate search over a small grid, maximising the mean headline.

    It begins with the options of the segmenter's card. What gains less than :data:`LEAST_GAIN` is
    taken for chance, and they stay. Each candidate's score is told to ``say``.
    """
    grid: dict[str, tuple[float, ...]] = {
        "min_confidence": LEAST_CONFIDENCES,
        "sink_radius": (1, 2, 3),
        "foreground_threshold": (0.4, 0.5, 0.6),
        "min_area": (6, 12, 24),
    }

    def judge(options: DecodeOptions) -> float:
        images = score_predictions(segmenter, folder, predictions, options=options)
        return overall(by_set(images))["score"]

    best = segmenter.card.decode
    best_score = judge(best)
    for field, values in grid.items():
        for value in values:
            fields = {n: getattr(best, n) for n in DecodeOptions.__slots__} | {field: value}
            options = DecodeOptions(**fields)
            if options == best:
                continue
            score = judge(options)
            say(f"  {field} {value}: score {score:.4f}")
            if score > best_score + LEAST_GAIN:
                best, best_score = options, score
    return best


def panel_of(
    segmenter: Segmenter, folder: Path, sample: PackedSample
) -> tuple[Image, Truth, Labels]:
    """Read one validation sample and predict it, for a picture."""
    image, truth = read_truth(truth_file(folder, sample.key))
    return image, truth, segmenter.segment(image).labels
