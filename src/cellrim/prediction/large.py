"""Images larger than memory: the same cells as in memory, from the image's file to the labels'.

The image is measured once (intensity range, scale). Blocks of it, which do not overlap, go through
the network, each with the context it needs, and are decoded as far as a block can be; what the
blocks say of their edges is joined (:mod:`cellrim.representation.blocks`), and the labels are
brought to the size of the image square by square and written with a pyramid. Every block and
square is a file in a folder beside the result until that is whole, so that a run that was killed
goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.core.channels import Channel, channel_indices
from cellrim.core.labels import Labels, halve
from cellrim.core.normalise import IntensityRange, grid_step, range_of
from cellrim.core.resize import scaled_shape
from cellrim.core.tiles import Tile, plan_tiles, windows
from cellrim.errors import InputError, OutputError, UsageError
from cellrim.io.levels import Level, write_tiff_labels
from cellrim.io.ngff import write_ngff_labels
from cellrim.io.region_readers import RegionImage
from cellrim.io.regions import open_regions
from cellrim.io.zarrs import MARKERS
from cellrim.models.card import ModelCard
from cellrim.prediction.large_image import LargeImage
from cellrim.prediction.loading import load_model
from cellrim.prediction.rescale import Taps, labels_at, taps
from cellrim.prediction.scale import Part
from cellrim.prediction.segmenter import DEFAULT_TILE, Segmenter, without_hot_pixels
from cellrim.prediction.store import LargePlan, Store, remove_tree
from cellrim.prediction.workers import Alone, Workers
from cellrim.representation.blocks import BlockSummary, Joined, decode_block, join_blocks
from cellrim.representation.flow import DecodeOptions

STREAMED_PIXELS = 64_000_000
"""Images of more pixels than this (8000 x 8000) are streamed by themselves."""

EDGE = 1024
"""Edge of the squares that labels are written in."""

# Blocks that are kept while the squares around them are made.
_KEPT_BLOCKS = 6
# The smallest level of the pyramid is at most this high and wide.
_SMALLEST_LEVEL = 512
_PROBABILITY_STEPS = 65535
_JOINED = "cells"
_SUMMARY_KEYS = ("exits", "sinks", "sink_pieces", "edges", "edge_pieces", "sums")


@dataclass(frozen=True, slots=True)
class Model:
    """How a worker gets the model: called once in each process.

    Parameters
    ----------
    name
        An embedded model's name, or the folder of a trained one.
    threads, tile_size, accurate
        As for :func:`~cellrim.prediction.loading.load_model`.
    """

    name: str | Path = "general"
    threads: int | None = None
    tile_size: int = DEFAULT_TILE
    accurate: bool = False

    def __call__(self) -> Segmenter:
        """Load it."""
        return load_model(
            self.name, threads=self.threads, tile_size=self.tile_size, accurate=self.accurate
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one step is.

    Parameters
    ----------
    step
        What is being done.
    done, total, before
        Pieces of work: done, in all, and done by an earlier run.
    """

    step: str
    done: int
    total: int
    before: int = 0


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class LargeResult:
    """The cells of a large image, in squares on the disk.

    Parameters
    ----------
    levels
        The label image and its reductions by two, uint32.
    confidence
        float32, one value per cell, 0..1, in the order of the ids.
    boxes
        int64, (n, 4): ``y0 x0 y1 x1`` of each cell, ends exclusive.
    diameter
        Cell diameter used to scale the image, in input pixels.
    image
        The image.
    asked
        Identifies the image and all that was asked for.
    """

    levels: tuple[Level, ...]
    confidence: NDArray[np.float32]
    boxes: NDArray[np.int64]
    diameter: float
    image: RegionImage
    asked: str

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.confidence)

    def save_labels(self, path: Path) -> None:
        """Write the label image: OME-Zarr where the name ends with .zarr, else OME-BigTIFF.

        Raises
        ------
        OutputError
            If it cannot be written. Nothing half-written ever has the final name.
        """
        if path.suffix.lower() != ".zarr":
            write_tiff_labels(path, self.levels, pixel_size=self.image.pixel_size)
            return
        unfinished = path.with_name(f".{path.stem}.partial{path.suffix}")
        remove_tree(unfinished)
        about = {"cellrim": __version__, "asked": self.asked, "cells": self.count}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_ngff_labels(
                unfinished, self.levels, pixel_size=self.image.pixel_size, about=about
            )
            remove_tree(path)
            unfinished.replace(path)
        except OSError as error:
            remove_tree(unfinished)
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


