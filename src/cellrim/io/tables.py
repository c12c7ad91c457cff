"""Tables in and out: CSV files with one header line, as spreadsheets and pandas read them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import InputError, MissingExtraError
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


def join_csv(path: Path, parts: Sequence[tuple[Mapping[str, str], Path]]) -> None:
    """Write the rows of several tables under one header, whole or not at all.

    Parameters
    ----------
    path
        Where to.
    parts
        Columns to put in front of each row, and the table. A column that a table lacks is empty in
        its rows. Rows go through one by one.

    Raises
    ------
    InputError
        If a table cannot be read.
    OutputError
        If the file cannot be written.
    """
    header = list(dict.fromkeys(n for front, part in parts for n in (*front, *_header(part))))
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        for front, part in parts:
            with part.open(newline="", encoding="utf-8") as rows:
                writer.writerows({**front, **row} for row in csv.DictReader(rows))


def write_parquet(path: Path, source: Path, *, kinds: Mapping[str, str]) -> None:
    """Write a CSV table as Parquet, whole or not at all.

    Parameters
    ----------
    path
        Where to.
    source
        The CSV table; goes through piece by piece.
    kinds
        Column to Arrow type (``int64``, ``bool``, ``string``); float64 for all others. Empty
        fields are null.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    InputError
        If the table cannot be read.
    OutputError
        If the file cannot be written.
    """
    check_parquet()
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    schema = pyarrow.schema(
        [(name, pyarrow.type_for_alias(kinds.get(name, "float64"))) for name in _header(source)]
    )
    # Left to itself, Arrow takes text such as "nan" and "NA" for nothing, which may be names.
    types = arrow_csv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, null_values=[""]
    )
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    try:
        with (
            atomic_path(path) as partial,
            parquet.ParquetWriter(partial, schema) as writer,
            arrow_csv.open_csv(source, parse_options=parse, convert_options=types) as reader,
        ):
            for batch in reader:
                writer.write_batch(batch)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"Cannot read the table {source}: {error}.") from error


def check_parquet() -> None:
    """Check that Parquet can be written here.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise MissingExtraError("Parquet", "tables")


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error, StopIteration) as error:
        raise InputError(f"Cannot read the header of the table {path}: {error}.") from error


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
