"""Label images from bounding boxes, for stained cells on a bright background.

Weak supervision in four steps. The light a pixel absorbs, relative to a smooth background, says
what is a cell. The ellipse inscribed in each box, tilted as the stain in it lies, says whose pixel
it is. A flood from the middle of each ellipse through the stain sets the borders, since bright gaps
stop it; pale centres are filled and outlines are smoothed. Stain that no box claims becomes the
ignore mask: archives of boxes leave out cells cut by the frame and some others.

The constants were chosen on the twenty images of BBBC041 that docs/decisions/0002 names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.labels import Labels
from cellrim.datasets.base import Boxes, Truth
from cellrim.errors import InputError

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]

# Haemoglobin and the Giemsa stain both absorb green, and the background is least noisy there.
STAIN_CHANNEL = 1
# Pixels; evens out the grain of the camera.
NOISE_SIGMA = 1.0

# Edge in pixels of the blocks whose medians the background is fitted to, and how many are needed.
BACKGROUND_BLOCK = 16
MIN_BLOCKS = 20
# Natural logarithm of intensity: the grain of a block's median, and the clipping in units of the
# spread. Below is cells without a box, above is glare; the former is more common.
BACKGROUND_GRAIN = 0.004
BACKGROUND_CLIP = (-2.5, 4.0)
BACKGROUND_ROUNDS = 10

# A mask may leave its box by this many pixels; a window shows a little of what is beyond.
BOX_MARGIN = 1
WINDOW_MARGIN = 3

# The edge lies where the light is half way between cell and ground, as for any blurred edge.
EDGE = 0.5
# How far around its box a cell's ground is measured, in cell diameters, from how many pixels, as
# which percentile of those too bright for a cell, and at most which share of the cell's own level.
GROUND_REACH = 0.25
MIN_GROUND = 50
GROUND_PERCENTILE = 30
MAX_GROUND = 0.6
# Absorbed share below which there is nothing to see; the palest cells of BBBC041 have 0.1.
MIN_CONTRAST = 0.03

# Tilts tried: correlation of y and x. 0.8 is an ellipse with axes 3 : 1.
TILTS = tuple(round(0.1 * i, 1) for i in range(-8, 9))
TILT_ROUNDS = 2
# Fitted on a grid of so many pixels across; a tilt of 1 must gain this much, in squared diameters.
FIT_SIZE = 50
TILT_PRIOR = 0.1
# People draw boxes around cells with some air: the cell's own ellipse is this much smaller.
AIR = 0.92

# Normalised radii: a flood starts within the first; there are no holes within the second; beyond
# the third, in the corners, nothing belongs to the cell.
SEED = 0.5
SOLID = 0.9
REACH = 1.2
# Width in pixels of the widest bright gap that counts as a border, and its weight against radius.
GAP = 9
GAP_WEIGHT = 1.0

# Shares of the cell's diameter: radii of the closing of pale centres, of the opening that takes off
# hairs, and of the one that takes off what a neighbour without a box pushes into the box.
CLOSE = 1 / 12
HAIR = 1 / 30
BULGE = 1 / 7
# Pixels.
SMOOTH_SIGMA = 2.0

# Stain without a box: share of the median cell's level that counts, smallest piece in squared
# diameters (inside the image, next to a cell, at the frame), largest hole likewise, and the margin
# in pixels.
REST_LEVEL = 0.35
REST_AREA = 0.05
FOREIGN_AREA = 0.03
REST_AREA_AT_FRAME = 0.005
REST_HOLE = 0.3
REST_MARGIN = 3


def truth_from_boxes(pixels: NDArray[Any], boxes: Boxes) -> Truth:
    """Derive labels and an ignore mask from boxes and the stain inside them.

    Parameters
    ----------
    pixels
        Axes ``YXC``, RGB of any real dtype, values >= 0, background bright.
    boxes
        Inside the image. They may overlap.

    Returns
    -------
    Truth
        The label of box ``i`` is ``i + 1``; each is one component inside its box and one pixel
        around it, without holes other than cells of smaller boxes. A box without stain gets the
        ellipse inscribed in it. Only a box that others cover entirely, or that repeats an earlier
        one, has no pixel. The ignore mask is True on stain outside of all labels, and everywhere
        where there is no box at all.

    Raises
    ------
    InputError
        If the pixels are not RGB, or a box is empty or leaves the image.
    """
    corners = boxes.corners
    _check(pixels, corners)
    shape = pixels.shape[:2]
    if not len(corners):
        return Truth(np.zeros(shape, np.int32), np.ones(shape, np.bool_), boxes)
    stain = absorbed_share(pixels[:, :, STAIN_CHANNEL], corners)
    # Of boxes that are drawn twice, the first is the cell's.
    first = np.sort(np.unique(corners, axis=0, return_index=True)[1])
    cells = [_Cell.of_box(corners[i], shape, int(i) + 1) for i in first]
    size = float(np.median([cell.size for cell in cells]))
    labels = _draw_all(cells, stain, size=size)
    level = float(np.median([cell.level(stain) for cell in cells]))
    rest = _unclaimed(stain > max(REST_LEVEL * level, MIN_CONTRAST), labels, size=size)
    return Truth(labels, rest, boxes)


def _draw_all(cells: list[_Cell], stain: Plane, *, size: float) -> Labels:
    """Make the label image of the cells; ``size`` is the median of their diameters."""
    depth, owner = _compete(cells, stain.shape)
    edges = _edges(cells, stain, depth)
    for _ in range(TILT_ROUNDS):
        stained = stain > edges[owner]
        cells = [cell.fitted(stained, owner) for cell in cells]
        depth, owner = _compete(cells, stain.shape)
    stained = stain > edges[owner]
    body = stained.copy()
    for cell in cells:
        body[cell.window] |= _pale_centre(cell, stained[cell.window], owner[cell.window])
    flooded = _flood(depth, owner, stain, body)
    foreign = _large(stained & (owner == 0), FOREIGN_AREA * size * size)
    labels = np.zeros(stain.shape, np.int32)
    for cell in cells:
        mask = _without_foreign(cell, _reached(cell, flooded[cell.window]), foreign[cell.window])
        _draw(cell, mask, labels=labels, owner=owner)
    return labels


def absorbed_share(intensity: NDArray[Any], corners: NDArray[np.int64]) -> Plane:
    """Share of the light that is absorbed, relative to a background that varies smoothly.

    The logarithm of the background is a polynomial of second degree in y and x, fitted to medians
    of blocks outside of all boxes by least squares with clipping: blocks that are too dark hold
    cells without a box and are left out in turn. In the logarithm, shading is a sum and the spread
    is the same at all brightnesses.

    Parameters
    ----------
    intensity
        Axes ``YX``, any real dtype, values >= 0, background bright.
    corners
        Boxes, (n, 4) ``y0 x0 y1 x1``.

    Returns
    -------
    ndarray
        float32, axes ``YX``: 0 in the background, 1 where no light passes, below 0 in glare.
    """
    log = np.log(intensity.astype(np.float32) + 1)
    free = np.ones(log.shape, np.bool_)
    for y0, x0, y1, x1 in corners:
        free[max(0, y0 - WINDOW_MARGIN) : y1 + WINDOW_MARGIN,
             max(0, x0 - WINDOW_MARGIN) : x1 + WINDOW_MARGIN] = False  # fmt: skip
    height, width = (min(BACKGROUND_BLOCK, n) for n in log.shape)
    value = np.median(_blocks(log, height, width), axis=2)
    usable = _blocks(free, height, width).all(axis=2)
    if usable.sum() < MIN_BLOCKS:  # boxes everywhere: trust the clipping alone
        usable = np.ones_like(usable)
    y = (np.arange(value.shape[0]) + 0.5) * height / log.shape[0]
    x = (np.arange(value.shape[1]) + 0.5) * width / log.shape[1]
    weights = _clipped_fit(_quadratic(y, x).reshape(6, -1), value.ravel(), usable.ravel())
    y = (np.arange(log.shape[0]) + 0.5) / log.shape[0]
    x = (np.arange(log.shape[1]) + 0.5) / log.shape[1]
    background = np.tensordot(weights.astype(np.float32), _quadratic(y, x), 1)
    result: Plane = 1 - ndimage.gaussian_filter(np.exp(log - background), NOISE_SIGMA)
    return result


def _blocks(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Cut a plane into blocks: axes row, column, pixel. What is left at the end is left out."""
    rows, columns = plane.shape[0] // height, plane.shape[1] // width
    cut = plane[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return cut.swapaxes(1, 2).reshape(rows, columns, -1)


def _quadratic(y: NDArray[Any], x: NDArray[Any]) -> Plane:
    """Return the six terms of a polynomial of second degree, axes term, y, x."""
    yy, xx = np.meshgrid(y.astype(np.float32), x.astype(np.float32), indexing="ij")
    return np.stack([np.ones_like(yy), yy, xx, yy * xx, yy * yy, xx * xx])


def _clipped_fit(terms: Plane, value: Plane, usable: Mask) -> NDArray[np.float64]:
    """Weights of the terms, fitted to the bright majority of the usable values."""
    low, high = BACKGROUND_CLIP
    kept = usable & (value >= np.median(value[usable]))
    weights: NDArray[Any] = np.zeros(len(terms))
    for _ in range(BACKGROUND_ROUNDS):
        weights = np.linalg.lstsq(terms[:, kept].T, value[kept], rcond=None)[0]
        residual = value - weights @ terms
        spread = max(1.5 * float(np.median(np.abs(residual[kept]))), BACKGROUND_GRAIN)
        kept = usable & (residual > low * spread) & (residual < high * spread)
    return weights


@dataclass(frozen=True, slots=True)
class _Cell:
    """One box: the window it is looked at in, and its ellipse.

    ``v`` (column) and ``u`` (row) are y and x of the window's pixel centres relative to the box: -1
    and 1 on its sides. The ellipse touches all four sides whatever its tilt.
    """

    label: int
    window: tuple[slice, slice]
    v: Plane
    u: Plane
    inside: Mask
    size: float
    tilt: float = 0.0

    @classmethod
    def of_box(cls, box: NDArray[np.int64], shape: tuple[int, ...], label: int) -> _Cell:
        """Make the cell of a box, with an ellipse that is not tilted."""
        window, places, inside = [], [], []
        for axis in range(2):
            start, stop = int(box[axis]), int(box[axis + 2])
            first, last = max(0, start - WINDOW_MARGIN), min(shape[axis], stop + WINDOW_MARGIN)
            pixel = np.arange(first, last)
            window.append(slice(first, last))
            places.append(((2 * pixel + 1 - start - stop) / (stop - start)).astype(np.float32))
            inside.append((pixel >= start - BOX_MARGIN) & (pixel < stop + BOX_MARGIN))
        size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        return cls(
            label,
            (window[0], window[1]),
            places[0][:, np.newaxis],
            places[1],
            inside[0][:, np.newaxis] & inside[1],
            size,
        )

    def radius(self) -> Plane:
        """Normalised radius of the window's pixels: 1 on the ellipse.

        The Mahalanobis distance for unit variances and correlation ``tilt``.
        """
        u, v, t = self.u, self.v, self.tilt
        result: Plane = np.sqrt((u * u - 2 * t * u * v + v * v) / (1 - t * t))
        return result

    def level(self, stain: Plane) -> float:
        """Median of the stain in a ring that leaves out the pale centre and the edge."""
        radius = self.radius()
        ring = (radius > 0.4) & (radius < SOLID)
        if not ring.any():  # a box of a few pixels
            ring = self.inside
        return float(np.median(stain[self.window][ring]))

    def fitted(self, stained: Mask, owner: Labels) -> _Cell:
        """Return the box with the tilt whose ellipse holds most of its stain and least ground."""
        own = owner[self.window] == self.label
        solid = _filled(stained[self.window] & own)
        if not solid.any():
            return self
        gain = solid.astype(np.float32) - ~(stained[self.window] | solid)
        step = max(1, int(self.size / FIT_SIZE))
        thin = replace(self, v=self.v[::step], u=self.u[::step])
        gain = gain[::step, ::step]
        prior = TILT_PRIOR * (self.size / step) ** 2
        scores = [
            float(gain[replace(thin, tilt=tilt).radius() < AIR].sum()) - prior * tilt**2
            for tilt in TILTS
        ]
        return replace(self, tilt=TILTS[int(np.argmax(scores))])


def _edge(cell: _Cell, stain: Plane, depth: Plane) -> float:
    """Absorbed share at the cell's edge: half way between the cell and the ground around it.

    The ground is not 0 where cells out of focus lie behind. Infinite where there is no contrast.
    """
    level = cell.level(stain)
    reach = int(GROUND_REACH * cell.size)
    around = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in cell.window)
    outside = (depth[around] > 0.1 * cell.size) & (stain[around] < MAX_GROUND * level)
    ground = stain[around][outside]
    low = float(np.percentile(ground, GROUND_PERCENTILE)) if ground.size >= MIN_GROUND else 0.0
    if level - max(low, 0.0) < MIN_CONTRAST:
        return float("inf")
    return EDGE * (level + max(low, 0.0))


