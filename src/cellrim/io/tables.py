"""Tables in and out: CSV files with one header line, as spreadsheets and pandas read them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError
from cellrim.io.atomic import atomic_path

# What float32 resolves; more digits are noise in any measurement of pixels.
_FLOAT_FORMAT = ".7g"


def write_csv(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns of equal length as CSV, whole or not at all.

    Parameters
    ----------
    path
        Where to; the folder is created where missing.
    columns
        Names and one-dimensional arrays of integers, floats, bools or strings. Floats are written
        with seven significant digits, NaN as an empty field.

    Raises
    ------
    InputError
        If the columns differ in length.
    OutputError
        If the file cannot be written.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"Expected columns of equal length, but got {lengths}.")
    texts = [_texts(np.asarray(values)) for values in columns.values()]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*texts, strict=True))


def read_csv(path: Path) -> dict[str, NDArray[Any]]:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path
        As :func:`write_csv` writes it, or any other tool with commas.

    Returns
    -------
    dict
        One array per column: int64 where all fields are whole numbers, bool where all are ``True``
        or ``False``, float64 where all are numbers or empty (NaN), else str.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, or has rows of another length than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the table {path}: {error}.") from error
    if not rows:
        raise InputError(f"Expected a table with a header line in {path}, but it is empty.")
    header, body = rows[0], [row for row in rows[1:] if row]
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise InputError(
                f"Expected {len(header)} fields in row {number} of {path}, but got {len(row)}."
            )
    fields = zip(*body, strict=True) if body else ((),) * len(header)
    return {name: _parsed(texts) for name, texts in zip(header, fields, strict=True)}


def _texts(values: NDArray[Any]) -> Sequence[str]:
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    return ["" if v != v else format(v, _FLOAT_FORMAT) for v in values.tolist()]


def _parsed(texts: Sequence[str]) -> NDArray[Any]:
    if not texts:
        return np.empty(0, np.float64)
    if all(text in ("True", "False") for text in texts):
        return np.array([text == "True" for text in texts])
    numbers: tuple[Callable[[str], Any], ...] = (int, _number)
    for convert, dtype in zip(numbers, (np.int64, np.float64), strict=True):
        try:
            return np.array([convert(text) for text in texts], dtype)
        except (ValueError, OverflowError):
            continue
    return np.array(texts, np.str_)


def _number(text: str) -> float:
    return float(text) if text.strip() else float("nan")
