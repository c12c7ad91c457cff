"""Labels from the network's scale back to the input's, with outlines as fine as the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels

# Rows are done in blocks of about this many pixels, which bounds the memory.
_BLOCK_PIXELS = 1 << 20
_ONE = np.float32(1)


@dataclass(frozen=True, slots=True)
class Taps:
    """The two neighbours of each output pixel along one axis, and the second one's weight."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]

    def part(self, rows: slice) -> Taps:
        """Those of some of the output pixels."""
        return Taps(self.low[rows], self.high[rows], self.weight[rows])

    @property
    def source(self) -> slice:
        """The pixels they lie on."""
        return slice(int(self.low[0]), int(self.high[-1]) + 1)

    def within_source(self) -> Taps:
        """Return the same, counted from the beginning of :attr:`source`."""
        return Taps(self.low - self.low[0], self.high - self.low[0], self.weight)


def labels_at_size(
    labels: Labels,
    probability: NDArray[np.float32],
    shape: tuple[int, int],
    *,
    threshold: float,
) -> Labels:
    """Bring a label image to another size.

    An output pixel is foreground where the bilinearly interpolated probability is above the
    threshold. It gets the label with the largest bilinear weight among the four surrounding
    pixels that have one. Time is linear in pixels and does not depend on the number of instances.
    Only where the four differ is there anything to compute.

    Parameters
    ----------
    labels
        int32, axes ``YX``, at the network's scale; 0 where the probability is not above the
        threshold.
    probability
        float32, axes ``YX``, the foreground probability at the same scale, 0..1.
    shape
        Height and width wanted.
    threshold
        Probability above which a pixel is foreground.

    Returns
    -------
    Labels
        int32, axes ``YX``, of the shape wanted. Ids stay as they are. An instance that would lose
        its last pixel keeps the one at its centre, unless another instance is there.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    result = np.zeros(shape, np.int32)
    rows_of, columns = taps(labels.shape[0], shape[0]), taps(labels.shape[1], shape[1])
    step = max(1, _BLOCK_PIXELS // shape[1])
    for start in range(0, shape[0], step):
        block = slice(start, start + step)
        result[block] = labels_at(
            labels, probability, rows=rows_of.part(block), columns=columns, threshold=threshold
        )
    _keep_lost(labels, result)
    return result


def labels_at(
    labels: Labels,
    probability: NDArray[np.float32],
    *,
    rows: Taps,
    columns: Taps,
    threshold: float,
) -> Labels:
    """Compute some rows and columns of what :func:`labels_at_size` returns, lost instances aside.

    Parameters
    ----------
    labels, probability, threshold
        As there.
    rows, columns
        Parts of :func:`taps`.

    Returns
    -------
    Labels
        int32, axes ``YX``, one pixel for each pair of taps.
    """
    part = labels[rows.source]
    near = rows.within_source()
    result: Labels = np.take(part[near.low], columns.low, axis=1)
    at = np.nonzero(np.take(_differing(part)[near.low], columns.low, axis=1))
    corners = _Corners.of(rows, columns, at)
    inside = corners.mean(probability) > threshold
    result[at] = np.where(inside, corners.vote(labels), 0)
    return result


def taps(size_in: int, size_out: int) -> Taps:
    """Return the taps along an axis that is resized from ``size_in`` to ``size_out`` pixels."""
    centre = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    centre = np.clip(centre, 0, size_in - 1)
    low = np.floor(centre).astype(np.intp)
    high = np.minimum(low + 1, size_in - 1)
    return Taps(low, high, (centre - low).astype(np.float32))


def _differing(labels: Labels) -> NDArray[np.bool_]:
    """Whether a pixel, the ones right of it and below it and the one below right are not alike."""
    differ = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    differ[:-1] |= down
    differ[:-1, :-1] |= down[:, 1:]
    differ[:, :-1] |= right
    differ[:-1, :-1] |= right[1:]
    return differ


@dataclass(frozen=True, slots=True)
class _Corners:
    """The four pixels around each of some output pixels, and their bilinear weights."""

    y: tuple[NDArray[np.intp], ...]
    x: tuple[NDArray[np.intp], ...]
    weight: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, rows: Taps, columns: Taps, at: tuple[NDArray[np.intp], ...]) -> _Corners:
        """Those of the output pixels at these indices."""
        y, x = at
        low, high = (rows.low[y], columns.low[x]), (rows.high[y], columns.high[x])
        wy, wx = rows.weight[y], columns.weight[x]
        return cls(
            y=(low[0], low[0], high[0], high[0]),
            x=(low[1], high[1], low[1], high[1]),
            weight=((_ONE - wy) * (_ONE - wx), (_ONE - wy) * wx, wy * (_ONE - wx), wy * wx),
        )

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate bilinearly."""
        total = np.zeros(len(self.weight[0]), np.float32)
        for y, x, weight in zip(self.y, self.x, self.weight, strict=True):
            total += values[y, x] * weight
        return total

    def vote(self, labels: Labels) -> Labels:
        """Label with the largest sum of weights; 0 where none is near."""
        corner = np.stack([labels[y, x] for y, x in zip(self.y, self.x, strict=True)])
        score = np.zeros(corner.shape, np.float32)
        for a in range(4):
            for b in range(4):
                score[a] += np.where(corner[a] == corner[b], self.weight[b], 0)
        score[corner == 0] = -1
        best = score.argmax(axis=0)
        result: Labels = np.take_along_axis(corner, best[np.newaxis], axis=0)[0]
        return result


def _keep_lost(labels: Labels, result: Labels) -> None:
    """Give ids that have no pixel in ``result`` the one at their centre, where it is free."""
    found = np.bincount(result.ravel(), minlength=int(labels.max(initial=0)) + 1) > 0
    if found[1:].all():
        return
    count = np.bincount(labels.ravel())
    lost = (count > 0) & ~found
    lost[0] = False
    y, x = np.nonzero(lost[labels])
    owner = labels[y, x]
    ids = np.flatnonzero(lost)
    place = []
    for coordinate, size_in, size_out in zip((y, x), labels.shape, result.shape, strict=True):
        centre = np.bincount(owner, weights=coordinate, minlength=len(count))[ids] / count[ids]
        place.append(np.clip(((centre + 0.5) * size_out / size_in).astype(int), 0, size_out - 1))
    free = result[place[0], place[1]] == 0
    result[place[0][free], place[1][free]] = ids[free]