def _compete(cells: list[_Cell], shape: tuple[int, ...]) -> tuple[Plane, Labels]:
    """Give each pixel in a box to the cell whose ellipse it lies deepest in.

    Returns
    -------
    tuple of ndarray
        Signed distance to the owner's ellipse in pixels (approximate; negative inside, infinite
        outside of all boxes), and the owner's label, 0 for none.
    """
    depth = np.full(shape, np.inf, np.float32)
    owner = np.zeros(shape, np.int32)
    for cell in cells:
        own = np.where(cell.inside, (cell.radius() - 1) * (cell.size / 2), np.inf)
        wins = own < depth[cell.window]
        depth[cell.window][wins] = own[wins]
        owner[cell.window][wins] = cell.label
    return depth, owner


def _edges(cells: list[_Cell], stain: Plane, depth: Plane) -> Plane:
    """Absorbed share at the edge by label; at 0 for what has no box: the median of the cells."""
    found = [_edge(cell, stain, depth) for cell in cells]
    edges = np.full(cells[-1].label + 1, np.inf, np.float32)
    edges[[cell.label for cell in cells]] = found
    edges[0] = np.median(found)
    return edges


def _pale_centre(cell: _Cell, stained: Mask, owner: Labels) -> Mask:
    """Return the ground inside of a cell; all arrays in the cell's window.

    A pale centre may be open to one side: it counts when a closing shuts it in. What the closing
    adds in a dent of the outline does not count.
    """
    wall = _closed(stained, CLOSE * cell.size)
    filled = _filled(wall)
    parts, count = ndimage.label(filled & ~stained)
    shut = np.bincount(parts[filled & ~wall], minlength=count + 1) > 0
    shut[0] = False
    result: Mask = shut[parts] & (owner == cell.label) & (cell.radius() < SOLID)
    return result


