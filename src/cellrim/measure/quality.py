"""Can this image be trusted? One number for each way in which images go wrong, and a sentence.

Each number is a property of the image and of the cells found in it, in units that mean the same
for every microscope (cell diameters, shares). The thresholds were chosen by degrading real images:
``benchmarks/quality.py`` prints how many degraded images each one catches and how many good ones
it calls bad; ``docs/quality.md`` shows the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image, Readable, thinned
from cellrim.core.labels import Labels, median_diameter
from cellrim.core.normalise import IntensityRange, grid_step, measure_range, normalise
from cellrim.core.resize import resize_by_strips, scaled_shape
from cellrim.core.tiles import Part, windows

Values = NDArray[np.float32]

# Blur is looked for where cells are this many pixels wide: at that size the network sees them.
_WORKING_DIAMETER = 24.0
# Widths (sigma, pixels) of the two blurs whose gradients are compared, and from which part of the
# strongest gradient on a pixel counts as an edge.
_FINE, _COARSE = 1.0, 2.5
_STRONG = 0.5
_EDGE_PERCENTILE = 80.0
_MOST_BLUR = 12.0
# Blur is measured in squares of this edge, with so much around each as the wider blur sees, and in
# no more than so many of them: they stand for the rest of a large image.
_BLUR_EDGE, _BLUR_MARGIN = 256, 10
_BLUR_SQUARES = 8
# A value at the end of the range is a pile when it is so many times as frequent as the next one.
_PILE = 2.0
# The background is compared over a grid of blocks, of which so many must show background.
_BLOCKS = 8
_LEAST_BLOCKS = 12
_LEAST_BLOCK_SHARE = 0.15
_MOST_SAMPLED = 640


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured of one image; NaN where it cannot be measured.

    Parameters
    ----------
    blur
        Width (sigma) of the blur of the sharpest edges, in cell diameters.
    saturated
        Share of the pixels in cells that stand at an end of the camera's range, 0..1; of the
        channel that has most.
    unevenness
        Difference of the background across the image over the image's contrast.
    cell_diameter
        Median diameter of the cells, in pixels of the image.
    certainty
        How sure the network is of what it calls cells, 0..1; low on what training did not show.
    """

    blur: float = math.nan
    saturated: float = math.nan
    unevenness: float = math.nan
    cell_diameter: float = math.nan
    certainty: float = math.nan

    def as_numbers(self) -> dict[str, float | None]:
        """Name to number, as JSON and tables hold them: rounded, None where not measured."""
        return {n: None if math.isnan(v) else round(v, 4) for n, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Check:
    """One flag: when it is raised and what it says.

    Parameters
    ----------
    flag
        Its name, as tables have it.
    number
        The field of :class:`Quality` it looks at.
    threshold
        Where it is raised.
    above
        Whether it is raised above the threshold; else below.
    says
        Makes the sentence of the number.
    """

    flag: str
    number: str
    threshold: float
    above: bool
    says: Callable[[float], str]

    def holds(self, quality: Quality) -> bool:
        """Whether the flag is raised; never for what is not measured."""
        value = getattr(quality, self.number)
        return bool(value > self.threshold if self.above else value < self.threshold)


CHECKS = (
    Check(
        "out of focus",
        "blur",
        0.095,
        True,
        lambda v: (
            f"Out of focus: even the sharpest edges are blurred over {v:.2f} cell diameters, so "
            "outlines and sizes are uncertain."
        ),
    ),
    Check(
        "saturated",
        "saturated",
        0.1,
        True,
        lambda v: (
            f"Saturated: {v:.0%} of the pixels in cells stand at the end of the camera's range, "
            "so intensities cannot be compared."
        ),
    ),
    Check(
        "uneven illumination",
        "unevenness",
        0.25,
        True,
        lambda v: (
            f"Uneven illumination: the background changes across the image by {v:.0%} of the "
            "contrast, so intensities depend on where a cell lies."
        ),
    ),
    Check(
        "too few pixels per cell",
        "cell_diameter",
        8.0,
        False,
        lambda v: (
            f"Too few pixels per cell: the typical cell is {v:.1f} pixels wide, so cells that "
            "touch cannot be told apart well."
        ),
    ),
    Check(
        "unlike the training data",
        "certainty",
        0.5,
        False,
        lambda v: (
            f"Unlike the training data: the model is sure of only {v:.0%} of what it takes for "
            "cells. Look at the outlines before you use the numbers."
        ),
    ),
)
"""All flags, in the order in which they are shown."""


def flags(quality: Quality) -> tuple[str, ...]:
    """Names of the flags that the numbers raise.

    Examples
    --------
    >>> flags(Quality(saturated=0.4, cell_diameter=30.0))
    ('saturated',)
    """
    return tuple(check.flag for check in CHECKS if check.holds(quality))


def sentences(quality: Quality) -> tuple[str, ...]:
    """One plain sentence for each flag that the numbers raise."""
    return tuple(
        check.says(getattr(quality, check.number)) for check in CHECKS if check.holds(quality)
    )


def measure_quality(image: Image, labels: Labels, *, certainty: float = math.nan) -> Quality:
    """Measure how far an image can be trusted.

    Parameters
    ----------
    image
        Raw intensities; the channels that were segmented.
    labels
        int32, axes ``YX``, of the size of the image: the cells found.
    certainty
        As the prediction gives it, 0..1.

    Returns
    -------
    Quality
        All NaN but the certainty where there is no cell: nothing says then how large one would be.
    """
    return sample_quality(
        image, image, labels, diameter=median_diameter(labels), certainty=certainty
    )


def sample_quality(
    image: Readable, thin: Image, labels: Labels, *, diameter: float, certainty: float = math.nan
) -> Quality:
    """Measure how far an image can be trusted that need not be in memory.

    Parameters
    ----------
    image
        Raw intensities. Read in squares, where blur is measured.
    thin
        Every n-th pixel of it along both axes, where all else is measured.
    labels
        int32, axes ``YX``: the cells found, at the pixels of ``thin``.
    diameter
        Median diameter of the cells, in pixels of ``image``; NaN where there is none.
    certainty
        As the prediction gives it, 0..1.

    Returns
    -------
    Quality
        As :func:`measure_quality`, and the same where ``thin`` is the image itself.

    Raises
    ------
    ImageReadError
        If a part of the image cannot be read.
    """
    if math.isnan(diameter):
        return Quality(certainty=certainty)
    intensity = measure_range(thin.pixels)
    return Quality(
        blur=edge_blur(image, diameter, intensity=intensity, cells=labels > 0),
        saturated=saturated_share(thin, labels),
        unevenness=background_unevenness(thin, labels, intensity=intensity),
        cell_diameter=diameter,
        certainty=certainty,
    )


def typical(planes: Sequence[Quality]) -> Quality:
    """Quality of a stack: the median of each number over the planes where it is measured.

    The first and last slices of a stack are out of focus by nature; the median is not.
    """
    medians = {}
    for field in fields(Quality):
        known = [v for v in (getattr(plane, field.name) for plane in planes) if not math.isnan(v)]
        medians[field.name] = float(np.median(known)) if known else math.nan
    return Quality(**medians)


def edge_blur(
    image: Readable,
    diameter: float,
    *,
    intensity: IntensityRange | None = None,
    cells: NDArray[np.bool_] | None = None,
) -> float:
    """Width of the blur of the sharpest edges, in cell diameters.

    Parameters
    ----------
    image
        The image, in memory or not.
    diameter
        Typical cell diameter in pixels.
    intensity
        Range of its channels; measured where None.
    cells
        Axes ``YX``, of any size: where in the image there are cells; anywhere where None.

    Returns
    -------
    float
        The sigma of the Gaussian that would turn steps into these edges; NaN without an edge.

    Notes
    -----
    A step blurred by b and then by s has the gradient 1 / sqrt(b**2 + s**2), so the ratio of the
    gradients at two s gives b (Zhuo and Sim, "Defocus map estimation from a single image", Pattern
    Recognition 44, 2011). Large cells are first brought down to 24 pixels: finer detail than that
    says nothing about the outlines. An image that then still is larger than 8 squares of 256 pixels
    is measured in so many of them, drawn without a preference among those that hold cells.
    """
    if intensity is None:
        intensity = measure_range(thinned(image, grid_step(image.shape)))
    scale = min(1.0, _WORKING_DIAMETER / diameter)
    shape = scaled_shape(image.shape, scale)
    gradients = [
        _gradients(image, intensity, shape, window) for window in _squares_with(cells, shape)
    ]
    fine, coarse = (np.concatenate(values) for values in zip(*gradients, strict=True))
    strongest = float(np.percentile(coarse, 99.5))
    if strongest <= 0:
        return math.nan
    strong = coarse >= _STRONG * strongest
    ratio = float(np.percentile(fine[strong] / coarse[strong], _EDGE_PERCENTILE)) ** 2
    if ratio <= 1:
        return _MOST_BLUR / (diameter * scale)
    squared = max(0.0, (_COARSE**2 - ratio * _FINE**2) / (ratio - 1))
    return min(math.sqrt(squared), _MOST_BLUR) / (diameter * scale)


def saturated_share(image: Image, labels: Labels) -> float:
    """Share of the pixels in cells that stand at an end of the range where values pile up.

    Parameters
    ----------
    image
        Raw intensities.
    labels
        int32, axes ``YX``; at least one cell.

    Returns
    -------
    float
        0..1, of the channel and the end of the range that have most. The end of the range is the
        largest (smallest) value in the image, so that 12 bits in a 16-bit file count as 12 bits.
    """
    inside = labels > 0
    shares = [0.0]
    for plane in np.moveaxis(image.pixels, 2, 0):
        values = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane.ravel()
        if values.size == 0:
            continue
        for end, others in ((values.max(), np.max), (values.min(), np.min)):
            piled = np.count_nonzero(values == end)
            if not _PILE <= piled < values.size:
                continue
            rest = values[values != end]
            if piled >= _PILE * np.count_nonzero(rest == others(rest)):
                shares.append(float(np.mean(plane[inside] == end)))
    return max(shares)


def background_unevenness(
    image: Image, labels: Labels, *, intensity: IntensityRange | None = None
) -> float:
    """Difference of the background across the image over the image's contrast.

    Parameters
    ----------
    image
        Raw intensities.
    labels
        int32, axes ``YX``: what is no background.
    intensity
        Range of the image's channels; measured where None.

    Returns
    -------
    float
        A smooth (quadratic) surface is laid through the background; its largest minus its smallest
        value over the range of the intensities. NaN where too little background is seen.
    """
    step = max(1, round(max(image.shape) / _MOST_SAMPLED))
    if intensity is None:
        intensity = measure_range(image.pixels)
    grey = _grey(image.pixels[::step, ::step], intensity)[:, :, 0]
    places, values = _background_blocks(grey, labels[::step, ::step] == 0)
    if len(values) < _LEAST_BLOCKS:
        return math.nan
    surface = _quadratic(places)
    weights, *_ = np.linalg.lstsq(surface, values, rcond=None)
    return float(np.ptp(surface @ weights))


def _grey(pixels: NDArray[Any], intensity: IntensityRange) -> Values:
    """Mean of the channels, each from 0 to 1 over its range; float32, ``YX1``."""
    mean: Values = np.clip(normalise(pixels, intensity), 0, 1).mean(axis=2, keepdims=True)
    return mean


def _squares_with(cells: NDArray[np.bool_] | None, shape: tuple[int, int]) -> list[Part]:
    """Squares of an image of this shape: all, or where they are many, some of those with cells."""
    squares = list(windows(shape, _BLUR_EDGE))
    if len(squares) <= _BLUR_SQUARES:
        return squares
    if cells is not None:
        squares = [s for s in squares if cells[_seen(s, shape, cells.shape)].any()] or squares
    count = min(len(squares), _BLUR_SQUARES)
    drawn = np.random.default_rng(0).choice(len(squares), count, replace=False)
    return [squares[k] for k in np.sort(drawn)]


def _seen(window: Part, shape: tuple[int, int], of: tuple[int, ...]) -> Part:
    """Rows and columns of a view of size ``of`` that show a window of an image of this shape."""
    rows, columns = (
        slice(part.start * m // n, max(part.start * m // n + 1, part.stop * m // n))
        for part, n, m in zip(window, shape, of, strict=True)
    )
    return rows, columns


def _gradients(
    image: Readable, intensity: IntensityRange, shape: tuple[int, int], window: Part
) -> tuple[Values, Values]:
    """Gradients behind the fine and the wide blur in a window of the image brought to a shape."""
    wide = [
        slice(max(0, part.start - _BLUR_MARGIN), min(n, part.stop + _BLUR_MARGIN))
        for part, n in zip(window, shape, strict=True)
    ]
    small = resize_by_strips(
        lambda rows, columns: _grey(image.read(rows, columns), intensity),
        image.shape,
        shape=shape,
        window=(wide[0], wide[1]),
    )[:, :, 0]
    inner = tuple(
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(window, wide, strict=True)
    )
    fine, coarse = (gradient_magnitude(small, sigma)[inner].ravel() for sigma in (_FINE, _COARSE))
    return fine, coarse


def gradient_magnitude(plane: Values, sigma: float) -> Values:
    """Length of the gradient of a plane behind a Gaussian blur.

    Parameters
    ----------
    plane
        float32, axes ``YX``; goes on beyond its frame as in a mirror.
    sigma
        Of the Gaussian, in pixels; it is cut off after four of them.

    Returns
    -------
    ndarray
        float32, axes ``YX``: what ``scipy.ndimage.gaussian_gradient_magnitude`` computes, whose
        import alone takes a third of a second.
    """
    reach = int(4 * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    smooth = np.exp(-0.5 * (offset / sigma) ** 2)
    smooth /= smooth.sum()
    slope = offset / sigma**2 * smooth
    padded = np.pad(plane, reach, mode="symmetric")
    along_x, across_x = (_correlated(padded, kernel) for kernel in (slope, smooth))
    y = _correlated(across_x.T, slope)
    x = _correlated(along_x.T, smooth)
    length: Values = np.hypot(y, x).T
    return length


def _correlated(plane: Values, kernel: NDArray[np.float64]) -> Values:
    """Correlate along the last axis with a kernel that is its own mirror image, or minus that.

    Shorter by what the kernel reaches beyond the ends.
    """
    reach = len(kernel) // 2
    length = plane.shape[1] - 2 * reach
    mirrored = np.add if kernel[0] == kernel[-1] else np.subtract
    total = np.float32(kernel[reach]) * plane[:, reach : reach + length]
    both = np.empty_like(total)
    for k, weight in enumerate(kernel[reach + 1 :].astype(np.float32), start=reach + 1):
        mirrored(plane[:, k : k + length], plane[:, 2 * reach - k :][:, :length], out=both)
        both *= weight
        total += both
    return total


def _background_blocks(
    grey: Values, background: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre (y, x from -1 to 1) and median of each block that shows enough background."""
    places, values = [], []
    rows = np.linspace(0, grey.shape[0], _BLOCKS + 1).astype(int)
    columns = np.linspace(0, grey.shape[1], _BLOCKS + 1).astype(int)
    for i in range(_BLOCKS):
        for j in range(_BLOCKS):
            block = np.s_[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            shown = background[block]
            if shown.size and shown.mean() >= _LEAST_BLOCK_SHARE:
                places.append(((2 * i + 1) / _BLOCKS - 1, (2 * j + 1) / _BLOCKS - 1))
                values.append(float(np.median(grey[block][shown])))
    return np.array(places).reshape(-1, 2), np.array(values)


def _quadratic(places: NDArray[Any]) -> NDArray[Any]:
    y, x = places.T
    return np.stack([np.ones_like(y), y, x, y * y, x * y, x * x], axis=1)
