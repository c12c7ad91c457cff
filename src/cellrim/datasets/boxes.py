"""Label images from bounding boxes, for stained cells on a bright background.

Weak supervision in four steps: the absorbance of the stain relative to a smooth background says
what is a cell; the ellipse inscribed in each box, tilted as the stain inside it lies, says whose
pixel it is; each mask is closed, filled and rounded; stain that no box claims becomes the ignore
mask, since an archive of boxes leaves out cells cut by the frame and some others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.labels import Labels
from cellrim.datasets.base import Boxes, Truth
from cellrim.errors import InputError

# Haemoglobin and the Giemsa stain both absorb green, and the background is least noisy there.
STAIN_CHANNEL = 1
# Edge in pixels of the blocks whose medians the background is fitted to.
BACKGROUND_BLOCK = 16
# A mask pixel may leave its box by this much.
BOX_MARGIN = 1
# Normalised radius of the inscribed ellipse beyond which nothing belongs to the cell: corners of
# the box belong to somebody else.
REACH = 1.3
# Where between background and cell the edge lies: half way, as for any blurred edge.
EDGE = 0.5
MAX_TILT = 0.8
TILT_ROUNDS = 3
GAP = 9
GAP_WEIGHT = 1.0
NOISE_SIGMA = 1.0
# Within this normalised radius a cell has no holes.
CORE = 0.9


def truth_from_boxes(pixels: NDArray[Any], boxes: Boxes) -> Truth:
    """Derive labels and an ignore mask from boxes and the stain inside them.

    Parameters
    ----------
    pixels
        Axes ``YXC``, uint8 RGB, background bright.
    boxes
        Inside the image. The label of box ``i`` is ``i + 1``.

    Returns
    -------
    Truth
        Labels, ignore mask and the boxes themselves.

    Raises
    ------
    InputError
        If the pixels are not RGB, or a box is empty or leaves the image.
    """
    corners = boxes.corners
    _check(pixels, corners)
    stain = absorptance(pixels[:, :, STAIN_CHANNEL], corners)
    cells = [_Cell.in_box(box, stain.shape) for box in corners]
    levels = np.array([0.0, *(cell.level(stain) for cell in cells)], np.float32)
    depth, owner = _compete(cells, stain.shape)
    for _ in range(TILT_ROUNDS):
        stained = stain > EDGE * levels[owner]
        cells = [
            cell.tilted(_solid(cell, stained, owner, i + 1)) for i, cell in enumerate(cells)
        ]
        depth, owner = _compete(cells, stain.shape)
    stained = stain > EDGE * levels[owner]
    flooded = _flood(depth, owner, stain, stained)
    labels = np.zeros(stain.shape, np.int32)
    for i, cell in enumerate(cells):
        mask = _rounded(_solid(cell, stained, flooded, i + 1), cell.size)
        if not mask.any():
            mask = (owner[cell.window] == i + 1) & (cell.radius() <= 1)
        free = labels[cell.window] == 0
        labels[cell.window][mask & free] = i + 1
    ignore = _unclaimed(stain, labels, levels[1:], corners)
    return Truth(labels, ignore, boxes)


def absorptance(intensity: NDArray[Any], corners: NDArray[np.int64]) -> NDArray[np.float32]:
    """Share of the light that is absorbed, with a background that varies smoothly.

    The logarithm of the background is a polynomial of second degree in y and x, fitted to block
    medians outside of the boxes; blocks darker than the fit hold cells without a box and are left
    out in turn (asymmetric iterative clipping).

    Parameters
    ----------
    intensity
        Axes ``YX``, bright background.
    corners
        Boxes, (n, 4) ``y0 x0 y1 x1``.

    Returns
    -------
    ndarray
        float32, axes ``YX``; about 0 in the background.
    """
    log = np.log(intensity.astype(np.float32) + 1)
    free = np.ones(log.shape, bool)
    for y0, x0, y1, x1 in corners:
        free[max(0, y0 - 3) : y1 + 3, max(0, x0 - 3) : x1 + 3] = False
    size = BACKGROUND_BLOCK
    rows, columns = (max(1, n // size) for n in log.shape)
    height, width = min(size, log.shape[0]), min(size, log.shape[1])

    def blocks(a: NDArray[Any]) -> NDArray[Any]:
        cut = a[: rows * height, : columns * width].reshape(rows, height, columns, width)
        return cut.swapaxes(1, 2).reshape(rows * columns, -1)

    value = np.median(blocks(log), axis=1)
    usable = blocks(free).mean(axis=1) == 1
    if usable.sum() < 20:
        usable = np.ones_like(usable)
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    terms = _terms((y * height + height / 2) / log.shape[0], (x * width + width / 2) / log.shape[1])
    kept = usable & (value >= np.percentile(value[usable], 50))
    weights = np.zeros(terms.shape[0])
    for _ in range(10):
        weights, *_ = np.linalg.lstsq(terms[:, kept].T, value[kept], rcond=None)
        residual = value - weights @ terms
        spread = max(1.5 * float(np.median(np.abs(residual[kept]))), 0.004)
        kept = usable & (residual > -2.5 * spread) & (residual < 4 * spread)
    yy = (np.arange(log.shape[0]) + 0.5)[:, np.newaxis] / log.shape[0]
    xx = (np.arange(log.shape[1]) + 0.5)[np.newaxis] / log.shape[1]
    background = sum(w * t for w, t in zip(weights, _terms(yy, xx, stacked=False), strict=True))
    passed = ndimage.gaussian_filter(np.exp(log - background).astype(np.float32), NOISE_SIGMA)
    result: NDArray[np.float32] = 1 - passed
    return result


def _terms(y: NDArray[Any], x: NDArray[Any], *, stacked: bool = True) -> Any:
    terms = (np.ones_like(y * x), y + 0 * x, x + 0 * y, y * x, y * y + 0 * x, x * x + 0 * y)
    return np.stack(terms) if stacked else terms


@dataclass(frozen=True, slots=True)
class _Cell:
    """One box: the window it is looked at in, and its ellipse in normalised coordinates."""

    window: tuple[slice, slice]
    v: NDArray[np.float32]
    u: NDArray[np.float32]
    size: float
    tilt: float = 0.0

    @classmethod
    def in_box(cls, box: NDArray[np.int64], shape: tuple[int, ...]) -> _Cell:
        y0, x0, y1, x1 = (int(v) for v in box)
        window = (
            slice(max(0, y0 - BOX_MARGIN), min(shape[0], y1 + BOX_MARGIN)),
            slice(max(0, x0 - BOX_MARGIN), min(shape[1], x1 + BOX_MARGIN)),
        )
        v = (np.arange(window[0].start, window[0].stop) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
        u = (np.arange(window[1].start, window[1].stop) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
        size = float(np.sqrt((y1 - y0) * (x1 - x0)))
        return cls(window, v[:, np.newaxis].astype(np.float32), u.astype(np.float32), size)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The window; all of it is inside the box and its margin."""
        return np.ones((self.v.shape[0], self.u.shape[0]), bool)

    def radius(self) -> NDArray[np.float32]:
        """Normalised radius: 1 on the ellipse of this tilt that touches all sides of the box."""
        u, v, t = self.u, self.v, self.tilt
        q = (u * u - 2 * t * u * v + v * v) / (1 - t * t)
        result: NDArray[np.float32] = np.sqrt(np.maximum(q, 0))
        return result

    def level(self, stain: NDArray[np.float32]) -> float:
        """Absorbance of the cell: the median inside of the ellipse."""
        radius = self.radius()
        return float(np.median(stain[self.window][(radius > 0.5) & (radius < 0.9)]))

    def tilted(self, mask: NDArray[np.bool_]) -> _Cell:
        """The same box with the tilt of these pixels."""
        y, x = np.nonzero(mask)
        if len(y) < 20:
            return self
        v, u = self.v[y, 0], self.u[x]
        v, u = v - v.mean(), u - u.mean()
        norm = float(np.sqrt((u * u).mean() * (v * v).mean()))
        tilt = float((u * v).mean()) / norm if norm else 0.0
        return _Cell(
            self.window, self.v, self.u, self.size, float(np.clip(tilt, -MAX_TILT, MAX_TILT))
        )


