"""From what the network says of a cell to the chance that the cell is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Confidences are kept this far from 0 and 1, where the logit is infinite.
_EDGE = 1e-4


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising map from a raw confidence to a chance: two numbers.

    ``sigmoid(slope * logit(confidence) + offset)`` (Platt scaling on the logit; Platt, "Advances
    in large margin classifiers", 1999). The identity is slope 1, offset 0.

    Parameters
    ----------
    slope
        Above 0.
    offset
        In units of the logit.
    """

    slope: float = 1.0
    offset: float = 0.0

    def apply(self, confidence: ArrayLike) -> NDArray[np.float64]:
        """Return the chance to be right of cells with a raw confidence (n,), 0..1."""
        chance: NDArray[np.float64] = _sigmoid(self.slope * logit(confidence) + self.offset)
        return chance

    def undo(self, chance: float) -> float:
        """Return the raw confidence of a chance.

        Examples
        --------
        >>> round(Calibration(2.0, 0.5).undo(float(Calibration(2.0, 0.5).apply([0.3])[0])), 6)
        0.3
        """
        return float(_sigmoid((logit(chance) - self.offset) / self.slope))


def logit(confidence: ArrayLike) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of confidences, 0..1, finite at the ends too."""
    inside = np.clip(np.asarray(confidence, np.float64), _EDGE, 1 - _EDGE)
    result: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return result


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)), written so that nothing overflows."""
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * x))
    return result
