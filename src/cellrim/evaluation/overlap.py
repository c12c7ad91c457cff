"""Which predicted instance covers how much of which true one, and which belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, relabel

# IoU thresholds in twentieths: exact in whole numbers, so that 0.5 is met by exactly one half.
TWENTIETHS = tuple(range(10, 20))
THRESHOLDS = tuple(k / 20 for k in TWENTIETHS)

# A piece counts as a part of a cell from this share of it on (the "0.1" of Caicedo et al.,
# Cytometry A 95, 2019, for splits and merges), so that specks are no splits.
_PART = 0.1


@dataclass(frozen=True)
class Overlap:
    """Sparse table of the pixels that predicted and true instances share.

    Instances are counted from 0 in the order of their ids.

    Parameters
    ----------
    predicted, truth
        Of each pair with a common pixel: the instances.
    shared
        Of each pair: the number of common pixels.
    predicted_areas, truth_areas
        Area of each instance in pixels.
    """

    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    shared: NDArray[np.int64]
    predicted_areas: NDArray[np.int64]
    truth_areas: NDArray[np.int64]

    @property
    def union(self) -> NDArray[np.int64]:
        """Of each pair: the number of pixels in either."""
        both: NDArray[np.int64] = (
            self.predicted_areas[self.predicted] + self.truth_areas[self.truth] - self.shared
        )
        return both

    @property
    def iou(self) -> NDArray[np.float64]:
        """Of each pair: intersection over union."""
        ratio: NDArray[np.float64] = self.shared / self.union
        return ratio


def find_overlap(predicted: Labels, truth: Labels) -> Overlap:
    """Count the common pixels of all pairs of instances.

    Parameters
    ----------
    predicted, truth
        int32, axes ``YX``, of one shape; ids may have gaps.

    Notes
    -----
    Pairs are counted by runs of pixels in the rows: linear in pixels, whatever the number of
    instances.
    """
    p, t = relabel(predicted), relabel(truth)
    begins = np.ones(p.shape, bool)
    np.not_equal(p[:, 1:], p[:, :-1], out=begins[:, 1:])
    begins[:, 1:] |= t[:, 1:] != t[:, :-1]
    bounds = np.flatnonzero(begins)
    length = np.diff(bounds, append=p.size)
    p, t = p.ravel()[bounds], t.ravel()[bounds]
    areas = [np.bincount(v, weights=length, minlength=1)[1:].astype(np.int64) for v in (p, t)]
    both = (p > 0) & (t > 0)
    pairs = _add_up(t[both] - 1, p[both] - 1, length[both], shape=(len(areas[1]), len(areas[0])))
    return Overlap(pairs[1], pairs[0], pairs[2], *areas)


def match(overlap: Overlap) -> NDArray[np.int64]:
    """Match instances one to one at an IoU of 0.5, as many as possible.

    Returns
    -------
    ndarray
        Positions in the table of pairs.

    Notes
    -----
    Above 0.5 a partner is unique: two instances of one image are disjoint, and only one of them
    can have more than half of a third. At exactly 0.5 an instance has two candidates only if it is
    made of two others, each half of it, which then have no other candidate themselves. Any of the
    two will do, so taking the first is an optimal assignment. The matches of higher thresholds are
    those of 0.5 that reach them.
    """
    pairs = np.flatnonzero(2 * overlap.shared >= overlap.union)
    pairs = pairs[np.unique(overlap.predicted[pairs], return_index=True)[1]]
    kept: NDArray[np.int64] = pairs[np.unique(overlap.truth[pairs], return_index=True)[1]]
    return kept


def reached(shared: NDArray[np.int64], union: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each pair reaches each of :data:`THRESHOLDS`; bool, (pairs, thresholds)."""
    result: NDArray[np.bool_] = 20 * shared[:, np.newaxis] >= union[:, np.newaxis] * TWENTIETHS
    return result


def aggregated_jaccard(overlap: Overlap, *, free: NDArray[np.bool_]) -> tuple[int, int]:
    """Numerator and denominator of the aggregated Jaccard index.

    Each true instance takes the predicted one of the largest IoU (of the larger intersection where
    equal); predicted ones that nobody takes are added to the union.

    Parameters
    ----------
    overlap
        The table of pairs.
    free
        Of each predicted instance: it costs nothing where nobody takes it.

    References
    ----------
    Kumar et al., "A dataset and a technique for generalized nuclear segmentation for computational
    pathology", IEEE Transactions on Medical Imaging 36, 2017, algorithm 1.
    """
    order = np.lexsort((overlap.shared, overlap.iou, overlap.truth))
    last = np.diff(overlap.truth[order], append=-1) != 0
    best = order[last]
    lonely = np.ones(len(overlap.truth_areas), bool)
    lonely[overlap.truth[best]] = False
    unused = ~free
    unused[overlap.predicted[best]] = False
    union = (
        overlap.union[best].sum()
        + overlap.truth_areas[lonely].sum()
        + overlap.predicted_areas[unused].sum()
    )
    return int(overlap.shared[best].sum()), int(union)


def count_splits(overlap: Overlap) -> tuple[int, int]:
    """Count the true instances that are split, and the predicted ones that merge several.

    A true instance is split where two or more predicted ones lie in it with more than half of
    themselves and cover at least a tenth of it each. Merges are the same with the roles exchanged.
    """
    parts, wholes = split_pairs(overlap)
    return len(np.unique(overlap.truth[parts])), len(np.unique(overlap.predicted[wholes]))


def split_pairs(overlap: Overlap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find which predicted instances split which true one, and which merge which.

    Returns
    -------
    splits, merges
        Positions in the table of pairs, as :func:`count_splits` defines them: each part with the
        true instance it is a part of, and each true instance with the predicted one that holds it
        and others.
    """
    of_predicted = overlap.shared / overlap.predicted_areas[overlap.predicted]
    of_truth = overlap.shared / overlap.truth_areas[overlap.truth]
    parts = (of_predicted > 0.5) & (of_truth >= _PART)
    wholes = (of_truth > 0.5) & (of_predicted >= _PART)
    many = np.bincount(overlap.truth[parts], minlength=len(overlap.truth_areas)) > 1
    several = np.bincount(overlap.predicted[wholes], minlength=len(overlap.predicted_areas)) > 1
    return (
        np.flatnonzero(parts & many[overlap.truth]),
        np.flatnonzero(wholes & several[overlap.predicted]),
    )


def _add_up(
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[np.int64],
    *,
    shape: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sum the values of equal (row, column); sorted by row, then column."""
    if not len(rows):
        empty = np.zeros(0, np.int64)
        return empty, empty, empty
    from scipy import sparse

    table = sparse.coo_matrix((values, (rows, columns)), shape=shape).tocsr()
    table.sum_duplicates()
    table = table.tocoo()
    return table.row.astype(np.int64), table.col.astype(np.int64), table.data.astype(np.int64)
