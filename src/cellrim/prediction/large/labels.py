"""From the squares of labels to the label image, its pyramid, and one row per cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import halve
from cellrim.io.levels import Level
from cellrim.io.region_readers import RegionImage
from cellrim.models.card import ModelCard
from cellrim.prediction.large import squares as grid
from cellrim.prediction.large.plan import LargePlan
from cellrim.prediction.large.progress import Progress, Report
from cellrim.prediction.large.result import LargeResult
from cellrim.prediction.large.squares import At
from cellrim.prediction.large.store import Store, square_name
from cellrim.representation.blocks import Joined

# The smallest level of the pyramid is at most this high and wide.
_SMALLEST_LEVEL = 512


def finish(
    store: Store,
    plan: LargePlan,
    joined: Joined,
    image: RegionImage,
    *,
    card: ModelCard,
    certainty: float,
    devices: tuple[str, ...],
    report: Report,
) -> LargeResult:
    """Give numbers to the cells that have pixels, and make the pyramid.

    Parameters
    ----------
    store, plan
        Of the image, whose squares are all there.
    joined
        Its cells.
    image
        The image.
    card
        The model's, which calibrates the confidence.
    certainty
        How sure the network is of the whole image.
    devices
        Where the network ran.
    report
        Told of each square of the pyramid.

    Raises
    ------
    OutputError
        If a square cannot be read or written.
    """
    boxes, areas = _extents(store, plan, count=joined.sums.shape[1])
    patches = _keep_lost(store, plan, joined, boxes)
    present = boxes[:, 2] > 0
    areas[present] = np.maximum(areas[present], 1)  # those that were lost have one pixel now
    table = np.where(present, np.cumsum(present), 0).astype(np.uint32)

    def base(y: int, x: int) -> NDArray[np.uint32]:
        rows, columns = grid.square((y, x), plan.shape)
        if plan.constant:
            return np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint32)
        (labels,) = store.read(square_name(0, (y, x)), "labels")
        final: NDArray[np.uint32] = table[labels]
        for py, px, number in patches.get((y, x), ()):
            final[py, px] = table[number]
        return final

    levels = [Level(plan.shape, grid.EDGE, base)]
    while max(levels[-1].shape) > _SMALLEST_LEVEL:
        levels.append(_halved(store, levels[-1], len(levels), report))
    return LargeResult(
        levels=tuple(levels),
        confidence=card.calibrated(joined.confidence[present[1:]]),
        boxes=boxes[present],
        areas=areas[present],
        certainty=certainty,
        diameter=plan.diameter,
        image=image,
        asked=plan.asked,
        devices=devices,
    )


def _extents(
    store: Store, plan: LargePlan, *, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Box and area of each cell 0..count over all squares; an empty box where it has no pixel."""
    boxes = np.tile(np.array([1 << 62, 1 << 62, -1, -1], np.int64), (count + 1, 1))
    areas = np.zeros(count + 1, np.int64)
    if not plan.constant:
        for at in grid.squares(plan.shape):
            ids, found, pixels = store.read(square_name(0, at), "ids", "boxes", "areas")
            areas[ids] += pixels
            boxes[ids, :2] = np.minimum(boxes[ids, :2], found[:, :2])
            boxes[ids, 2:] = np.maximum(boxes[ids, 2:], found[:, 2:])
    return boxes, areas


def _keep_lost(
    store: Store, plan: LargePlan, joined: Joined, boxes: NDArray[np.int64]
) -> dict[At, list[tuple[int, int, int]]]:
    """Give cells without a pixel the one at their centre, where it is free, as in memory.

    ``boxes`` is told of them. Returns row, column and cell for each square.
    """
    lost = np.flatnonzero(boxes[1:, 2] < 0) + 1
    centre = joined.sums[3:, lost - 1] / joined.sums[0, lost - 1]
    patches: dict[At, list[tuple[int, int, int]]] = {}
    ratio = [b / a for a, b in zip(plan.network_shape, plan.shape, strict=True)]
    for k, number in enumerate(lost.tolist()):  # enlarged specks only: hardly ever any
        y, x = (
            min(int((centre[axis, k] + 0.5) * ratio[axis]), plan.shape[axis] - 1) for axis in (0, 1)
        )
        at, inside = grid.square_of((y, x))
        (labels,) = store.read(square_name(0, at), "labels")
        if labels[inside] == 0 and all(p[:2] != inside for p in patches.get(at, ())):
            patches.setdefault(at, []).append((*inside, number))
            boxes[number] = (y, x, y + 1, x + 1)
    return patches


def _halved(store: Store, level: Level, number: int, report: Report) -> Level:
    """Make the next level of the pyramid, of which nothing is kept from an earlier run."""
    height, width = level.shape
    shape = (-(-height // 2), -(-width // 2))
    places, edge = grid.squares(shape), level.edge
    for done, (y, x) in enumerate(places, start=1):
        rows = []
        for sy in range(2 * y, min(2 * y + 2, -(-height // edge))):
            row = [level.read(sy, sx) for sx in range(2 * x, min(2 * x + 2, -(-width // edge)))]
            rows.append(np.concatenate(row, axis=1))
        store.write(square_name(number, (y, x)), labels=halve(np.concatenate(rows)))
        report(Progress(f"Pyramid {number}", done, len(places)))

    def read(y: int, x: int) -> NDArray[np.uint32]:
        (labels,) = store.read(square_name(number, (y, x)), "labels")
        return labels

    return Level(shape, edge, read)
