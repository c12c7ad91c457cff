"""The flow representation: every pixel of a cell points along the shortest way to its centre.

Encoding computes, inside each cell, the geodesic distance to an interior point and stores its
normalised downhill gradient, as the flow of Cellpose (Stringer et al., Nature Methods 2021) but
from an eikonal equation (Sethian, PNAS 1996) instead of heat diffusion, so that non-convex cells
get paths that stay inside. Decoding follows the flow by pointer doubling: the pixel one step down
the flow is written as an index, and ``next = next[next]`` repeated k times walks 2**k steps for
all pixels at once. Work is linear in pixels and does not depend on the number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.components import connected
from cellrim.core.labels import Labels

MAPS = ("foreground", "flow_y", "flow_x", "log2_diameter")
"""Order of the maps: foreground logit, unit flow (y, x), log2(cell diameter / canonical)."""

# A unit vector times this, rounded, is the nearest of the eight neighbours.
_STEP = 1.3065629648763766
# Ends are few where there is one for more pixels than this. A cell has two or three.
_FEW = 128
# 2**9 = 512 steps, longer than any path inside a cell at the canonical scale.
_DOUBLINGS = 9


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How maps become instances.

    Parameters
    ----------
    foreground_threshold
        Probability above which a pixel belongs to a cell, 0..1.
    sink_radius
        End points of paths within twice this distance (pixels) belong to one cell.
    min_area
        Smaller instances are dropped; pixels at the scale of the maps.
    min_confidence
        Instances whose :func:`confidence` is lower are dropped, 0..1.
    min_surest
        Where not even the surest instance of an image has this confidence, all are dropped, 0..1:
        debris in an empty field is seldom taken for a sure cell, while a field of cells has some.
    """

    foreground_threshold: float = 0.5
    sink_radius: int = 1
    min_area: int = 12
    min_confidence: float = 0.0
    min_surest: float = 0.0

    def keeps(
        self, area: NDArray[np.number[Any]], confidence: NDArray[np.floating[Any]]
    ) -> NDArray[np.bool_]:
        """Say which of all instances of an image are kept, by their pixels and confidence."""
        keep = (area >= self.min_area) & (confidence >= self.min_confidence)
        return keep & bool(np.max(confidence, where=keep, initial=0) >= self.min_surest)


def decode(maps: NDArray[np.float32], options: DecodeOptions | None = None) -> Labels:
    """Turn maps into a label image.

    Parameters
    ----------
    maps
        float32, axes ``CYX`` with the channels of :data:`MAPS`.
    options
        Thresholds; the defaults where left out.

    Returns
    -------
    ndarray
        int32, axes ``YX``, ids 1..n without gaps.
    """
    return decode_with_confidence(maps, options)[0]


def decode_with_confidence(
    maps: NDArray[np.float32], options: DecodeOptions | None = None
) -> tuple[Labels, NDArray[np.float32]]:
    """Turn maps into a label image, and say how sure the network is of each instance.

    Parameters
    ----------
    maps, options
        As for :func:`decode`.

    Returns
    -------
    labels
        int32, axes ``YX``, ids 1..n without gaps.
    confidence
        float32, ``(n,)``, 0..1: the mean foreground probability of an instance's pixels times the
        mean length of its flow. Short flow is what a network trained on squared error predicts
        where it cannot decide between two cells.
    """
    options = options or DecodeOptions()
    foreground = foreground_of(maps, options)
    labels = np.zeros(foreground.shape, np.int32)
    nodes = np.flatnonzero(foreground)
    if len(nodes) == 0:
        return labels, np.zeros(0, np.float32)
    ends = path_ends(maps, foreground, nodes)
    ids = group_sinks(ends, nodes, foreground.shape, options.sink_radius)
    area = np.bincount(ids)
    sure = _mean_confidence(maps, nodes, ids, area)
    keep = np.zeros(len(area), bool)
    keep[1:] = options.keeps(area[1:], sure[1:])  # 0 is no instance
    labels.ravel()[nodes] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[ids]
    return labels, sure[keep]


