"""The submission table of the Sartorius competition: one row of run lengths per cell.

Runs are counted from 1 along the rows; no pixel is in two rows of one image, since it comes from
a label image.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cellrim.errors import CellrimError, ImageReadError, InputError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellList, CellSet, Format, ShapeOf
from cellrim.io.exports.ordered import in_order
from cellrim.io.polygons import paint_runs
from cellrim.io.rle import sartorius_runs, sartorius_texts
from cellrim.io.tables import read_csv

_NAME, _RUNS = "id", "predicted"
# The competition's own table of the truth calls it so.
_ANNOTATION = "annotation"


def _write(path: Path, cells: CellSet) -> None:
    _write_many(path, [cells])


def _write_many(path: Path, sets: Iterable[CellSet]) -> None:
    _write_lists(path, (cells.listed() for cells in sets))


def _write_list(path: Path, cells: CellList) -> None:
    _write_lists(path, [cells])


def _write_lists(path: Path, lists: Iterable[CellList]) -> None:
    with (
        atomic_path(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((_NAME, _RUNS))
        for cells in lists:
            encode = partial(sartorius_texts, shape=cells.shape)
            empty = True
            for _, text in in_order(cells, encode, folder=path.parent):
                writer.writerow((cells.name, text.decode()))
                empty = False
            if empty:  # an image without cells has a row
                writer.writerow((cells.name, ""))


def _read(path: Path, shape: ShapeOf) -> Iterator[CellSet]:
    try:
        table = read_csv(path)
    except InputError as error:
        raise ImageReadError(str(error)) from error
    runs = next((name for name in (_RUNS, _ANNOTATION) if name in table), None)
    if runs is None or _NAME not in table:
        raise ImageReadError(
            f"Cannot use {path}: expected the columns {_NAME} and {_RUNS}, but it has "
            f"{', '.join(table)}."
        )
    rows: dict[str, list[str]] = {}
    for name, text in zip(table[_NAME].tolist(), table[runs].tolist(), strict=True):
        empty = text != text  # a column without a single run is read as numbers
        rows.setdefault(str(name), []).append("" if empty else str(text))
    for name, texts in rows.items():
        yield _paint(path, name, texts, shape(name))


def _paint(path: Path, name: str, texts: list[str], shape: tuple[int, int]) -> CellSet:
    try:
        pairs = [sartorius_runs(text, shape[0] * shape[1]) for text in texts if text.strip()]
    except CellrimError as error:
        raise ImageReadError(f"Cannot use {path}, image {name}: {error}") from error
    empty = np.zeros(0, np.int64)
    starts = np.concatenate([empty, *(start for start, _ in pairs)])
    lengths = np.concatenate([empty, *(length for _, length in pairs)])
    ids = np.repeat(np.arange(1, len(pairs) + 1), [len(start) for start, _ in pairs])
    return CellSet(name, paint_runs(starts, lengths, ids, shape))


FORMAT = Format(
    kind="rle",
    ending="_rle.csv",
    title="Sartorius submission table; Kaggle",
    write=_write,
    write_list=_write_list,
    read=_read,
    write_many=_write_many,
)
