"""Cells linked over time: which instance of a frame is which of the frame before, and divisions.

Two instances of consecutive frames are one cell where they overlap enough. Links are chosen
greedily by the intersection over union, best first, each instance in one link at most. A cell
divides where an instance that got no link lies mostly within a cell of the frame before whose own
link lies mostly within it too. All counts are taken over pixels and pairs at once: linear in the
pixels, no loop over cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.errors import InputError


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """When instances of two frames are one cell.

    Parameters
    ----------
    min_iou
        Least intersection over union of a cell with itself a frame later, 0..1.
    min_inside
        Part of the area of a daughter that must lie within its mother, 0..1.
    min_balance
        Least area of the smaller daughter, as a part of the larger one's, 0..1. Below it, the
        smaller is debris that split off and not a daughter.

    Raises
    ------
    InputError
        If a value is not between 0 and 1.
    """

    min_iou: float = 0.1
    min_inside: float = 0.5
    min_balance: float = 0.3

    def __post_init__(self) -> None:
        for name in ("min_iou", "min_inside", "min_balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Expected {name} from 0 to 1, but got {getattr(self, name)}.")


@dataclass(frozen=True)
class Tracks:
    """One row per track, in the order of the ids 1..n.

    Parameters
    ----------
    begin, end
        int64, ``(n,)``: first and last frame, counted from 0. A track is in every frame between.
    parent
        int64, ``(n,)``: the track that divided into this one; 0 where there is none.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    parent: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def divisions(self) -> int:
        """Number of tracks that divided."""
        return len(np.unique(self.parent[self.parent > 0]))


@dataclass(frozen=True)
class Links:
    """Which instances of one frame are which of the next.

    Parameters
    ----------
    before
        int64, ``(m + 1,)``: for each id of the later frame the id of the same cell in the earlier
        one, or 0. Entry 0 is the background.
    mother
        int64, ``(m + 1,)``: for each id of the later frame the id of the cell that divided into
        it, or 0.
    """

    before: NDArray[np.int64]
    mother: NDArray[np.int64]


class Tracker:
    """Links frames as they come: holds the frame before, and nothing of the ones before that.

    Parameters
    ----------
    options
        When instances are one cell.

    Examples
    --------
    >>> tracker = Tracker()
    >>> tracker.add(np.array([[0, 1, 1, 0, 2]], np.int32)).tolist()
    [0, 1, 2]
    >>> tracker.add(np.array([[2, 2, 0, 0, 0]], np.int32)).tolist()
    [0, 0, 1]
    """

    def __init__(self, options: LinkOptions | None = None) -> None:
        self._options = options or LinkOptions()
        self._frame = 0
        self._labels: Labels | None = None
        self._ids = np.zeros(1, np.int64)
        self._begin: list[NDArray[np.int64]] = []
        self._parent: list[NDArray[np.int64]] = []
        self._last = np.zeros(1, np.int64)

    def add(self, labels: Labels) -> NDArray[np.int64]:
        """Link the next frame.

        Parameters
        ----------
        labels
            int32, axes ``YX``, the same shape in every frame; ids should have no large gaps.

        Returns
        -------
        ndarray
            int64, ``(m + 1,)``: the track of each id, 0 for the background and for ids that are
            not there.

        Raises
        ------
        InputError
            If the shape is not that of the frames before.
        """
        present = np.bincount(labels.ravel(), minlength=1) > 0
        present[0] = False
        ids = np.zeros(len(present), np.int64)
        parents = np.zeros(len(present), np.int64)
        if self._labels is not None:
            links = link(self._labels, labels, self._options)
            ids = self._ids[links.before]
            parents = self._ids[links.mother]
        new = present & (ids == 0)
        ids[new] = len(self._last) + np.arange(np.count_nonzero(new))
        self._begin.append(np.full(np.count_nonzero(new), self._frame, np.int64))
        self._parent.append(parents[new])
        self._last = np.concatenate([self._last, self._begin[-1]])
        self._last[ids[present]] = self._frame
        self._labels, self._ids = labels, ids
        self._frame += 1
        return ids

    def tracks(self) -> Tracks:
        """Return all tracks of the frames so far."""
        empty = [np.zeros(0, np.int64)]
        return Tracks(
            np.concatenate(empty + self._begin),
            self._last[1:].copy(),
            np.concatenate(empty + self._parent),
        )


