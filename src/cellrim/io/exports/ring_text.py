"""Polygons as text: the corners of many cells at once, in the notation of a format."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cellrim.io.polygons import Outlines

# Cells that are written at once: bounds the memory.
_CELLS = 2048


@dataclass(frozen=True)
class RingText:
    """How a format writes the corners of a cell.

    Parameters
    ----------
    before, between, after
        What stands in front of x, between x and y, and behind y.
    corners, rings, parts
        What stands between the corners of a ring, the rings of a part, and the parts of a cell.
    closed
        Whether the first corner of a ring comes again at its end.
    """

    before: bytes
    between: bytes
    after: bytes
    corners: bytes
    rings: bytes
    parts: bytes
    closed: bool = False

    def write(self, outlines: Outlines) -> list[bytes]:
        """Write the corners of each cell, in the order of the cells."""
        low = int(outlines.corners.min(initial=0))
        numbers = np.arange(low, outlines.corners.max(initial=0) + 1)
        digits = numbers.astype(f"S{len(str(numbers[-1]))}")
        cells = range(0, len(outlines.ids), _CELLS)
        return [text for first in cells for text in self._write_some(outlines, first, digits, low)]

    def _write_some(
        self, outlines: Outlines, first: int, digits: NDArray[np.bytes_], low: int
    ) -> list[bytes]:
        """Write some cells from the ``first`` on; ``digits`` are the numbers from ``low`` on."""
        cells = outlines.cells[first : first + _CELLS + 1]
        rings = outlines.rings[cells[0] : cells[-1] + 1]
        ends = np.cumsum(np.diff(rings) + self.closed)
        begins = np.append(0, ends[:-1])
        at = np.arange(ends[-1]) + np.repeat(rings[:-1] - begins, np.diff(rings) + self.closed)
        if self.closed:
            at[ends - 1] = rings[:-1]
        rows = np.empty(len(at), self._row(digits.dtype))
        rows["apart"] = self.corners
        outer = outlines.outer[cells[0] : cells[-1]]
        rows["apart"][begins] = np.where(outer, self.parts, self.rings)
        begin = begins[cells[:-1] - cells[0]]
        rows["apart"][begin] = b""
        rows["before"], rows["between"], rows["after"] = self.before, self.between, self.after
        rows["x"], rows["y"] = digits[outlines.corners[at].T - low]
        characters = rows.view(np.uint8).reshape(len(at), -1)
        there = characters != 0  # fields are filled up with zeros
        text = characters[there].tobytes()
        lengths = np.add.reduceat(np.count_nonzero(there, axis=1), begin)
        return [text[a:b] for a, b in pairwise(np.append(0, np.cumsum(lengths)).tolist())]

    def _row(self, number: np.dtype[np.bytes_]) -> np.dtype[np.void]:
        """Fields of a corner, and of what stands in front of it."""
        longest = max(len(self.corners), len(self.rings), len(self.parts))
        return np.dtype(
            [
                ("apart", f"S{longest}"),
                ("before", f"S{len(self.before)}"),
                ("x", number),
                ("between", f"S{len(self.between)}"),
                ("y", number),
                ("after", f"S{len(self.after)}"),
            ]
        )
