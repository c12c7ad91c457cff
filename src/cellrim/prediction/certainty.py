"""How sure the network is of an image as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cellrim.representation.flow import probability_of

# Pixels that are more likely than this to belong to a cell are asked how sure the network is.
_LEAST_PROBABILITY = 0.25


def certainty_of(maps: NDArray[np.float32]) -> float:
    """Mean over all that could be cells of how sure the network is of it.

    Parameters
    ----------
    maps
        float32, axes ``CYX``, as :mod:`cellrim.representation.flow` orders them.

    Returns
    -------
    float
        0..1: foreground probability times length of the flow, as the confidence of a cell, but
        also over what was left out for a low confidence. NaN where nothing could be a cell.
    """
    return joined_certainty([certainty_sums(maps)])


def certainty_sums(maps: NDArray[np.float32]) -> tuple[float, int]:
    """Sum of what :func:`certainty_of` is the mean of, and of how many pixels."""
    logit = math.log(_LEAST_PROBABILITY / (1 - _LEAST_PROBABILITY))
    maybe = maps[0] > logit
    probability = probability_of(maps[0][maybe])
    length = np.minimum(np.hypot(maps[1][maybe], maps[2][maybe]), 1)
    return float(np.sum(probability * length, dtype=np.float64)), int(np.count_nonzero(maybe))


def joined_certainty(sums: Iterable[tuple[float, float]]) -> float:
    """Certainty of an image by the :func:`certainty_sums` of its parts; NaN where none could be."""
    total, count = np.sum([(0.0, 0.0), *sums], axis=0).tolist()
    return float(total / count) if count else math.nan
