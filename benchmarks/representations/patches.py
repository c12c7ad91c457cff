"""The product's patches with other targets: the same places, turns, zooms and looks.

Every training image is described once by each representation and kept in the benchmark's own
folder, as the product keeps its flow; turning and zooming what is kept costs little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from representations.base import Representation, mean_over
from shared import data_folder
from torch import Tensor
from torch.nn import functional
from trial import widen

from cellrim.core.labels import Labels, median_diameter
from cellrim.io.atomic import atomic_path
from cellrim.models.unet import UNet
from cellrim.representation.encode import encode
from cellrim.training.loop import Limits, Trainer
from cellrim.training.losses import Losses
from cellrim.training.patches import PatchSource, nearest
from cellrim.training.prepare import find_samples, packed_factor, packed_labels, sample_key
from cellrim.training.recipe import Recipe
from cellrim.training.store import (
    BACKGROUND,
    CELL,
    IGNORE,
    OCTAVE_UNIT,
    Index,
    PackedSample,
)


def pack(kind: Representation, recipe: Recipe, index: Index, folder: Path) -> None:
    """Describe every training image of the index that is not yet in the folder."""
    wanted = {s.key for s in index.part("train")}
    missing = {key for key in wanted if not packed_file(folder, key).is_file()}
    if not missing:
        return
    found, _ = find_samples(recipe, data_folder())
    folder.mkdir(parents=True, exist_ok=True)
    for _, part, sample in found:
        key = sample_key(sample)
        if part != "train" or key not in missing:
            continue
        assert sample.read_truth is not None
        truth = sample.read_truth()
        diameter = median_diameter(truth.labels)
        factor = packed_factor(diameter, recipe.model.canonical_diameter)
        described = described_maps(kind, *packed_labels(truth, factor))
        with atomic_path(packed_file(folder, key)) as partial:
            np.save(partial, described, allow_pickle=False)
        missing.discard(key)
        print(f"{kind.name}: {len(missing)} images left to describe", end="\r", flush=True)
    print()
    if missing:
        raise SystemExit(f"{len(missing)} training images of the index are not in the data.")


def packed_file(folder: Path, key: str) -> Path:
    """Where the maps of a training image lie."""
    return folder / f"{key}.npy"


def described_maps(
    kind: Representation, labels: Labels, ignore: NDArray[np.bool_] | None
) -> NDArray[Any]:
    """Maps (Y, X, C): class, own maps in their units, log2 diameter, as whole numbers."""
    limits = np.iinfo(kind.dtype)
    common = encode(labels, 1.0)
    out = np.empty((*labels.shape, len(kind.units) + 2), kind.dtype)
    out[..., 0] = np.where(common[0] > 0, CELL, BACKGROUND)
    if ignore is not None:
        out[ignore & (common[0] <= 0), 0] = IGNORE
    units = [*kind.units, OCTAVE_UNIT]
    for k, (own, unit) in enumerate(zip((*kind.describe(labels), common[3]), units, strict=True)):
        out[..., 1 + k] = np.clip(np.rint(own * unit), limits.min, limits.max)
    return out


class Described(PatchSource):
    """Patches with the targets of a representation."""

    def __init__(
        self, kind: Representation, folder: Path, recipe: Recipe, packed: Path, index: Index
    ) -> None:
        super().__init__(recipe, packed, index)
        self._kind, self._described = kind, folder
        self.targets = kind.count + 1

    def _maps_file(self, sample: PackedSample) -> Path:
        return packed_file(self._described, sample.key)

    def _target(
        self,
        maps: NDArray[np.generic],
        where: NDArray[np.float32],
        turn: NDArray[np.float64],
        *,
        zoom: float,
    ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        picked, inside = nearest(maps, where)
        kind = np.where(inside, picked[..., 0], IGNORE).astype(np.int8)
        values = np.moveaxis(picked[..., 1:], 2, 0).astype(np.float32)
        values /= np.array([*self._kind.units, OCTAVE_UNIT], np.float32)[:, None, None]
        own = self._kind.target(values[:-1], turn, zoom=zoom)
        return kind, np.concatenate([own, values[-1:]]).astype(np.float32)


class RepresentationTrainer(Trainer):
    """The product's loop with the targets, the head and the loss of a representation."""

    def __init__(
        self,
        kind: Representation,
        described: Path,
        recipe: Recipe,
        packed: Path,
        index: Index,
        *,
        limits: Limits,
    ) -> None:
        self._kind, self._described = kind, described
        super().__init__(recipe, packed, index, limits=limits)

    def _make_source(self, packed: Path, index: Index) -> PatchSource:
        return Described(self._kind, self._described, self.recipe, packed, index)

    def _make_network(self) -> UNet:
        return widen(super()._make_network(), self._kind.outputs)

    def _losses(self, maps: Tensor, kind: Tensor, target: Tensor) -> Losses:
        maps = maps.float()
        known, cell = (kind != IGNORE).float(), (kind == CELL).float()
        cross = functional.binary_cross_entropy_with_logits(maps[:, 0], cell, reduction="none")
        foreground = mean_over(cross, known)
        own = self._kind.loss(maps[:, 1:-1], cell, known, target[:, :-1])
        octaves = functional.smooth_l1_loss(maps[:, -1], target[:, -1], reduction="none", beta=0.25)
        diameter = mean_over(octaves, cell)
        total = foreground + own + self.recipe.training.diameter_weight * diameter
        return Losses(total, foreground, own, diameter)
