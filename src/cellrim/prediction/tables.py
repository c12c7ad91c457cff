"""The tables of a run: all cells, and one row per image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.io.atomic import remove
from cellrim.io.exports import FORMATS
from cellrim.io.tables import check_parquet, join_csv, write_csv, write_parquet
from cellrim.measure.columns import ARROW_TYPES
from cellrim.prediction.records import Record

CELLS_NAME = "cells.csv"
IMAGES_NAME = "images.csv"
_CELLS_ENDING = FORMATS["cells"].ending


def check_formats(kinds: Iterable[str], *, parquet: bool) -> None:
    """Check that these formats can be written here, before any work.

    Raises
    ------
    MissingExtraError
        If a package is missing.
    """
    for kind in kinds:
        FORMATS[kind].check_installed()
    if parquet:
        check_parquet()


def remove_tables(folder: Path) -> None:
    """Remove the tables of an earlier run, which would not fit a new one.

    Raises
    ------
    OutputError
        If one cannot be removed.
    """
    for name in (CELLS_NAME, IMAGES_NAME):
        for suffix in (".csv", ".parquet"):
            remove((folder / name).with_suffix(suffix))


def write_tables(folder: Path, records: Sequence[Record], *, parquet: bool) -> None:
    """Write ``cells.csv``, where cells were measured, and ``images.csv``.

    Parameters
    ----------
    folder
        The output folder, which holds the tables of the images.
    records
        What became of the images.
    parquet
        Whether to write both as Parquet too.

    Raises
    ------
    InputError
        If the table of an image is gone.
    OutputError
        If a table cannot be written.
    """
    parts = [
        ({"image": record.target}, folder / output)
        for record in records
        for output in record.outputs
        if output.endswith(_CELLS_ENDING)
    ]
    if parts:
        write_joined(folder / CELLS_NAME, parts, parquet=parquet)
    rows = [
        image_row(
            record.target,
            record.source,
            error=record.error,
            flags=record.flags,
            summary={"cells": record.cells, **record.summary},
            quality=record.quality,
        )
        for record in records
    ]
    write_rows(folder / IMAGES_NAME, rows, parquet=parquet)


def image_row(
    image: str,
    source: str,
    *,
    error: str | None,
    flags: Sequence[str] = (),
    summary: Mapping[str, object] | None = None,
    quality: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Make one row of the table of images; :data:`cellrim.measure.columns.IMAGE_COLUMNS`.

    Parameters
    ----------
    image, source
        Name of the image in the tables, and its file.
    error
        Why there are no results; None where there are.
    flags, quality
        Of :mod:`cellrim.measure.quality`, the numbers as :meth:`Quality.as_numbers` gives them.
    summary
        Numbers of :func:`cellrim.measure.summarise`.
    """
    return {
        "image": image,
        "source": source,
        "status": "ok" if error is None else "failed",
        "error": error,
        "flags": "; ".join(flags),
        **(summary or {}),
        **{f"quality_{name}": value for name, value in (quality or {}).items()},
    }


def write_joined(
    path: Path, parts: Sequence[tuple[Mapping[str, str], Path]], *, parquet: bool
) -> None:
    """Join CSV tables as :func:`~cellrim.io.tables.join_csv` does, and as Parquet too if asked."""
    join_csv(path, parts)
    if parquet:
        write_parquet(path.with_suffix(".parquet"), path, kinds=ARROW_TYPES)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]], *, parquet: bool) -> None:
    """Write rows as CSV, and as Parquet too if asked; None and what a row lacks is empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    write_csv(path, {name: _column([row.get(name) for row in rows]) for name in names})
    if parquet:
        write_parquet(path.with_suffix(".parquet"), path, kinds=ARROW_TYPES)


def _column(values: list[object]) -> NDArray[Any]:
    """Make an array; floats where there is one, text with empty fields where that is all."""
    numbers = [v for v in values if v is not None]
    if any(isinstance(v, float) for v in numbers):
        return np.array([np.nan if v is None else v for v in values], np.float64)
    return np.array(["" if v is None else v for v in values], object)