@dataclass(frozen=True, slots=True)
class _Context:
    """What every worker needs to know; small, and equal where it means the same."""

    folder: Path
    asked: str
    load: Callable[[], Segmenter]
    options: DecodeOptions


class _Engine:
    """Does the pieces of work of one large image in one process."""

    def __init__(self, context: _Context) -> None:
        plan = Store(context.folder).read_plan()
        if plan is None or plan.asked != context.asked:
            raise OutputError(f"The plan in {context.folder} is gone: start again.")
        self.store, self.plan = Store(context.folder), plan
        self._load, self._options = context.load, context.options
        self.tiles = network_tiles(plan)
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
    def image(self) -> LargeImage:
        """The image, normalised."""
        return LargeImage(open_regions(self.plan.source), self.plan.channels, self.plan.intensity)

    @cached_property
    def joined(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Where each block's table starts, and the tables."""
        starts, tables = self.store.read(_JOINED, "starts", "tables")
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
        pieces, summary = decode_block(
            maps,
            (core[0], core[1]),
            origin=(around[0].start, around[1].start),
            options=self._options,
        )
        arrays: dict[str, NDArray[Any]] = {key: getattr(summary, key) for key in _SUMMARY_KEYS}
        if shape != self.plan.shape:
            probability = 1 / (1 + np.exp(-maps[0, core[0], core[1]]))
            arrays["probability"] = np.rint(probability * _PROBABILITY_STEPS).astype(np.uint16)
        self.store.write(block_name(number), pieces=pieces, **arrays)

    def square(self, at: tuple[int, int]) -> None:
        """Make one square of labels at the size of the image, and find its cells."""
        from cellrim.measure.shape import bounding_boxes

        rows, columns = _square(at, self.plan.shape)
        labels = self._labels(rows, columns)
        ids = np.unique(labels[labels > 0])
        boxes = bounding_boxes(labels) + np.array([rows.start, columns.start] * 2)
        self.store.write(square_name(0, at), labels=labels, ids=ids, boxes=boxes)

    def _labels(self, rows: slice, columns: slice) -> Labels:
        if self.plan.network_shape == self.plan.shape:
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
        resized = self.plan.network_shape != self.plan.shape
        keys = ("pieces", "probability") if resized else ("pieces",)
        pieces, *rest = self.store.read(block_name(number), *keys)
        starts, tables = self.joined
        table = tables[starts[number] : starts[number + 1]].astype(np.int32)
        labels: Labels = table[pieces]
        if not rest:
            return labels, np.broadcast_to(np.float32(1), labels.shape)
        return labels, rest[0].astype(np.float32) / np.float32(_PROBABILITY_STEPS)


def segment_large(
    source: Path,
    folder: Path,
    *,
    load: Callable[[], Segmenter],
    channels: tuple[Channel, ...] | None = None,
    diameter: float | None = None,
    options: DecodeOptions | None = None,
    workers: Workers | None = None,
    resume: bool = True,
    report: Report | None = None,
) -> LargeResult:
    """Find the cells of an image that need not fit into memory.

    Parameters
    ----------
    source
        A TIFF file or OME-Zarr folder; others are read whole.
    folder
        Where unfinished results are kept. Remove it when the result has been saved.
    load
        Gives the model; called once in each process that works.
    channels, diameter, options
        As for :meth:`~cellrim.prediction.segmenter.Segmenter.segment`.
    workers
        Who does the work; this process where left out.
    resume
        Go on from what the folder holds, where that came from the same image and request.
    report
        Called after each piece of work.

    Raises
    ------
    ImageReadError
        If a part of the image cannot be read. What is finished stays in the folder.
    InputError
        If the channels or the diameter do not fit.
    OutputError
        If the folder cannot be written.
    ClusterError
        If the workers are gone.
    """
    segmenter = load()
    say = report or _say_nothing
    chosen = options or segmenter.card.decode
    asked = asked_hash(source, segmenter, channels=channels, diameter=diameter, options=chosen)
    store, image = Store(folder), open_regions(source)
    plan = store.read_plan() if resume else None
    if plan is None or plan.asked != asked:
        plan = _measure(image, segmenter, asked, channels=channels, diameter=diameter, report=say)
        store.start(plan)
    context = _Context(folder.absolute(), asked, load, chosen)
    team = workers or Alone()
    try:
        return _segmented(store, plan, image, context, team, card=segmenter.card, say=say)
    finally:
        _engine.cache_clear()


def _segmented(
    store: Store,
    plan: LargePlan,
    image: RegionImage,
    context: _Context,
    team: Workers,
    *,
    card: ModelCard,
    say: Report,
) -> LargeResult:
    """Do what is left to do of a plan."""
    numbers = range(0 if plan.constant else len(network_tiles(plan)))
    _work(store, team, "Cells", partial(_do_block, context), numbers, name=block_name, report=say)
    joining = without_hot_pixels(context.options, plan.network_shape, of=plan.shape)
    joined = _join(store, plan, len(numbers), joining)
    squares = _squares(plan.shape)
    if not plan.constant:
        name = partial(square_name, 0)
        _work(store, team, "Labels", partial(_do_square, context), squares, name=name, report=say)
    return _finish(store, plan, joined, image, card=card, report=say)


def asked_hash(
    source: Path,
    segmenter: Segmenter,
    *,
    channels: tuple[Channel, ...] | None,
    diameter: float | None,
    options: DecodeOptions,
) -> str:
    """Identify an image as it is now, and all that its result depends on."""
    parts = {
        "cellrim": __version__,
        "card": segmenter.card.model_dump(mode="json"),
        "tile_size": segmenter.tile_size,
        "channels": channels,
        "diameter": diameter,
        "options": asdict(options),
        "source": str(source.absolute()),
        "files": _fingerprint(source),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def network_tiles(plan: LargePlan) -> tuple[Tile, ...]:
    """Return the tiles of the image at the network's scale; their cores are the blocks."""
    return plan_tiles(plan.network_shape, size=plan.tile_size, halo=plan.halo, multiple=plan.stride)


def block_name(number: int) -> str:
    """Name of a block's file."""
    return f"blocks/{number:08d}"


def square_name(level: int, at: tuple[int, int]) -> str:
    """Name of the file of one square of labels."""
    return f"labels/{level}/{at[0]:06d}_{at[1]:06d}"


def _fingerprint(source: Path) -> list[tuple[str, int, int]]:
    """Size and time of the file, or of the metadata files of a zarr (its chunks are too many)."""
    if not source.is_dir():
        files = [source]
    else:
        files = [p for name in MARKERS for p in sorted(source.glob(name))]
        files += [p for name in MARKERS for p in sorted(source.glob(f"*/{name}"))]
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.exists()]


def _say_nothing(_progress: Progress) -> None:
    return


def _measure(
    image: RegionImage,
    segmenter: Segmenter,
    asked: str,
    *,
    channels: tuple[Channel, ...] | None,
    diameter: float | None,
    report: Report,
) -> LargePlan:
    """Look at the whole image once: its channels, their range, and the size of its cells."""
    if diameter is not None:
        segmenter.given_scale(diameter)  # fails now rather than after the whole image was read
    intensity, grey = _measure_range(image, report)
    names = ("grey",) if grey else image.channels
    picked = _pick(names, channels)
    chosen = IntensityRange(
        tuple(intensity.low[c] for c in picked), tuple(intensity.high[c] for c in picked)
    )
    if chosen.low == chosen.high:
        scale, used = 1.0, diameter or segmenter.card.canonical_diameter
    else:
        looked = LargeImage(image, picked, chosen)
        scale = (
            segmenter.estimate_scale(looked)
            if diameter is None
            else segmenter.given_scale(diameter)
        )
        used = segmenter.card.canonical_diameter / scale
    return LargePlan(
        source=image.path.absolute(),
        asked=asked,
        shape=image.shape,
        network_shape=scaled_shape(image.shape, scale),
        tile_size=segmenter.tile_size,
        halo=segmenter.card.halo,
        stride=segmenter.card.stride,
        channels=picked,
        low=chosen.low,
        high=chosen.high,
        diameter=used,
        names=names,
        pixel_size=image.pixel_size,
    )


def _measure_range(image: RegionImage, report: Report) -> tuple[IntensityRange, bool]:
    """Measure the channels on the same grid as in memory, and whether three are equal."""
    step = grid_step(image.shape)
    count = len(image.channels)
    samples: list[list[NDArray[Any]]] = [[] for _ in range(count)]
    grey = count == 3
    squares = list(windows(image.shape, 2 * EDGE))
    for number, (rows, columns) in enumerate(squares, start=1):
        pixels = image.read(rows, columns)
        grey = grey and all(
            np.array_equal(pixels[..., 0], pixels[..., c], equal_nan=pixels.dtype.kind == "f")
            for c in (1, 2)
        )
        thin = pixels[-rows.start % step :: step, -columns.start % step :: step]
        for c in range(count):
            samples[c].append(thin[..., c].ravel())
        report(Progress("Looking", number, len(squares)))
    return range_of([np.concatenate(parts) for parts in samples]), grey


def _pick(names: tuple[str, ...], channels: tuple[Channel, ...] | None) -> tuple[int, ...]:
    picked = tuple(range(len(names))) if channels is None else channel_indices(names, channels)
    if not 1 <= len(picked) <= 3:
        listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
        raise InputError(
            f"Expected one to three channels, but got {len(picked)}: choose which show the cells, "
            f"for example channels=(0, 1), out of: {listed}."
        )
    return picked


def _work(
    store: Store,
    workers: Workers,
    step: str,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    name: Callable[[Any], str],
    report: Report,
) -> None:
    """Do those pieces of work whose files are not there."""
    everything = list(items)
    left = [item for item in everything if not store.has(name(item))]
    before = len(everything) - len(left)
    report(Progress(step, before, len(everything), before))
    for done, _ in enumerate(workers.run(function, left), start=before + 1):
        report(Progress(step, done, len(everything), before))


@lru_cache(maxsize=1)
def _engine(context: _Context) -> _Engine:
    """Keep the model and the image open between the pieces of work of one process."""
    return _Engine(context)


def _do_block(context: _Context, number: int) -> int:
    _engine(context).block(number)
    return number


def _do_square(context: _Context, at: tuple[int, int]) -> tuple[int, int]:
    _engine(context).square(at)
    return at


def _join(store: Store, plan: LargePlan, count: int, options: DecodeOptions) -> Joined:
    """Join the blocks, or read what was joined before."""
    if store.has(_JOINED):
        (sums,) = store.read(_JOINED, "sums")
        return Joined((), sums)
    blocks = [BlockSummary(*store.read(block_name(n), *_SUMMARY_KEYS)) for n in range(count)]
    if not blocks:
        return Joined((), np.zeros((5, 0)))
    joined = join_blocks(blocks, width=plan.network_shape[1], options=options)
    starts = np.concatenate([[0], np.cumsum([len(t) for t in joined.tables])]).astype(np.int64)
    store.write(_JOINED, starts=starts, tables=np.concatenate(joined.tables), sums=joined.sums)
    return Joined((), joined.sums)


def _finish(
    store: Store,
    plan: LargePlan,
    joined: Joined,
    image: RegionImage,
    *,
    card: ModelCard,
    report: Report,
) -> LargeResult:
    """Give numbers to the cells that have pixels, and make the pyramid."""
    count = joined.sums.shape[1]
    boxes = np.tile(np.array([1 << 62, 1 << 62, -1, -1], np.int64), (count + 1, 1))
    if not plan.constant:
        for at in _squares(plan.shape):
            ids, found = store.read(square_name(0, at), "ids", "boxes")
            boxes[ids, :2] = np.minimum(boxes[ids, :2], found[:, :2])
            boxes[ids, 2:] = np.maximum(boxes[ids, 2:], found[:, 2:])
    patches = _keep_lost(store, plan, joined, boxes)
    present = boxes[:, 2] > 0
    table = np.where(present, np.cumsum(present), 0).astype(np.uint32)

    def base(y: int, x: int) -> NDArray[np.uint32]:
        rows, columns = _square((y, x), plan.shape)
        if plan.constant:
            return np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint32)
        (labels,) = store.read(square_name(0, (y, x)), "labels")
        final: NDArray[np.uint32] = table[labels]
        for py, px, number in patches.get((y, x), ()):
            final[py, px] = table[number]
        return final

    levels = [Level(plan.shape, EDGE, base)]
    while max(levels[-1].shape) > _SMALLEST_LEVEL:
        levels.append(_halved(store, levels[-1], len(levels), report))
    return LargeResult(
        levels=tuple(levels),
        confidence=card.calibrated(joined.confidence[present[1:]]),
        boxes=boxes[present],
        diameter=plan.diameter,
        image=image,
        asked=plan.asked,
    )


