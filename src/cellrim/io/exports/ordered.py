"""Cells that come part by part, encoded and brought to the order of their ids."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from cellrim.core.parts import CellPart
from cellrim.io.exports.base import CellList


def in_order(
    cells: CellList, encode: Callable[[CellPart], Sequence[str | bytes]], *, folder: Path
) -> Iterator[tuple[int, bytes]]:
    """Encode each cell, and give them in the order of their ids.

    Parameters
    ----------
    cells
        The cells.
    encode
        Encodes each cell of a part, in the order of the ids; text becomes UTF-8.
    folder
        Where a temporary file is made for cells of several parts, which nobody else sees.

    Yields
    ------
    tuple
        Id and encoded cell.
    """
    parts = iter(cells.parts())
    first = list(islice(parts, 2))
    if len(first) > 1:
        yield from _spooled(chain(first, parts), encode, folder)
        return
    for part in first:  # is in order
        yield from zip(part.ids.tolist(), map(_as_bytes, encode(part)), strict=True)


def _spooled(
    parts: Iterator[CellPart], encode: Callable[[CellPart], Sequence[str | bytes]], folder: Path
) -> Iterator[tuple[int, bytes]]:
    ids, sizes = [], []
    with tempfile.TemporaryFile(dir=folder) as file:
        for part in parts:
            encoded = [_as_bytes(item) for item in encode(part)]
            file.writelines(encoded)
            ids.append(part.ids)
            sizes.append(np.array([len(item) for item in encoded], np.int64))
        size = np.concatenate(sizes)
        start, number = np.cumsum(size) - size, np.concatenate(ids)
        order = np.argsort(number)
        rows = zip(*(column[order].tolist() for column in (number, start, size)), strict=True)
        for cell, begin, length in rows:
            file.seek(begin)
            yield cell, file.read(length)


def _as_bytes(item: str | bytes) -> bytes:
    return item.encode("utf-8") if isinstance(item, str) else item