def _flood(depth: Plane, owner: Labels, stain: Plane, body: Mask) -> Labels:
    """Grow the cells from their middles through the body, outwards, thin bright gaps last.

    Seeded watershed (Meyer 1991) on the normalised radius plus a black top-hat of the stain.
    """
    from skimage.segmentation import watershed

    owned = owner > 0
    ids = np.arange(owner.max() + 1)
    deepest = ndimage.minimum(np.where(owned, depth, 0), owner, ids)
    radius = np.where(owned, 1 + depth / np.maximum(-deepest, 1)[owner], np.float32(2))
    gap = ndimage.black_tophat(stain, size=(GAP, GAP))
    seeds = np.where(body & (radius < SEED), owner, 0)
    hollow = ~np.isin(ids, seeds)
    seeds = np.where(body & (radius < SOLID) & hollow[owner], owner, seeds)
    result: Labels = watershed(  # type: ignore[no-untyped-call]
        radius + GAP_WEIGHT * gap, seeds, mask=owned & body
    ).astype(np.int32)
    return result


def _reached(cell: _Cell, flooded: Labels) -> Mask:
    """Return what the flood gave to the cell, without the far corners of its box."""
    untilted = replace(cell, tilt=0.0)
    result: Mask = (flooded == cell.label) & (np.minimum(cell.radius(), untilted.radius()) < REACH)
    return result