def _compete(
    cells: list[_Cell], shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], Labels]:
    """Give each pixel to the cell whose ellipse it lies deepest in, measured in pixels."""
    best = np.full(shape, np.inf, np.float32)
    owner = np.zeros(shape, np.int32)
    for i, cell in enumerate(cells):
        depth = (cell.radius() - 1) * (cell.size / 2)
        wins = depth < best[cell.window]
        best[cell.window][wins] = depth[wins]
        owner[cell.window][wins] = i + 1
    return best, owner


def _flood(
    depth: NDArray[np.float32],
    owner: Labels,
    stain: NDArray[np.float32],
    stained: NDArray[np.bool_],
) -> Labels:
    """Grow the cells from their cores through the stain; thin bright gaps are ridges."""
    from skimage.segmentation import watershed

    gap = ndimage.black_tophat(stain, size=(GAP, GAP))
    known = np.where(np.isfinite(depth), depth, 100)
    size = np.maximum(-ndimage.minimum(known, owner, np.arange(owner.max() + 1)), 1)[owner]
    core = np.where(known < -0.4 * size, owner, 0)
    result: Labels = watershed(
        known / size + GAP_WEIGHT * gap, core, mask=(stained | (core > 0)) & (owner > 0)
    ).astype(np.int32)
    return result


