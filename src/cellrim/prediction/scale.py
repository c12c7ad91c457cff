"""How large are the cells? The network says so itself.

Its fourth map is log2(diameter / canonical diameter). A reduced view of the image goes through
the network, the image is rescaled by what the map says, and so on until the answer settles. Far
from the canonical size the network says less than the truth (a regression towards the mean), so
each step goes further than it says, until two looks enclose the answer and the next is drawn
between them. Where no view was convincing, a pyramid of scales is tried and the most convincing
one taken. At the end the cells that were found in that look are measured: near the right scale
they say it better than the map does. The cost is bounded whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels, median_diameter
from cellrim.core.resize import resize, scaled_shape
from cellrim.core.tiles import Part
from cellrim.representation.flow import DecodeOptions, decode_with_confidence, probability_of

SMALLEST_SCALE, LARGEST_SCALE = 1 / 16, 8.0

VIEW_PIXELS = 110_000
"""Pixels through the network in one look; most images take three looks, the worst ten."""

_FIRST_LOOKS = 4
_LAST_LOOKS = 2
_PYRAMID = (1 / 8, 1 / 4, 1 / 2, 2.0)
# Looks closer together than this, in octaves, say the same.
_SAME = 0.4
# What a look says of its own error, in octaves, below which another brings nothing.
_SETTLED = 0.15
# A look says less than it is off, a little trained network only 0.6 of it (benchmarks/looks.py).
# To go too far costs nothing: the answer is then enclosed.
_GAIN = 1.7
# Where less than this share of the foreground is in sure instances, the pyramid is tried.
_SURE = 0.3
# Images come at about the canonical scale, give or take this many octaves: a weak prior, which
# only decides between looks that are about as convincing.
_PRIOR = 2.0
# A look that calls itself this many octaves off speaks against itself.
_CONTRADICTION = 0.4
# Fewer foreground pixels than this are specks and no evidence.
_LEAST_FOREGROUND = 24
# Fewer cells than this do not tell the size of all.
_LEAST_CELLS = 3
# Further than this many octaves from what the map says, pieces or clumps were found, not cells.
_MOST_CORRECTION = 0.75
# Places tried along each axis for a view that does not hold the whole image.
_PLACES = 3
# The map is only trusted this far beyond the canonical diameter, in octaves.
_TRUSTED = 3.0

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Viewable(Protocol):
    """An image that need not be in memory as a whole."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        ...

    def thinned(self, part: Part, *, step: int) -> NDArray[np.float32]:
        """Return every step-th pixel of some rows and columns, axes ``YXC``, normalised."""
        ...

    def resized(self, part: Part, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return some rows and columns brought to a size, axes ``YXC``, normalised."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayView:
    """A normalised image in memory, axes ``YXC``, as :class:`Viewable`."""

    pixels: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def thinned(self, part: Part, *, step: int) -> NDArray[np.float32]:
        """Return every step-th pixel of some rows and columns."""
        return np.ascontiguousarray(self.pixels[part][::step, ::step])

    def resized(self, part: Part, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return some rows and columns brought to a size."""
        return resize(self.pixels[part], shape)


@dataclass(frozen=True, slots=True)
class Look:
    """What the network says of the image at one scale.

    Parameters
    ----------
    scale
        log2 of the factor by which the image was resized.
    octaves
        log2(diameter / canonical) of the cells; None where none is found.
    score
        How convincing the instances are, 0..1.
    found
        log2(median diameter / canonical) of the instances; None where there are few.
    """

    scale: float
    octaves: float | None
    score: float
    found: float | None = None

    @property
    def evidence(self) -> float:
        """The score, less where the cells are far from canonical or of an unlikely size."""
        unlikely = (self.scale / _PRIOR) ** 2
        contradicts = ((self.octaves or 0) / _CONTRADICTION) ** 2
        return float(self.score * np.exp(-0.5 * (unlikely + contradicts)))

    @property
    def settled(self) -> bool:
        """Whether another look would say the same."""
        return self.octaves is None or abs(self.octaves) < _SETTLED


_LEAST, _MOST = (float(np.log2(s)) for s in (SMALLEST_SCALE, LARGEST_SCALE))


def estimate_scale(
    image: NDArray[np.float32] | Viewable,
    predict: Predict,
    *,
    canonical_diameter: float,
    options: DecodeOptions | None = None,
) -> float:
    """Estimate by which factor to resize an image so that its cells have the canonical diameter.

    Parameters
    ----------
    image
        float32, axes ``YXC``, normalised; or such an image that need not be in memory.
    predict
        Takes such an image, returns float32 maps ``CYX``.
    canonical_diameter
        That cells should have, in pixels.
    options
        How maps become instances.

    Returns
    -------
    float
        Between :data:`SMALLEST_SCALE` and :data:`LARGEST_SCALE`; 1 where no cell is found.
    """
    looks: list[Look] = []
    # The surest cell is of the image as it is told in the end, not of a first look.
    judging = replace(options or DecodeOptions(), min_surest=0.0)

    def look(scale: float) -> Look:
        maps = predict(view(image, 2.0**scale))
        looks.append(_judge(maps, scale, canonical_diameter, judging))
        return looks[-1]

    _follow(look, looks, look(0.0), count=_FIRST_LOOKS - 1)
    if _best(looks).score < _SURE:
        for scale in np.log2(_PYRAMID):
            if all(abs(scale - seen.scale) > _SAME for seen in looks):
                look(float(scale))
        _follow(look, looks, _best(looks), count=_LAST_LOOKS)
    return float(2.0 ** _measured_scale(_best(looks), looks))


def _follow(look: Callable[[float], Look], looks: list[Look], latest: Look, *, count: int) -> None:
    """Look where the looks so far say the cells have the right size, until that settles."""
    for _ in range(count):
        if latest.settled:
            return
        latest = look(canonical_scale(latest, looks))


def canonical_scale(look: Look, looks: list[Look]) -> float:
    """Where, in octaves, the cells would have the canonical diameter, by one look and the others.

    The secant towards the nearest look that errs to the other side, else a step along what the
    look says, lengthened by what such looks leave out.

    Examples
    --------
    >>> canonical_scale(Look(0.0, 0.5, 1.0), [])
    -0.85
    >>> canonical_scale(Look(0.0, 0.5, 1.0), [Look(-1.0, -0.5, 1.0)])
    -0.5
    """
    if not look.octaves:
        return look.scale
    side = -1 if look.octaves > 0 else 1
    across = [
        other
        for other in looks
        if other.octaves is not None
        and other.octaves * side >= 0
        and (other.scale - look.scale) * side > 0
    ]
    if across:
        other = min(across, key=lambda seen: abs(seen.scale - look.scale))
        assert other.octaves is not None
        share = look.octaves / (look.octaves - other.octaves)
        return float(look.scale + share * (other.scale - look.scale))
    return float(np.clip(look.scale - _GAIN * look.octaves, _LEAST, _MOST))


def _best(looks: list[Look]) -> Look:
    return max(looks, key=lambda seen: seen.evidence)


def _measured_scale(best: Look, looks: list[Look]) -> float:
    """Where, in octaves, the cells found in the best look would have the canonical diameter."""
    followed = canonical_scale(best, looks)
    if best.found is None or abs(best.scale - best.found - followed) > _MOST_CORRECTION:
        return followed
    return float(np.clip(best.scale - best.found, _LEAST, _MOST))


def _judge(
    maps: NDArray[np.float32], scale: float, canonical: float, options: DecodeOptions
) -> Look:
    labels, sure = decode_with_confidence(maps, options)
    found = np.log2(median_diameter(labels) / canonical) if len(sure) >= _LEAST_CELLS else None
    return Look(scale, log2_diameter(maps), _share_sure(maps, labels, sure), found)


def conviction(maps: NDArray[np.float32], options: DecodeOptions) -> float:
    """How much of the foreground lies in instances the network is sure of, 0..1.

    Each instance counts by its area times its confidence; one alone may be an accident and counts
    half.

    Parameters
    ----------
    maps
        float32, axes ``CYX``.
    options
        How maps become instances.
    """
    return _share_sure(maps, *decode_with_confidence(maps, options))


def _share_sure(maps: NDArray[np.float32], labels: Labels, sure: NDArray[np.float32]) -> float:
    if not len(sure):
        return 0.0
    area = np.bincount(labels.ravel(), minlength=len(sure) + 1)[1:]
    foreground = np.count_nonzero(maps[0] > 0) or 1  # the threshold may be lower than a half
    share = min(1.0, float(sure @ area) / foreground)
    return share * len(sure) / (len(sure) + 1)


def log2_diameter(maps: NDArray[np.float32]) -> float | None:
    """Median of log2(diameter / canonical) over the cells in the maps.

    Each foreground pixel counts by its probability and by one over the area it claims for its
    cell, so that each cell counts about once.

    Parameters
    ----------
    maps
        float32, axes ``CYX``.

    Returns
    -------
    float or None
        None where there is too little foreground to tell.
    """
    foreground = maps[0] > 0
    if np.count_nonzero(foreground) < min(_LEAST_FOREGROUND, foreground.size):
        return None
    octaves = np.clip(maps[3][foreground].astype(np.float64), -_TRUSTED, _TRUSTED)
    probability = probability_of(maps[0][foreground].astype(np.float64))
    return weighted_median(octaves, probability * 4.0**-octaves)


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value below and above which lie half of the weights.

    Examples
    --------
    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 5.0]))
    2.0
    """
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def view(
    image: NDArray[np.float32] | Viewable, scale: float, *, pixels: int = VIEW_PIXELS
) -> NDArray[np.float32]:
    """Return the image, or the liveliest part of it, at a scale and of a bounded size.

    Parameters
    ----------
    image
        float32, axes ``YXC``; or such an image that need not be in memory.
    scale
        Factor of the size.
    pixels
        How many the result has, about, at most.

    Returns
    -------
    ndarray
        float32, axes ``YXC``.
    """
    whole = ArrayView(image) if isinstance(image, np.ndarray) else image
    height, width = whole.shape
    rows, columns = _view_shape(height, width, pixels / scale**2)
    tops = np.unique(np.linspace(0, height - rows, _PLACES).round().astype(int)).tolist()
    lefts = np.unique(np.linspace(0, width - columns, _PLACES).round().astype(int)).tolist()
    parts = [(slice(y, y + rows), slice(x, x + columns)) for y in tops for x in lefts]
    step = max(1, min(rows, columns) // 256)
    if len(parts) > 1:
        parts.sort(key=lambda part: -float(whole.thinned(part, step=step).std()))
    return whole.resized(parts[0], shape=scaled_shape((rows, columns), scale))


def _view_shape(height: int, width: int, pixels: float) -> tuple[int, int]:
    edge = np.sqrt(pixels)
    rows = min(height, max(1, int(edge)))
    columns = min(width, max(1, int(pixels / rows)))
    rows = min(height, max(1, int(pixels / columns)))
    return rows, columns
