"""BBBC041 v1: malaria smears (P. vivax) with bounding boxes.

https://bbbc.broadinstitute.org/BBBC041. The archive unpacks to ``malaria/`` with ``images/``,
``training.json`` and ``test.json``. Boxes become labels by :mod:`cellrim.datasets.boxes`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.datasets.base import Boxes, Listing, Problem, Sample, Truth
from cellrim.datasets.boxes import truth_from_boxes
from cellrim.datasets.records import image_size, reject_options
from cellrim.errors import DatasetError
from cellrim.io.images import read_image

FOLDER = "malaria"
ANNOTATIONS = ("training.json", "test.json")


class Bbbc041:
    """``images/*.png|jpg`` with ``training.json`` and ``test.json``, or one of the two."""

    name = "bbbc041"
    title = "BBBC041 v1: malaria smears, bounding boxes"
    licence = "CC BY-NC-SA 3.0"

    def matches(self, root: Path) -> bool:
        """Whether there is a list of boxes in the form of this archive."""
        return any(_looks_right(path) for path in _annotations(root))

    def read(self, root: Path, **options: Any) -> Listing:
        """List the images that have pixels and boxes.

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
                try:
                    sample = self._sample(record, annotation)
                except (DatasetError, OSError) as error:
                    problems.append(Problem(_record_name(record, annotation, number), str(error)))
                    continue
                if sample.name in samples:
                    problems.append(
                        Problem(sample.name, f"{annotation.name} has a second record of the image.")
                    )
                    continue
                samples[sample.name] = sample
        return Listing(self.name, tuple(samples.values()), tuple(problems))

    def _sample(self, record: Any, annotation: Path) -> Sample:
        try:
            pathname = record["image"]["pathname"]
            shape = (int(record["image"]["shape"]["r"]), int(record["image"]["shape"]["c"]))
            boxes = _boxes(record["objects"], shape)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"The record is not in the form of the archive: {error!r}."
            ) from error
        path = annotation.parent / pathname.lstrip("/")
        if not path.is_file():
            raise DatasetError(f"The image {pathname} is not there.")
        size = image_size(path)
        if size != shape:
            raise DatasetError(f"Expected {path.name} to be {shape}, but it is {size}.")
        return Sample(
            dataset=self.name,
            name=path.stem,
            paths=(path, annotation),
            kind="boxes",
            group=path.stem,
            modality="smear",
            licence=self.licence,
            read_image=partial(read_image, path),
            read_truth=partial(_read_truth, path, boxes),
        )


def _annotations(root: Path) -> tuple[Path, ...]:
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    return tuple(folder / name for name in ANNOTATIONS if (folder / name).is_file())


def _looks_right(path: Path) -> bool:
    with path.open("rb") as file:
        return b'"pathname"' in file.read(2000)


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
    try:
        return Path(record["image"]["pathname"]).stem
    except (KeyError, TypeError):
        return f"{annotation.name}[{number}]"


def _boxes(objects: Any, shape: tuple[int, int]) -> Boxes:
    corners = [
        [o["bounding_box"][end][axis] for end in ("minimum", "maximum") for axis in "rc"]
        for o in objects
    ]
    array: NDArray[np.int64] = np.array(corners, np.int64).reshape(-1, 4)
    array = np.clip(array, 0, np.array([*shape, *shape]))
    usable = (array[:, 2:] > array[:, :2]).all(axis=1)
    categories = tuple(str(o["category"]) for o, use in zip(objects, usable, strict=True) if use)
    return Boxes(array[usable], categories)


def _read_truth(path: Path, boxes: Boxes) -> Truth:
    image: Image = read_image(path)
    return truth_from_boxes(image.pixels, boxes)


READER = Bbbc041()
