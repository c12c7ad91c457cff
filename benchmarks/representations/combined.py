"""(d) Flow with rim and depth: paths follow the flow, and what they end in is told by all three.

Ends of paths and deep places grow together into one sink per cell, but never across a predicted
rim, which the flow alone does where two centres lie close.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from representations.base import SURE, Maps, Options, Representation, drop_small, logit
from representations.flow import flow_loss, turned
from representations.watershed import Watershed, rim_and_depth, rim_and_depth_loss
from scipy import ndimage
from torch import Tensor

from cellrim.core.labels import Labels, relabel
from cellrim.representation.encode import encode
from cellrim.representation.flow import path_ends


class Combined(Representation):
    name: ClassVar[str] = "combined"
    count: ClassVar[int] = 4
    units: ClassVar[tuple[float, ...]] = (127.0, 127.0, *Watershed.units)
    tried: ClassVar[dict[str, tuple[float, ...]]] = {
        "depth": (0.7, 0.6, 0.8),
        "rim": (0.5, 0.4, 0.6),
    }
    radius: ClassVar[int] = 3

    def describe(self, labels: Labels) -> Maps:
        return np.concatenate([encode(labels, 1.0)[1:3], Watershed().describe(labels)])

    def target(self, packed: Maps, turn: NDArray[np.float64], *, zoom: float) -> Maps:
        return np.concatenate([turned(packed[:2], turn), rim_and_depth(packed[2:], zoom)])

    def loss(self, maps: Tensor, cell: Tensor, known: Tensor, target: Tensor) -> Tensor:
        del cell
        flow = flow_loss(maps[:, :2], known, target[:, :2])
        return flow + rim_and_depth_loss(maps[:, 2:], known, target[:, 2:])

    def perfect(self, target: Maps) -> Maps:
        rim = np.where(target[2:3] > 0, SURE, -SURE)
        return np.concatenate([target[:2], rim, target[3:]])

    def decode(self, maps: Maps, options: Options) -> Labels:
        foreground = maps[0] > 0
        labels = np.zeros(foreground.shape, np.int32)
        nodes = np.flatnonzero(foreground)
        if not len(nodes):
            return labels
        ends = nodes[path_ends(maps, foreground, nodes)]
        inner = foreground & (maps[3] < float(logit(np.array(options["rim"]))))
        sinks = np.zeros(foreground.shape, bool)
        sinks.ravel()[ends] = True
        grown = ndimage.binary_dilation(sinks, iterations=self.radius) & inner
        sinks |= grown | (inner & (maps[4] > options["depth"]))
        groups, _ = ndimage.label(sinks, structure=np.ones((3, 3), bool))
        labels.ravel()[nodes] = groups.ravel()[ends]
        return relabel(drop_small(labels))
