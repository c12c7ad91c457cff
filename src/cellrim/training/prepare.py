"""From a recipe to packed data: read, split, bring to scale, encode."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, median_diameter, relabel
from cellrim.core.normalise import to_network
from cellrim.core.resize import nearest_pixels, resize, scaled_shape
from cellrim.datasets import open_dataset
from cellrim.datasets.base import Sample, Truth
from cellrim.datasets.splits import split
from cellrim.errors import CellrimError, RecipeError
from cellrim.io.atomic import atomic_path
from cellrim.prediction.arrangement import Arrangement, arrange_channels, choose_channels
from cellrim.prediction.survey import survey
from cellrim.representation.encode import encode
from cellrim.training.background import background_crops
from cellrim.training.recipe import Recipe
from cellrim.training.self_labels import unannotated_samples
from cellrim.training.store import (
    BACKGROUND,
    CELL,
    FLOW_UNIT,
    IGNORE,
    OCTAVE_UNIT,
    Index,
    PackedSample,
    image_file,
    maps_file,
    read_index,
    truth_file,
    write_index,
    write_truth,
)

# Cells are packed at no more than this times the canonical diameter: room to zoom in a little.
LARGEST_PACKED = 2.0
# Halvings of the packed image, so that zooming out samples without aliasing.
LEVELS = 4

Progress = Callable[[str], None]


def data_root(given: Path | None) -> Path:
    """Folder that the recipe's data paths start from: as given, else ``CELLRIM_DATA``, else here.

    Raises
    ------
    RecipeError
        If it is not a folder.
    """
    root = given or Path(os.environ.get("CELLRIM_DATA", "."))
    if not root.is_dir():
        raise RecipeError(f"Expected the data root to be a folder, but {root} is none.")
    return root


def find_samples(recipe: Recipe, root: Path) -> tuple[list[tuple[int, str, Sample]], list[str]]:
    """List the annotated samples with their source and part, and the records that cannot be used.

    Raises
    ------
    RecipeError
        If a path is missing, a set has no annotated image, or nothing is left to train on.
    ModelError
        If the model that is to label a set is not there.
    """
    found: list[tuple[int, str, Sample]] = []
    problems: list[str] = []
    for source, part in enumerate(recipe.data):
        path = root / part.path
        if not path.exists():
            raise RecipeError(
                f"The recipe's data set {part.path!r} is not under {root}: "
                "give the folder it lies in with --data, or set CELLRIM_DATA."
            )
        if part.labelled_by is not None:
            unannotated = unannotated_samples(
                path, part.labelled_by, dataset=part.name or path.name, licence=part.licence
            )
            found += [(source, "train", s) for s in unannotated]
            continue
        listing = open_dataset(path, part.format, **part.options)
        problems += [f"{part.path}: {p.record}: {p.reason}" for p in listing.problems]
        samples = [
            replace(s, dataset=part.name or s.dataset)
            for s in listing.samples
            if s.read_truth is not None
            and s.trainable
            and (not part.only or s.modality in part.only)
        ]
        if not samples:
            raise RecipeError(
                f"The recipe's data set {part.path!r} has no image with an annotation that may "
                f"be trained on ({len(listing.samples)} images, {len(listing.problems)} problems)."
            )
        train, validation = split(samples, validation=recipe.validation.fraction)
        found += [(source, "train", s) for s in train]
        found += [(source, "validation", s) for s in validation]
    for name in ("train", "validation"):
        if not any(p == name for _, p, _ in found):
            raise RecipeError(
                f"The {name} split is empty: {len(found)} images in "
                f"{len({s.group for _, _, s in found})} groups; add images or groups."
            )
    return found, problems


def prepare(
    recipe: Recipe,
    root: Path,
    folder: Path,
    *,
    progress: Progress = print,
    per_set: int | None = None,
) -> Index:
    """Pack the recipe's data into a folder, or return what is packed there already.

    One unreadable image is a problem in the index and does not stop the rest.

    Parameters
    ----------
    recipe
        Which data, and at which scale.
    root
        Folder that the recipe's data paths start from.
    folder
        Where to pack.
    progress
        Told what is being packed.
    per_set
        Pack only so many images of each data set and part, to try a recipe; all where left out.

    Raises
    ------
    RecipeError
        If the recipe cannot work with the data, or no image could be packed.
    """
    index = read_index(folder)
    if index is not None and index.data_key == recipe.data_key():
        return index
    found, problems = find_samples(recipe, root)
    if per_set is not None:
        found = _first_of_each(found, per_set)
    folder.mkdir(parents=True, exist_ok=True)
    packed: list[PackedSample] = []
    for i, (source, part, sample) in enumerate(found):
        progress(f"packing {i + 1}/{len(found)}: {sample.dataset} {sample.name}")
        try:
            packed += _pack(sample, folder, recipe, source=source, part=part)
        except CellrimError as error:
            problems.append(f"{sample.dataset}: {sample.name}: {error}")
    for name in ("train", "validation"):
        if not any(s.part == name and s.cells for s in packed):
            raise RecipeError(f"No cell is left for {name}; problems: {'; '.join(problems)}")
    index = Index(recipe.data_key(), tuple(packed), tuple(problems))
    write_index(folder, index)
    return index


def _first_of_each(
    found: list[tuple[int, str, Sample]], count: int
) -> list[tuple[int, str, Sample]]:
    seen: Counter[tuple[int, str]] = Counter()
    chosen = []
    for source, part, sample in found:
        seen[source, part] += 1
        if seen[source, part] <= count:
            chosen.append((source, part, sample))
    return chosen


def _pack(
    sample: Sample, folder: Path, recipe: Recipe, *, source: int, part: str
) -> Iterator[PackedSample]:
    assert sample.read_truth is not None
    image, truth = sample.read_image(), sample.read_truth()
    diameter = median_diameter(truth.labels)
    factor = packed_factor(diameter, recipe.model.canonical_diameter)
    whole = PackedSample(
        key=sample_key(sample),
        dataset=sample.dataset,
        name=sample.name,
        modality=sample.modality,
        licence=sample.licence,
        part=part,
        source=source,
        cells=int(len(np.unique(truth.labels)) - (truth.labels == 0).any()),
        diameter=diameter * factor if diameter > 0 else 0.0,
        levels=0,
        channels=(),
    )
    if part == "validation":
        write_truth(truth_file(folder, whole.key), image, truth)
        yield whole
        return
    yield _write(whole, image, truth, folder, factor)
    if recipe.data[source].complete and diameter > 0:
        for i, crop in enumerate(background_crops(image, truth)):
            entry = replace(whole, key=f"{whole.key}-{i}", part="background", cells=0)
            nothing = Truth(np.zeros(crop.shape, np.int32))
            yield _write(entry, crop, nothing, folder, factor)


def _write(
    entry: PackedSample, image: Image, truth: Truth, folder: Path, factor: float
) -> PackedSample:
    arrangement = arrange_channels(image, survey(image, choose_channels(image.channels, None)))
    levels = 0
    for level, pixels in enumerate(_pyramid(image, arrangement, factor)):
        _save(image_file(folder, entry.key, level), pixels)
        levels = level + 1
    _save(maps_file(folder, entry.key), packed_maps(truth, factor))
    return replace(entry, levels=levels, channels=arrangement.channels)


def sample_key(sample: Sample) -> str:
    """Name of a sample's packed files."""
    return hashlib.sha256(f"{sample.dataset}/{sample.name}".encode()).hexdigest()[:20]