def _keep_lost(
    store: Store, plan: LargePlan, joined: Joined, boxes: NDArray[np.int64]
) -> dict[tuple[int, int], list[tuple[int, int, int]]]:
    """Give cells without a pixel the one at their centre, where it is free, as in memory.

    ``boxes`` is told of them. Returns row, column and cell for each square.
    """
    lost = np.flatnonzero(boxes[1:, 2] < 0) + 1
    centre = joined.sums[3:, lost - 1] / joined.sums[0, lost - 1]
    patches: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    ratio = [b / a for a, b in zip(plan.network_shape, plan.shape, strict=True)]
    for k, number in enumerate(lost.tolist()):  # enlarged specks only: hardly ever any
        y, x = (
            min(int((centre[axis, k] + 0.5) * ratio[axis]), plan.shape[axis] - 1) for axis in (0, 1)
        )
        square, inside = (y // EDGE, x // EDGE), (y % EDGE, x % EDGE)
        (labels,) = store.read(square_name(0, square), "labels")
        if labels[inside] == 0 and all(p[:2] != inside for p in patches.get(square, ())):
            patches.setdefault(square, []).append((*inside, number))
            boxes[number] = (y, x, y + 1, x + 1)
    return patches


def _halved(store: Store, level: Level, number: int, report: Report) -> Level:
    """Make the next level of the pyramid, of which nothing is kept from an earlier run."""
    height, width = level.shape
    shape = (-(-height // 2), -(-width // 2))
    squares = _squares(shape)
    for done, (y, x) in enumerate(squares, start=1):
        rows = []
        for sy in range(2 * y, min(2 * y + 2, -(-height // EDGE))):
            row = [level.read(sy, sx) for sx in range(2 * x, min(2 * x + 2, -(-width // EDGE)))]
            rows.append(np.concatenate(row, axis=1))
        store.write(square_name(number, (y, x)), labels=halve(np.concatenate(rows)))
        report(Progress(f"Pyramid {number}", done, len(squares)))

    def read(y: int, x: int) -> NDArray[np.uint32]:
        (labels,) = store.read(square_name(number, (y, x)), "labels")
        return labels

    return Level(shape, EDGE, read)


def _squares(shape: tuple[int, int]) -> list[tuple[int, int]]:
    return [(y.start // EDGE, x.start // EDGE) for y, x in windows(shape, EDGE)]


def _square(at: tuple[int, int], shape: tuple[int, int]) -> Part:
    rows, columns = (
        slice(i * EDGE, min((i + 1) * EDGE, n)) for i, n in zip(at, shape, strict=True)
    )
    return rows, columns


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


def refuse(path: Path) -> UsageError:
    """Make the error for results that are there already."""
    return UsageError(
        f"{path} is there already: --resume goes on from it, --overwrite replaces it, or choose "
        "another output."
    )
