"""COCO JSON: images and their objects as polygons or run lengths in one file.

https://cocodataset.org/#format-data. Where objects overlap, a pixel belongs to the first annotation
in the file. An annotation with ``iscrowd`` set stands for objects that are not told apart: its
pixels are ignored. Images beyond the format may say ``group`` and ``modality``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.datasets.records import UNKNOWN, image_size, merge_masks, reject_options
from cellrim.errors import DatasetError, ImageReadError
from cellrim.io.coco import decode_segmentation
from cellrim.io.images import read_image

# Where images lie, from the folder of the JSON file: beside it, or as COCO itself unpacks.
IMAGE_FOLDERS = ("", "images", "../images")
KEYS = ("images", "annotations")

Entry = Mapping[str, Any]


class Coco:
    """A JSON file with ``images`` and ``annotations``, or a folder that has just one."""

    name = "coco"
    title = "COCO JSON: polygons, compressed and uncompressed run lengths"
    licence = "as the file says"

    def matches(self, root: Path) -> bool:
        """Whether this is such a file, or a folder with exactly one."""
        return len(_files(root)) == 1

    def read(self, root: Path, **options: Any) -> Listing:
        """List the images of the file.

        Raises
        ------
        DatasetError
            If there is not exactly one file, or it is no COCO JSON.
        InputError
            If there is an option; this reader has none.
        """
        reject_options(self.name, options)
        files = _files(root)
        if len(files) != 1:
            raise DatasetError(f"Expected one COCO JSON file at {root}, but found {len(files)}.")
        content = _load(files[0])
        if content is None:
            raise DatasetError(f"Expected {files[0]} to be COCO JSON, but it is not.")
        dataset = root.stem if root.is_file() else root.name
        images, problems = _images(content["images"])
        annotations, more = _annotations(content["annotations"], images)
        licences = _licences(content.get("licenses"))
        problems += more
        samples = []
        for key, entry in images.items():
            found = _find(files[0].parent, entry, annotations[key])
            if isinstance(found, Problem):
                problems.append(found)
                continue
            licence = licences.get(_hashable(entry.get("license")), UNKNOWN)
            samples.append(_sample(entry, found, annotations[key], dataset, licence))
        return Listing(dataset, tuple(samples), tuple(problems))


READER = Coco()


def read_truth(annotations: tuple[Entry, ...], *, image: Path) -> Truth:
    """Decode the annotations of one image.

    Raises
    ------
    ImageReadError
        If the image cannot be opened.
    DatasetError
        If an annotation is malformed; it says which.
    """
    shape = image_size(image)
    cells = [a for a in annotations if not a.get("iscrowd")]
    crowds = [a for a in annotations if a.get("iscrowd")]
    labels = merge_masks((_decode(a, shape) for a in cells), shape)
    if not crowds:
        return Truth(labels)
    ignore = np.logical_or.reduce([_decode(a, shape) for a in crowds])
    return Truth(labels, ignore & (labels == 0))


def _decode(annotation: Entry, shape: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        return decode_segmentation(annotation.get("segmentation"), shape)
    except DatasetError as error:
        raise DatasetError(f"Annotation {annotation.get('id')}: {error}") from error


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if _load(root) else []
    return [path for path in sorted(root.glob("*.json")) if _load(path)]


def _load(path: Path) -> dict[str, Any] | None:
    """Content of a COCO JSON file, or None where it is something else."""
    try:
        with path.open("rb") as file:
            if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                return None
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    is_coco = isinstance(content, dict) and all(isinstance(content.get(k), list) for k in KEYS)
    return content if is_coco else None


def _images(entries: Sequence[Any]) -> tuple[dict[Any, Entry], list[Problem]]:
    """Entries of images by id."""
    images: dict[Any, Entry] = {}
    problems = []
    for position, entry in enumerate(entries):
        usable = isinstance(entry, Mapping) and isinstance(entry.get("file_name"), str)
        key = _hashable(entry.get("id")) if usable else None
        if key is None:
            problems.append(Problem(f"images[{position}]", "It has no file_name or no id."))
        elif key in images:
            problems.append(Problem(entry["file_name"], f"Its id {key} is not its own."))
        else:
            images[key] = entry
    return images, problems


def _annotations(
    entries: Sequence[Any], images: Mapping[Any, Entry]
) -> tuple[dict[Any, list[Entry]], list[Problem]]:
    """Annotations of each image, in the order of the file."""
    found: dict[Any, list[Entry]] = {key: [] for key in images}
    problems = []
    for position, entry in enumerate(entries):
        key = _hashable(entry.get("image_id")) if isinstance(entry, Mapping) else None
        if key in found:
            found[key].append(entry)
        else:
            problems.append(
                Problem(f"annotations[{position}]", f"Its image {key} is not in the file.")
            )
    return found, problems


def _licences(entries: Any) -> dict[Any, str]:
    if not isinstance(entries, list):
        return {}
    return {
        _hashable(entry.get("id")): str(entry["name"])
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("name")
    }


def _find(folder: Path, entry: Entry, annotations: Sequence[Entry]) -> Path | Problem:
    """Where the pixels are, or why the image cannot be used."""
    name = str(entry["file_name"])
    candidates = [folder / sub / name for sub in IMAGE_FOLDERS]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None:
        return Problem(name, f"It has {len(annotations)} annotations, no pixels.")
    try:
        size = image_size(path)
    except ImageReadError as error:
        return Problem(name, str(error))
    stated = entry.get("height"), entry.get("width")
    if stated not in (size, (None, None)):
        return Problem(
            name, f"The JSON says {stated[0]} x {stated[1]}, but it is {size[0]} x {size[1]}."
        )
    return path


def _sample(
    entry: Entry, path: Path, annotations: list[Entry], dataset: str, licence: str
) -> Sample:
    name = Path(entry["file_name"]).with_suffix("").as_posix()
    return Sample(
        dataset=dataset,
        name=name,
        paths=(path,),
        kind="coco",
        group=str(entry.get("group") or name),
        modality=str(entry.get("modality") or UNKNOWN),
        licence=licence,
        read_image=partial(read_image, path),
        read_truth=partial(read_truth, tuple(annotations), image=path),
    )


def _hashable(key: Any) -> int | str | None:
    """Ids are numbers, or text in some exports; anything else is no id."""
    return key if isinstance(key, int | str) else None
