"""The cells of a label image part by part, each whole in one part: the image may be of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels


@dataclass(frozen=True, slots=True, eq=False)
class CellPart:
    """Some cells of an image, cut out whole.

    Parameters
    ----------
    ids
        int32, ``(n,)``: the cells, ascending.
    labels
        int32, axes ``YX``: a window of the image that holds these cells, and no others.
    around
        The same window with all that is in it; one pixel wider than the cells on every side,
        where the image goes on.
    origin
        The window's first row and column in the image.
    """

    ids: NDArray[np.int32]
    labels: Labels
    around: Labels
    origin: tuple[int, int]


def whole(labels: Labels) -> CellPart:
    """Return all cells of a label image as one part."""
    ids = np.unique(labels)
    return CellPart(ids[ids > 0], labels, labels, (0, 0))


def cut_out(
    read: Callable[[slice, slice], Labels],
    shape: tuple[int, int],
    boxes: NDArray[np.int64],
    *,
    edge: int,
) -> Iterator[CellPart]:
    """Cut out each cell of a label image once: with those whose boxes begin in the same square.

    Parameters
    ----------
    read
        Returns the labels of some rows and columns, int32, axes ``YX``.
    shape
        Height and width of the label image.
    boxes
        int64, ``(n, 4)``: ``y0 x0 y1 x1`` of the cells 1..n, ends exclusive.
    edge
        Edge of the squares in pixels.

    Yields
    ------
    CellPart
        Square by square, row by row. As large as a square and the cells that reach beyond it.
    """
    per_row = -(-shape[1] // edge)
    owner = boxes[:, 0] // edge * per_row + boxes[:, 1] // edge
    order = np.argsort(owner, kind="stable")
    for begin, end in pairwise(np.flatnonzero(np.diff(owner[order], prepend=-1, append=-1))):
        ids = np.sort(order[begin:end]) + 1
        low = np.maximum(boxes[ids - 1, :2].min(axis=0) - 1, 0).tolist()
        high = np.minimum(boxes[ids - 1, 2:].max(axis=0) + 1, shape).tolist()
        around = read(slice(low[0], high[0]), slice(low[1], high[1]))
        labels = np.where(np.isin(around, ids), around, 0)
        yield CellPart(ids.astype(np.int32), labels, around, (low[0], low[1]))
