"""BBBC041 v1: malaria smears (P. vivax) with bounding boxes.

https://bbbc.broadinstitute.org/BBBC041. The archive unpacks to ``malaria/`` with ``images/``,
``training.json`` and ``test.json``. Boxes become labels by :mod:`cellrim.datasets.boxes`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cellrim.core.image import Image
from cellrim.datasets.base import Boxes, Listing, Problem, Sample, Truth
from cellrim.datasets.boxes import truth_from_boxes
from cellrim.datasets.records import image_size, reject_options
from cellrim.errors import DatasetError, ImageReadError
from cellrim.io.images import read_image

FOLDER = "malaria"
ANNOTATIONS = ("training.json", "test.json")
# The first record begins within the first bytes of an annotation file.
SIGNATURE_BYTES = 2000


class Bbbc041:
    """``images/*.png|jpg`` with ``training.json`` and ``test.json``, or one of the two."""

    name = "bbbc041"
    title = "BBBC041 v1: malaria smears, bounding boxes"
    licence = "CC BY-NC-SA 3.0"

    def matches(self, root: Path) -> bool:
        """Whether there is a list of boxes in the form of this archive."""
        return any(_looks_right(path) for path in _annotations(root))

    def read(self, root: Path, **options: Any) -> Listing:
        """List the images that have both pixels and boxes.

        Boxes that leave the image are clipped. What lies outside entirely or has no area is a
        problem, and the image's other boxes are used. Of several records of one image the first
        counts.

        Raises
        ------
        InputError
            If there is an option; this reader has none.
        """
        reject_options(self.name, options)
        samples: dict[str, Sample] = {}
        problems: list[Problem] = []
        for annotation in _annotations(root):
            try:
                records = _load(annotation)
            except DatasetError as error:
                problems.append(Problem(annotation.name, str(error)))
                continue
            for number, record in enumerate(records):
                name = _record_name(record, annotation, number)
                if name in samples:
                    problems.append(
                        Problem(name, f"{annotation.name} has another record of this image.")
                    )
                    continue
                try:
                    sample, unusable = self._sample(name, record, annotation)
                except (DatasetError, ImageReadError) as error:
                    problems.append(Problem(name, str(error)))
                    continue
                samples[name] = sample
                problems.extend(unusable)
        return Listing(self.name, tuple(samples.values()), tuple(problems))

    def _sample(
        self, name: str, record: Any, annotation: Path
    ) -> tuple[Sample, tuple[Problem, ...]]:
        """Make the sample of a record, and a problem of each box that cannot be used."""
        try:
            pathname = str(record["image"]["pathname"])
            shape = (int(record["image"]["shape"]["r"]), int(record["image"]["shape"]["c"]))
            objects = tuple(_read_object(found) for found in record["objects"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"Expected a record with image, objects and bounding boxes, but got {error!r}."
            ) from error
        path = annotation.parent / pathname.lstrip("/")
        if not path.is_file():
            raise DatasetError(f"The image {pathname} is not there.")
        size = image_size(path)
        if size != shape:
            raise DatasetError(
                f"Expected {path.name} to be {shape[0]} x {shape[1]}, "
                f"but it is {size[0]} x {size[1]}."
            )
        boxes, outside = _clip(objects, shape)
        sample = Sample(
            dataset=self.name,
            name=name,
            paths=(path, annotation),
            kind="boxes",
            group=name,
            modality="smear",
            licence=self.licence,
            read_image=partial(read_image, path),
            read_truth=partial(_read_truth, path, boxes),
        )
        reasons = (
            f"Box {i} has no pixel inside of the image; the others are used." for i in outside
        )
        return sample, tuple(Problem(name, reason) for reason in reasons)


def _annotations(root: Path) -> tuple[Path, ...]:
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    return tuple(folder / name for name in ANNOTATIONS if (folder / name).is_file())


def _looks_right(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'"pathname"' in file.read(SIGNATURE_BYTES)
    except OSError:
        return False


def _load(path: Path) -> list[Any]:
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"Cannot read {path}: {error}.") from error
    if not isinstance(records, list):
        raise DatasetError(
            f"Expected a list of records in {path}, but got {type(records).__name__}."
        )
    return records


def _record_name(record: Any, annotation: Path, number: int) -> str:
    """Stem of the image, or the place of a record that does not name one."""
    try:
        return PurePosixPath(record["image"]["pathname"]).stem
    except (KeyError, TypeError):
        return f"{annotation.name}[{number}]"


def _read_object(found: Any) -> tuple[list[int], str]:
    """Corners ``y0 x0 y1 x1`` and category; in the file, r is the row."""
    box = found["bounding_box"]
    corners = [int(box[end][axis]) for end in ("minimum", "maximum") for axis in "rc"]
    return corners, str(found["category"])


def _clip(
    objects: tuple[tuple[list[int], str], ...], shape: tuple[int, int]
) -> tuple[Boxes, list[int]]:
    """Clip boxes to the image; return them and the indices of those of which nothing is left."""
    corners = np.array([box for box, _ in objects], np.int64).reshape(-1, 4)
    corners = np.clip(corners, 0, np.array([*shape, *shape], np.int64))
    usable = np.all(corners[:, 2:] > corners[:, :2], axis=1)
    kept = np.flatnonzero(usable)
    boxes = Boxes(corners[kept], tuple(objects[i][1] for i in kept))
    return boxes, np.flatnonzero(~usable).tolist()


def _read_truth(path: Path, boxes: Boxes) -> Truth:
    return truth_from_boxes(_as_rgb(read_image(path)).pixels, boxes)


def _as_rgb(image: Image) -> Image:
    """Undo that an image of three equal channels is read as grey."""
    return image.select((0, 0, 0)) if len(image.channels) == 1 else image


READER = Bbbc041()
