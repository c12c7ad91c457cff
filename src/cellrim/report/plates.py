"""Which well of which plate an image shows, read from its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_ROWS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + tuple(f"A{c}" for c in "ABCDEF")
# A01, P24, AF48, also A1 and B-02; no letter or digit beside it.
_LETTERS = re.compile(r"(?<![A-Za-z0-9])([A-P]|A[A-F])-?(\d{1,2})(?![A-Za-z0-9])")
# A field that follows without a mark: A01f02, B03s1, C04_..., as several microscopes write it.
_WITH_SITE = re.compile(r"(?<![A-Za-z0-9])([A-P]|A[A-F])(\d{2,3})(?=[fswzt]\d)", re.IGNORECASE)
# r01c02f03, as Opera and Harmony name files.
_NUMBERS = re.compile(r"(?<![A-Za-z0-9])r(\d{1,2})c(\d{1,2})(?!\d)", re.IGNORECASE)
_MOST_COLUMNS = 48
# Rows and columns of the plates that are made.
_FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))


@dataclass(frozen=True, slots=True)
class Well:
    """One well.

    Parameters
    ----------
    plate
        Name of the plate; empty where the names say none.
    row, column
        Counted from 0.
    """

    plate: str
    row: int
    column: int

    @property
    def name(self) -> str:
        """As people write it.

        Examples
        --------
        >>> Well("", 0, 0).name, Well("", 15, 23).name
        ('A01', 'P24')
        """
        return f"{_ROWS[self.row]}{self.column + 1:02d}"


def row_name(row: int) -> str:
    """Letter of a row, counted from 0."""
    return _ROWS[row]


def find_wells(names: Iterable[str]) -> dict[str, Well]:
    """Read the well of each image from its name.

    Parameters
    ----------
    names
        Paths with ``/``, without suffix, such as ``plate1/A01_s1``.

    Returns
    -------
    dict
        Name to well, of those that carry one. Empty where fewer than half do, or all show the same
        well: then what looks like a well is something else. The plate is the folder and what
        stands before the well; where that differs for every image, the folder alone.

    Examples
    --------
    >>> wells = find_wells(["p1/A01_s1", "p1/A01_s2", "p1/B02_s1"])
    >>> wells["p1/B02_s1"]
    Well(plate='p1', row=1, column=1)
    """
    all_names = list(names)
    found = {name: place for name in all_names if (place := _place(name)) is not None}
    places = {place[1:] for place in found.values()}
    if 2 * len(found) < len(all_names) or len(places) < 2:
        return {}
    plates = Counter((_folder(name), before) for name, (before, _, _) in found.items())
    # Fewer than two images of a plate: what stands before the well is a running number.
    named = len(found) >= 2 * len(plates)
    return {
        name: Well(_plate(_folder(name), before if named else ""), row, column)
        for name, (before, row, column) in found.items()
    }


def plate_format(wells: Iterable[Well]) -> tuple[int, int]:
    """Rows and columns of the smallest plate that has all of these wells.

    Examples
    --------
    >>> plate_format([Well("", 7, 11)])
    (8, 12)
    """
    places = [(w.row, w.column) for w in wells]
    rows, columns = (max(numbers) + 1 for numbers in zip(*places, strict=True))
    return next(size for size in _FORMATS if size[0] >= rows and size[1] >= columns)


def _place(name: str) -> tuple[str, int, int] | None:
    """Read what stands before the well, and its row and column."""
    stem = PurePosixPath(name).name
    for pattern in (_NUMBERS, _WITH_SITE, _LETTERS):
        places = [
            (match, _number_of_row(match[1]), int(match[2]) - 1) for match in pattern.finditer(stem)
        ]
        places = [
            (match, row, column)
            for match, row, column in places
            if 0 <= row < len(_ROWS) and 0 <= column < _MOST_COLUMNS
        ]
        if places:
            match, row, column = min(places, key=lambda place: _doubt(place[0]))
            return stem[: match.start()].strip(" _-."), row, column
    return None


def _number_of_row(text: str) -> int:
    return int(text) - 1 if text.isdigit() else _ROWS.index(text.upper())


def _doubt(match: re.Match[str]) -> tuple[bool, bool]:
    """Two digits are surest; P1 may be a plate or a position."""
    return len(match[2]) < 2, match[1] == "P"


def _folder(name: str) -> str:
    folder = PurePosixPath(name).parent.as_posix()
    return "" if folder == "." else folder


def _plate(folder: str, before: str) -> str:
    return "/".join(part for part in (folder, before) if part)
