"""Runs: the horizontal pieces of cells, over which measurements are summed instead of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels


@dataclass(frozen=True)
class Runs:
    """Horizontal runs of pixels of one cell, ordered by cell, then row, then column.

    Parameters
    ----------
    ids
        The ids that are present, ascending.
    cell
        Of each run, the position of its id in ``ids``.
    row, start, length
        Of each run, in pixels.
    shape
        Height and width of the label image.
    """

    ids: NDArray[np.int32]
    cell: NDArray[np.int64]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    shape: tuple[int, int]

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Of each cell, the position of its first run."""
        return np.searchsorted(self.cell, np.arange(len(self.ids)))

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """Pixels of each cell."""
        return np.add.reduceat(self.length, self.first) if len(self.ids) else self.length[:0]

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum over the runs of each cell of one value per run."""
        sums = np.bincount(self.cell, weights=values, minlength=len(self.ids))
        return sums.astype(np.float64, copy=False)


def find_runs(labels: Labels) -> Runs:
    """Find the runs of every cell.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background. Ids may have gaps, cells several parts.
    """
    height, width = labels.shape
    begins = np.ones((height, width), bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    bounds = np.flatnonzero(begins)
    value = labels.ravel()[bounds]
    length = np.diff(bounds, append=labels.size)
    kept = np.flatnonzero(value > 0)
    kept = kept[np.argsort(value[kept], kind="stable")]
    value = value[kept]
    fresh = np.diff(value, prepend=0) != 0
    row, start = np.divmod(bounds[kept], max(width, 1))
    return Runs(
        ids=value[fresh],
        cell=np.cumsum(fresh) - 1,
        row=row,
        start=start,
        length=length[kept],
        shape=(height, width),
    )