def _solid(
    cell: _Cell, stained: NDArray[np.bool_], owner: Labels, label: int
) -> NDArray[np.bool_]:
    """Stained pixels of one cell in its window, pale centre filled, corners of the box left out."""
    own = owner[cell.window] == label
    radius = cell.radius()
    mask = stained[cell.window] & own
    wall = ndimage.binary_closing(mask | (owner[cell.window] > 0) & ~own, _disc(3))
    filled = _fill(wall) & (radius < CORE) & ((owner[cell.window] == 0) | own)
    result: NDArray[np.bool_] = (mask | filled) & (radius < REACH)
    return result


def _fill(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = ndimage.binary_fill_holes(mask)
    return result


def _disc(radius: float) -> NDArray[np.bool_]:
    n = int(radius)
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    result: NDArray[np.bool_] = y * y + x * x <= radius * radius
    return result


def _rounded(mask: NDArray[np.bool_], size: float) -> NDArray[np.bool_]:
    """Open a mask and keep its largest component, without holes."""
    mask = np.pad(mask, 1, mode="edge")
    mask = ndimage.binary_opening(mask, _disc(size / 30))[1:-1, 1:-1]
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return _fill(mask)


def _unclaimed(
    stain: NDArray[np.float32],
    labels: Labels,
    levels: NDArray[np.float32],
    corners: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Stain that belongs to no box, with a margin; specks do not count."""
    if not len(levels):
        return np.ones(stain.shape, bool)
    size = float(np.median(np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1))))
    rest = (stain > 0.35 * float(np.median(levels))) & (labels == 0)
    rest = ndimage.binary_opening(rest, _disc(size / 20))
    parts, _ = ndimage.label(rest)
    counts = np.bincount(parts.ravel())
    keep = counts > 0.05 * size * size
    keep[0] = False
    frame = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    keep[np.unique(frame[frame > 0])] = True
    rest = keep[parts]
    holes, _ = ndimage.label(~rest & (labels == 0))
    small = np.bincount(holes.ravel()) < 0.3 * size * size
    small[0] = False
    rest |= small[holes]
    rest = ndimage.binary_dilation(rest, _disc(3))
    result: NDArray[np.bool_] = rest & (labels == 0)
    return result


def _check(pixels: NDArray[Any], corners: NDArray[np.int64]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"Expected RGB pixels with axes YXC, but got shape {pixels.shape}.")
    if not len(corners):
        return
    if (corners[:, 2:] <= corners[:, :2]).any():
        raise InputError("Expected boxes that are not empty, but got one whose end is its start.")
    if (corners[:, :2] < 0).any() or (corners[:, 2:] > np.array(pixels.shape[:2])).any():
        raise InputError(f"Expected boxes inside of the image {pixels.shape[:2]}: clip them first.")
