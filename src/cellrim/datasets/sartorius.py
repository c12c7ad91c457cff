"""Sartorius Cell Instance Segmentation (Kaggle 2021): neurons in phase contrast, run lengths.

https://www.kaggle.com/c/sartorius-cell-instance-segmentation. ``train.csv`` has one row a cell,
with its pixels as in :func:`cellrim.io.rle.decode_sartorius`. Cells overlap: a pixel belongs to the
first row that has it. Holes are holes. A row with an empty annotation is an image without a cell.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.datasets.records import (
    by_stem,
    image_size,
    merge_masks,
    missing_annotations,
    read_planes,
    reject_options,
)
from cellrim.errors import DatasetError, ImageReadError
from cellrim.io.images import IMAGE_SUFFIXES
from cellrim.io.rle import decode_sartorius

TABLE = "train.csv"
FOLDERS = ("train", "test")
COLUMNS = ("id", "annotation", "width", "height")
# What holds images of one well together, the finest that is known.
GROUP_COLUMN = "sample_id"

Row = Mapping[str, str]


class Sartorius:
    """``train.csv``, ``train/<id>.png`` and ``test/<id>.png`` (without annotation)."""

    name = "sartorius"
    title = "Sartorius (Kaggle 2021): neurons in phase contrast, run lengths"
    licence = "competition rules: do not redistribute"

    def matches(self, root: Path) -> bool:
        """Whether there is a table with the columns that are needed."""
        return set(COLUMNS) <= set(_header(root / TABLE))

    def read(self, root: Path, **options: Any) -> Listing:
        """List the images; those whose rows are here and whose pixels are not are problems.

        Raises
        ------
        DatasetError
            If the table cannot be read.
        InputError
            If there is an option; this reader has none.
        """
        reject_options(self.name, options)
        rows = _rows_by_image(root / TABLE)
        files = {folder: by_stem(root / folder, IMAGE_SUFFIXES) for folder in FOLDERS}
        samples = []
        problems = list(missing_annotations(files["train"], rows, what=f"row in {TABLE}"))
        for name, cells in rows.items():
            paths = files["train"].get(name)
            if paths is None:
                problems.append(Problem(name, f"It has {len(cells)} rows in {TABLE}, no pixels."))
                continue
            problem = _problem(name, cells, paths)
            if problem:
                problems.append(problem)
                continue
            samples.append(self._sample(name, paths[0], cells))
        without = [(n, p[0]) for n, p in files["test"].items() if n not in rows]
        if not rows:
            without += [(n, p[0]) for n, p in files["train"].items()]
        samples += [self._sample(name, path, ()) for name, path in without]
        return Listing(self.name, tuple(samples), tuple(problems))

    def _sample(self, name: str, path: Path, cells: Sequence[Row]) -> Sample:
        group = next(filter(None, (row.get(GROUP_COLUMN) for row in cells)), name)
        runs = tuple(row["annotation"] for row in cells)
        return Sample(
            dataset=self.name,
            name=name,
            paths=(path,),
            kind="rle" if cells else "none",
            group=group,
            modality="phase-contrast",
            licence=self.licence,
            read_image=partial(read_planes, (path,), ("grey",)),
            read_truth=partial(read_truth, runs, image=path) if cells else None,
        )


READER = Sartorius()


def read_truth(runs: tuple[str, ...], *, image: Path) -> Truth:
    """Decode the rows of one image.

    Raises
    ------
    ImageReadError
        If the image cannot be opened.
    DatasetError
        If a row is malformed; it says which.
    """
    shape = image_size(image)
    return Truth(merge_masks((_decode(n, text, shape) for n, text in enumerate(runs, 1)), shape))


def _decode(number: int, text: str, shape: tuple[int, int]) -> Any:
    try:
        return decode_sartorius(text, shape)
    except DatasetError as error:
        raise DatasetError(f"Cell {number}: {error}") from error


def _header(table: Path) -> list[str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _rows_by_image(table: Path) -> dict[str, list[Row]]:
    """Rows of each image in the order of the table; the order decides whose a shared pixel is."""
    rows: dict[str, list[Row]] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                cells = {key: value or "" for key, value in row.items() if isinstance(key, str)}
                rows.setdefault(cells["id"], []).append(cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"Cannot read {table}: {error}.") from error
    return rows


def _problem(name: str, cells: Sequence[Row], paths: Sequence[Path]) -> Problem | None:
    if len(paths) > 1:
        return Problem(name, f"More than one file has this name: {[p.name for p in paths]}.")
    try:
        height, width = image_size(paths[0])
    except ImageReadError as error:
        return Problem(name, str(error))
    stated = {(row["height"], row["width"]) for row in cells}
    if stated != {(str(height), str(width))}:
        sizes = " and ".join(f"{h} x {w}" for h, w in sorted(stated))
        return Problem(name, f"{TABLE} says {sizes}, but {paths[0].name} is {height} x {width}.")
    return None
