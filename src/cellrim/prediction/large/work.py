"""The pieces of work of a large image: blocks through the network, and squares of labels.

Each is done on its own, by whatever process, and leaves a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.core.tiles import Part
from cellrim.errors import OutputError
from cellrim.io.regions import open_regions
from cellrim.prediction.certainty import certainty_sums
from cellrim.prediction.large import squares as grid
from cellrim.prediction.large.joining import CERTAINTY, DEVICE, JOINED, WAYS
from cellrim.prediction.large.squares import At
from cellrim.prediction.large.store import Store, block_name, square_name
from cellrim.prediction.normalised import NormalisedImage
from cellrim.prediction.rescale import Taps, labels_at, taps
from cellrim.prediction.segmenter import Segmenter
from cellrim.representation.blocks import SUMMARY_KEYS, decode_block
from cellrim.representation.flow import DecodeOptions, probability_of

# Blocks that are kept while the squares around them are made.
_KEPT_BLOCKS = 6
_PROBABILITY_STEPS = 65535


@dataclass(frozen=True, slots=True)
class Context:
    """What every worker needs to know; small, and equal where it means the same."""

    folder: Path
    asked: str
    load: Callable[[], Segmenter]
    options: DecodeOptions


class Engine:
    """Does the pieces of work of one large image in one process."""

    def __init__(self, context: Context) -> None:
        plan = Store(context.folder).read_plan()
        if plan is None or plan.asked != context.asked:
            raise OutputError(f"The plan in {context.folder} is gone: start again.")
        self.store, self.plan = Store(context.folder), plan
        self._load, self._options = context.load, context.options
        self.tiles = plan.tiles
        self._bounds = [
            np.array(sorted({tile.core[axis].start for tile in self.tiles})) for axis in (0, 1)
        ]
        self._taps = [taps(a, b) for a, b in zip(plan.network_shape, plan.shape, strict=True)]
        self._block = lru_cache(maxsize=_KEPT_BLOCKS)(self._read_block)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The model."""
        return self._load()

    @cached_property
    def image(self) -> NormalisedImage:
        """The image, normalised."""
        return self.plan.arrangement.apply(open_regions(Path(self.plan.source)))

    @cached_property
    def joined(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Where each block's table starts, and the tables."""
        starts, tables = self.store.read(JOINED, "starts", "tables")
        return starts, tables

    def block(self, number: int) -> None:
        """Run the network over a block and decode it as far as a block can be."""
        tile, shape = self.tiles[number], self.plan.network_shape
        maps = self.segmenter.run_tile(self.image.window(tile.read, shape=shape))
        around = tuple(
            slice(max(0, part.start - 1), min(n, part.stop + 1))
            for part, n in zip(tile.core, shape, strict=True)
        )
        y, x = (
            slice(part.start - read.start, part.stop - read.start)
            for part, read in zip(around, tile.read, strict=True)
        )
        core = tuple(
            slice(part.start - wide.start, part.stop - wide.start)
            for part, wide in zip(tile.core, around, strict=True)
        )
        maps = maps[:, y, x]
        pieces, summary, ways = decode_block(
            maps,
            (core[0], core[1]),
            origin=(around[0].start, around[1].start),
            options=self._options,
        )
        arrays: dict[str, NDArray[Any]] = {key: getattr(summary, key) for key in SUMMARY_KEYS}
        if self.plan.resized:
            probability = probability_of(maps[0, core[0], core[1]])
            arrays["probability"] = np.rint(probability * _PROBABILITY_STEPS).astype(np.uint16)
        arrays[CERTAINTY] = np.array(certainty_sums(maps[:, core[0], core[1]]))
        arrays[DEVICE] = np.array(self.segmenter.device)
        arrays[WAYS] = ways
        self.store.write(block_name(number), pieces=pieces, **arrays)

    def square(self, at: At) -> None:
        """Make one square of labels at the size of the image, and find its cells."""
        from cellrim.measure.shape import bounding_boxes

        rows, columns = grid.square(at, self.plan.shape)
        labels = self._labels(rows, columns)
        ids, areas = np.unique(labels[labels > 0], return_counts=True)
        boxes = bounding_boxes(labels) + np.array([rows.start, columns.start] * 2)
        self.store.write(square_name(0, at), labels=labels, ids=ids, boxes=boxes, areas=areas)

    def _labels(self, rows: slice, columns: slice) -> Labels:
        if not self.plan.resized:
            return self._assemble(rows, columns)[0]
        near = [t.part(part) for t, part in zip(self._taps, (rows, columns), strict=True)]
        labels, probability = self._assemble(near[0].source, near[1].source)
        within: list[Taps] = [t.within_source() for t in near]
        return labels_at(
            labels,
            probability,
            rows=within[0],
            columns=within[1],
            threshold=self._options.foreground_threshold,
        )

    def _assemble(self, rows: slice, columns: slice) -> tuple[Labels, NDArray[np.float32]]:
        """Instances and probability of a part of the image at the network's scale."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        labels, probability = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        for y in _overlapping(self._bounds[0], rows):
            for x in _overlapping(self._bounds[1], columns):
                number = y * len(self._bounds[1]) + x
                target, source = _overlap((rows, columns), self.tiles[number].core)
                block = self._block(number)
                labels[target] = block[0][source]
                probability[target] = block[1][source]
        return labels, probability

    def _read_block(self, number: int) -> tuple[Labels, NDArray[np.float32]]:
        keys = ("pieces", "probability") if self.plan.resized else ("pieces",)
        pieces, *rest = self.store.read(block_name(number), *keys)
        starts, tables = self.joined
        table = tables[starts[number] : starts[number + 1]].astype(np.int32)
        labels: Labels = table[pieces]
        if not rest:
            return labels, np.broadcast_to(np.float32(1), labels.shape)
        return labels, rest[0].astype(np.float32) / np.float32(_PROBABILITY_STEPS)


def do_block(context: Context, number: int) -> int:
    """Do a block in this process and return its number."""
    _engine(context).block(number)
    return number


def do_square(context: Context, at: At) -> At:
    """Do a square of labels in this process and return its place."""
    _engine(context).square(at)
    return at


def forget() -> None:
    """Let go of the model and the image that this process keeps."""
    _engine.cache_clear()


@lru_cache(maxsize=1)
def _engine(context: Context) -> Engine:
    """Keep the model and the image open between the pieces of work of one process."""
    return Engine(context)


def _overlapping(starts: NDArray[np.intp], part: slice) -> range:
    """Which of the blocks along one axis overlap a range."""
    first = int(np.searchsorted(starts, part.start, side="right")) - 1
    return range(first, int(np.searchsorted(starts, part.stop, side="left")))


def _overlap(part: Part, core: Part) -> tuple[Part, Part]:
    """Where two windows overlap, as seen from each."""
    target, source = [], []
    for a, b in zip(part, core, strict=True):
        begin, end = max(a.start, b.start), min(a.stop, b.stop)
        target.append(slice(begin - a.start, end - a.start))
        source.append(slice(begin - b.start, end - b.start))
    return (target[0], target[1]), (source[0], source[1])