def _without_foreign(cell: _Cell, mask: Mask, foreign: Mask) -> Mask:
    """Take off what sticks out of the cell's shape and goes on as stain outside of all boxes.

    Parameters
    ----------
    cell, mask
        The cell and its pixels in its window.
    foreign
        Large pieces of stain outside of all boxes, in the same window.
    """
    if not foreign.any():
        return mask
    doubtful = mask & ((cell.radius() > 1) | ~_opened(mask, BULGE * cell.size))
    parts, _ = ndimage.label(doubtful)
    touching = np.unique(parts[ndimage.binary_dilation(foreign, iterations=2)])
    result: Mask = mask & ~np.isin(parts, touching[touching > 0])
    return result


def _draw(cell: _Cell, mask: Mask, *, labels: Labels, owner: Labels) -> None:
    """Draw a cell into ``labels``, with a smooth outline, on pixels that are still free.

    Where nothing is left of the mask, it is the ellipse.
    """
    free = (labels[cell.window] == 0) & cell.inside
    opened = _opened(mask, HAIR * cell.size).astype(np.float32)
    smooth = ndimage.gaussian_filter(opened, SMOOTH_SIGMA, mode="nearest") > 0.5
    drawn = _filled(_largest(smooth & free)) & free
    if not drawn.any():
        drawn = _largest(free & (owner[cell.window] == cell.label) & (cell.radius() <= 1))
    labels[cell.window][drawn] = cell.label