def link(before: Labels, after: Labels, options: LinkOptions | None = None) -> Links:
    """Link the instances of two consecutive frames.

    Parameters
    ----------
    before, after
        int32, axes ``YX``, of one shape.
    options
        When instances are one cell.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if before.shape != after.shape:
        raise InputError(f"Expected frames of one shape, but got {before.shape} and {after.shape}.")
    options = options or LinkOptions()
    area_a = np.bincount(before.ravel(), minlength=1)
    area_b = np.bincount(after.ravel(), minlength=1)
    a, b, shared = overlaps(before, after)
    iou = shared / (area_a[a] + area_b[b] - shared)
    chosen = _best_first(a, b, np.where(iou >= options.min_iou, iou, 0.0))
    own = np.zeros(len(area_b), np.int64)
    own[b[chosen]] = a[chosen]
    mother = _mothers(a, b, shared / area_b[b], area_b, own=own, options=options)
    own[mother > 0] = 0
    return Links(own, mother)


def overlaps(
    before: Labels, after: Labels
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels that each pair of instances shares.

    Returns
    -------
    a, b, shared
        int64, one entry for each pair that overlaps: id in ``before``, id in ``after``, pixels.
        Sorted by ``a``, then ``b``.

    Examples
    --------
    >>> overlaps(np.array([[1, 1, 2]], np.int32), np.array([[5, 3, 3]], np.int32))
    (array([1, 1, 2]), array([3, 5, 3]), array([1, 1, 1]))
    """
    both = (before > 0) & (after > 0)
    width = np.int64(after.max(initial=0)) + 1
    keys, shared = np.unique(before[both] * width + after[both], return_counts=True)
    a, b = np.divmod(keys.astype(np.int64), width)
    return a, b, shared.astype(np.int64)


def _best_first(
    a: NDArray[np.int64], b: NDArray[np.int64], score: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Choose pairs greedily by score, each element once; returns their positions.

    In each round all pairs are taken that are the best of both their elements, which is what
    going through the sorted pairs one by one gives. Pairs of score 0 are never taken. Among
    equal scores the first pair wins.
    """
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    left = np.flatnonzero(score > 0)
    chosen = [np.zeros(0, np.int64)]
    while len(left):
        best_a = np.full(int(a[left].max()) + 1, len(rank))
        best_b = np.full(int(b[left].max()) + 1, len(rank))
        np.minimum.at(best_a, a[left], rank[left])
        np.minimum.at(best_b, b[left], rank[left])
        taken = left[(best_a[a[left]] == rank[left]) & (best_b[b[left]] == rank[left])]
        chosen.append(taken)
        left = left[~np.isin(a[left], a[taken]) & ~np.isin(b[left], b[taken])]
    return np.concatenate(chosen)


def _mothers(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    inside: NDArray[np.float64],
    area_b: NDArray[np.int64],
    *,
    own: NDArray[np.int64],
    options: LinkOptions,
) -> NDArray[np.int64]:
    """Find divisions: for each later id the id of the cell that divided into it, or 0.

    Of several instances without a link within one cell, the largest is the second daughter.
    """
    mother = np.zeros(len(area_b), np.int64)
    deep = inside >= options.min_inside
    first = deep & (own[b] == a)
    elder = np.zeros(int(a.max(initial=0)) + 1, np.int64)  # by mother: the daughter with the link
    elder[a[first]] = b[first]
    candidate = np.flatnonzero(deep & (own[b] == 0) & (elder[a] > 0))
    sizes, others = area_b[b[candidate]], area_b[elder[a[candidate]]]
    balanced = np.minimum(sizes, others) >= options.min_balance * np.maximum(sizes, others)
    candidate = candidate[balanced]
    candidate = candidate[np.lexsort((b[candidate], -area_b[b[candidate]], a[candidate]))]
    one_each = candidate[np.unique(a[candidate], return_index=True)[1]]
    mother[b[one_each]] = a[one_each]
    mother[elder[a[one_each]]] = a[one_each]
    return mother