def packed_factor(diameter: float, canonical: float) -> float:
    """Factor by which a sample is made smaller when it is packed; NaN diameters count as small."""
    return min(1.0, LARGEST_PACKED * canonical / diameter) if diameter > 0 else 1.0


def _save(path: Path, array: NDArray[Any]) -> None:
    with atomic_path(path) as partial:
        np.save(partial, array, allow_pickle=False)


def _pyramid(
    image: Image, arrangement: Arrangement, factor: float
) -> Iterator[NDArray[np.float16]]:
    """Bring to the form of prediction and halve repeatedly, ``YXC``: one channel or three."""
    whole = slice(0, image.shape[0]), slice(0, image.shape[1])
    pixels = arrangement.apply(image).read(*whole)
    if pixels.shape[2] > 1:
        pixels = to_network(pixels)
    if factor < 1:
        shape = scaled_shape(image.shape, factor)
        pixels = resize(pixels, shape)
    for _ in range(LEVELS):
        yield pixels.astype(np.float16)
        if min(pixels.shape[:2]) < 2:
            return
        h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
        pixels = pixels[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).mean(axis=(1, 3))


def packed_maps(truth: Truth, factor: float) -> NDArray[np.int8]:
    """Encode an annotation at the packed scale.

    Returns
    -------
    ndarray
        int8, axes ``YXC``: class (background, cell, ignore), flow y, flow x in 1/127, and
        log2 of the cell's diameter in packed pixels in 1/16.
    """
    labels, ignore = packed_labels(truth, factor)
    maps = encode(labels, 1.0)
    out = np.empty((*labels.shape, 4), np.int8)
    out[..., 0] = np.where(maps[0] > 0, CELL, BACKGROUND)
    if ignore is not None:
        out[ignore & (maps[0] <= 0), 0] = IGNORE
    out[..., 1] = np.rint(maps[1] * FLOW_UNIT)
    out[..., 2] = np.rint(maps[2] * FLOW_UNIT)
    out[..., 3] = np.clip(np.rint(maps[3] * OCTAVE_UNIT), -127, 127)
    return out


def packed_labels(truth: Truth, factor: float) -> tuple[Labels, NDArray[np.bool_] | None]:
    """Return labels (ids 1..n) and ignored pixels at the packed scale, by the nearest pixel."""
    labels, ignore = truth.labels, truth.ignore
    if factor < 1:
        shape = scaled_shape((labels.shape[0], labels.shape[1]), factor)
        labels = nearest_pixels(labels, shape)
        ignore = None if ignore is None else nearest_pixels(ignore, shape)
    return relabel(labels), ignore