def _opened(mask: Mask, radius: float) -> Mask:
    """Open by a disc; the window's frame is no edge."""
    return _grown(_grown(mask, -radius), radius)


def _closed(mask: Mask, radius: float) -> Mask:
    """Close by a disc; the window's frame is no edge."""
    return _grown(_grown(mask, radius), -radius)


def _grown(mask: Mask, radius: float) -> Mask:
    """Dilate by a disc, or erode where the radius is negative; any radius costs the same."""
    if radius < 0:
        return ~_grown(~mask, -radius)
    if not mask.any():
        return mask
    result: Mask = ndimage.distance_transform_edt(~mask) <= radius
    return result


def _filled(mask: Mask) -> Mask:
    result: Mask = ndimage.binary_fill_holes(mask)
    return result


def _largest(mask: Mask) -> Mask:
    """Keep the largest 4-connected component."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    result: Mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return result


def _unclaimed(stained: Mask, labels: Labels, *, size: float) -> Mask:
    """Stain without a label, its pale centres and a margin; thin rims and specks do not count."""
    rest = stained & (labels == 0)
    disc = int(size / 20)
    y, x = np.mgrid[-disc : disc + 1, -disc : disc + 1]
    rest = ndimage.binary_opening(np.pad(rest, disc, mode="edge"), y * y + x * x <= disc * disc)
    rest = rest[disc : rest.shape[0] - disc, disc : rest.shape[1] - disc]
    area = size * size
    rest = _large(rest, REST_AREA * area, at_frame=REST_AREA_AT_FRAME * area)
    rest |= _holes(rest, labels > 0, largest=REST_HOLE * area)
    rest = ndimage.binary_dilation(rest, iterations=REST_MARGIN)
    result: Mask = rest & (labels == 0)
    return result


def _large(mask: Mask, area: float, *, at_frame: float | None = None) -> Mask:
    """Keep components of at least this area in pixels; another area for those at the frame."""
    parts, count = ndimage.label(mask)
    smallest = np.full(count + 1, area)
    if at_frame is not None:
        frame = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        smallest[np.unique(frame)] = at_frame
    keep = np.bincount(parts.ravel(), minlength=count + 1) >= smallest
    keep[0] = False
    result: Mask = keep[parts]
    return result


def _holes(mask: Mask, claimed: Mask, *, largest: float) -> Mask:
    """Small regions that the mask encloses, alone or with the frame, and no label takes part in."""
    parts, count = ndimage.label(~mask)
    hole = np.bincount(parts.ravel(), minlength=count + 1) <= largest
    hole[0] = False
    hole[np.unique(parts[claimed])] = False
    result: Mask = hole[parts]
    return result


def _check(pixels: NDArray[Any], corners: NDArray[np.int64]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"Expected RGB pixels with axes YXC, but got shape {pixels.shape}.")
    if not len(corners):
        return
    if (corners[:, 2:] <= corners[:, :2]).any():
        raise InputError("Expected boxes with at least one pixel, but one is empty: leave it out.")
    if (corners[:, :2] < 0).any() or (corners[:, 2:] > np.array(pixels.shape[:2])).any():
        raise InputError(f"Expected boxes inside of the image {pixels.shape[:2]}: clip them first.")