def probability_of(logit: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Return the chance, 0..1, that logits such as those of the foreground stand for."""
    result: NDArray[Any] = np.negative(logit)
    np.exp(result, out=result)
    result += 1
    np.reciprocal(result, out=result)
    return result


def foreground_of(maps: NDArray[np.float32], options: DecodeOptions) -> NDArray[np.bool_]:
    """Mark the pixels that belong to a cell."""
    logit = np.log(options.foreground_threshold) - np.log1p(-options.foreground_threshold)
    result: NDArray[np.bool_] = maps[0] > logit
    return result


def path_ends(
    maps: NDArray[np.float32], foreground: NDArray[np.bool_], nodes: NDArray[np.intp]
) -> NDArray[np.int32]:
    """Index into ``nodes`` (flat foreground pixels) of where the path of each of them ends."""
    return follow(next_node(maps, foreground, nodes))


def next_node(
    maps: NDArray[np.float32], foreground: NDArray[np.bool_], nodes: NDArray[np.intp]
) -> NDArray[np.int32]:
    """Index into ``nodes`` of the pixel one step down the flow; itself if that is background."""
    height, width = foreground.shape
    flat = maps.reshape(len(maps), -1)
    flow_y, flow_x = flat[1, nodes], flat[2, nodes]
    scale = _STEP / np.maximum(np.hypot(flow_y, flow_x), 1e-6)
    step_y = np.rint(flow_y * scale).astype(np.int32)
    step_x = np.rint(flow_x * scale).astype(np.int32)
    y, x = np.divmod(nodes.astype(np.int32), np.int32(width))
    y = np.clip(y + step_y, 0, height - 1)
    x = np.clip(x + step_x, 0, width - 1)
    index = np.full(height * width, -1, np.int32)
    index[nodes] = np.arange(len(nodes), dtype=np.int32)
    target = index[y * width + x]
    return np.where(target >= 0, target, np.arange(len(nodes), dtype=np.int32))


def follow(step: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where the path from each node ends, given where one step leads."""
    for _ in range(_DOUBLINGS):
        step = step[step]
    return step


def group_sinks(
    ends: NDArray[np.int32],
    nodes: NDArray[np.intp],
    shape: tuple[int, ...],
    radius: int,
) -> NDArray[np.int32]:
    """Id 1..n for each path, by the node it ends at: paths that end close together are one cell.

    Two ends are close if, each grown by ``radius`` pixels to the four sides, they touch or overlap,
    corners included. Where there are few ends only these are looked at.
    """
    is_sink = np.zeros(len(nodes), bool)
    is_sink[ends] = True
    sinks = np.flatnonzero(is_sink)
    few = len(sinks) * _FEW < shape[0] * shape[1]
    group = (_join_few if few else _join_many)(nodes[sinks], shape, radius)
    of_node = np.zeros(len(nodes), np.int32)
    of_node[sinks] = group + 1
    result: NDArray[np.int32] = of_node[ends]
    return result


def _join_many(places: NDArray[np.intp], shape: tuple[int, ...], radius: int) -> NDArray[np.int32]:
    """Group 0..n-1 of each place (flat indices, ascending)."""
    from scipy import ndimage  # takes a third of a second to import, and ends are seldom many

    grown = np.zeros(shape, bool)
    grown.ravel()[places] = True
    if radius > 0:
        grown = ndimage.binary_dilation(grown, iterations=radius)
    groups, _ = ndimage.label(grown, structure=np.ones((3, 3), bool), output=np.int32)
    result: NDArray[np.int32] = groups.ravel()[places] - 1
    return result


def _join_few(places: NDArray[np.intp], shape: tuple[int, ...], radius: int) -> NDArray[np.int32]:
    """As :func:`_join_many`, without touching each pixel; memory for each pair that is close."""
    height, width = shape
    count = len(places)
    reach = 2 * radius + 1
    number = np.full((height + reach) * (width + 2 * reach), -1, np.int32)
    y, x = np.divmod(places, width)
    padded = y * (width + 2 * reach) + x + reach
    number[padded] = np.arange(count, dtype=np.int32)
    first, second = [], []
    for dy in range(reach + 1):
        for dx in range(-reach, reach + 1):
            if dy + abs(dx) > reach + 1 or (dy == 0 and dx <= 0):
                continue
            other = number[padded + dy * (width + 2 * reach) + dx]
            close = np.flatnonzero(other >= 0)
            first.append(close)
            second.append(other[close])
    return connected(count, np.concatenate(first), np.concatenate(second))


def _mean_confidence(
    maps: NDArray[np.float32],
    nodes: NDArray[np.intp],
    ids: NDArray[np.int32],
    area: NDArray[np.intp],
) -> NDArray[np.float32]:
    probability, length = pixel_confidence(maps, nodes)
    pixels = np.maximum(area, 1)
    mean_probability = np.bincount(ids, weights=probability, minlength=len(area)) / pixels
    mean_length = np.bincount(ids, weights=length, minlength=len(area)) / pixels
    result: NDArray[Any] = mean_probability * mean_length
    return result.astype(np.float32)


def pixel_confidence(
    maps: NDArray[np.float32], at: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Foreground probability and length of the flow, both 0..1, of the pixels at flat indices."""
    flat = maps.reshape(len(maps), -1)[:, at]
    probability = probability_of(flat[0])
    length: NDArray[np.float32] = np.minimum(np.hypot(flat[1], flat[2]), 1)
    return probability, length
