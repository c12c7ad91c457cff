"""Stacks: every plane of a file segmented and measured, and cells linked over time.

Planes are read, segmented and measured one at a time; their label images wait packed in a
temporary file. All planes are brought to one scale, that of a few planes spread over the stack, so
that cells do not change their size with the plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim.core.channels import Channel, channel_indices
from cellrim.core.closing import Closing
from cellrim.core.image import Image
from cellrim.core.resize import resize, scaled_shape
from cellrim.core.stack import Index, Stack
from cellrim.errors import InputError, UsageError
from cellrim.io.exports import FORMATS, CellSet, CellStack
from cellrim.io.exports.plain import write_stack
from cellrim.io.exports.planes import plane_name, write_planes
from cellrim.io.spool import LabelSpool
from cellrim.measure import summarise, summarise_stack
from cellrim.measure.quality import Quality, typical
from cellrim.measure.summary import Number
from cellrim.measure.tracks import LinkOptions, Tracker, Tracks
from cellrim.prediction.result import Result

SegmentPlane = Callable[[Image, float | None], Result]
"""Segments one plane at a cell diameter in pixels, or at an estimated one."""

# Where in a stack the scale is estimated; the first and last slices often show nothing.
_LOOKS = (0.25, 0.5, 0.75)
# The overlay of a stack shows as many planes as this at most, each this large at most.
_SHOWN_PLANES = 16
_SHOWN_EDGE = 512


@dataclass(frozen=True)
class StackResult(Closing):
    """The cells of all planes of a stack.

    Close it, or use it as a context, to free its temporary file.

    Parameters
    ----------
    stack
        What was segmented.
    labels
        One label image per plane, in the order of the stack. Ids begin at 1 in every plane; with
        tracks they are the numbers of the tracks, so that a cell keeps its id over time.
    columns
        One row per cell and plane: ``t`` and ``z`` where the stack has them, counted from 0; the
        measurements of :class:`~cellrim.measure.cells.CellTable`; with tracks also ``track`` and
        ``parent``, the track that divided into this one or 0.
    diameter
        Cell diameter used for every plane, in pixels.
    pictures
        Overlays of some planes, uint8 ``YXC``, small.
    tracks
        First frame, last frame and parent of each track, where cells were linked.
    quality
        How far the stack can be trusted: the typical plane.
    fullest
        The plane with most cells, to be shown for the stack.
    summary
        Numbers of :func:`~cellrim.measure.summarise_stack`.
    """

    stack: Stack
    labels: LabelSpool = field(repr=False)
    columns: dict[str, NDArray[np.generic]] = field(repr=False)
    diameter: float
    pictures: tuple[NDArray[np.uint8], ...] = field(repr=False)
    tracks: Tracks | None = None
    quality: Quality = field(default_factory=Quality)
    fullest: Result | None = field(default=None, repr=False)
    summary: dict[str, Number] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Number of cells, summed over the planes."""
        return len(self.columns["id"])

    def save(
        self, kinds: Sequence[str], paths: Mapping[str, Path], *, planes: Path, name: str
    ) -> list[Path]:
        """Write the cells in any formats.

        A format that has axes or holds many images gets one file for the stack, any other one for
        each plane.

        Parameters
        ----------
        kinds
            Keys of :data:`cellrim.io.exports.FORMATS`.
        paths
            Where each kind goes that is one file.
        planes
            Folder for the kinds that are one file for each plane.
        name
            Of the image, for files that hold it.

        Returns
        -------
        list of Path
            The files that were written.

        Raises
        ------
        UsageError
            If there is no such format.
        OutputError
            If a file cannot be written.
        """
        written, single = [], []
        for kind in kinds:
            if kind not in FORMATS:
                raise UsageError(
                    f"Expected a format, one of {', '.join(FORMATS)}, but got {kind!r}."
                )
            if self._save_one(kind, paths[kind], name):
                written.append(paths[kind])
            else:
                single.append(FORMATS[kind])
        if single:
            written += write_planes(planes, self.cell_sets(name), single)
        return written

    def _save_one(self, kind: str, path: Path, name: str) -> bool:
        """Write one file for the whole stack, if the format can."""
        known = FORMATS[kind]
        if kind in ("overlay", "cells"):
            {"overlay": self.save_overlay, "cells": self.save_cells}[kind](path)
        elif known.write_stack is not None:
            known.write_stack(path, self.cell_stack(name))
        elif known.write_many is not None:
            known.write_many(path, self.cell_sets(name))
        else:
            return False
        return True

    def cell_stack(self, name: str) -> CellStack:
        """Return the cells as formats with axes take them; ``name`` is that of the image."""
        return CellStack(name, self.stack, self.labels, self.labels.largest)

    def cell_sets(self, name: str) -> Iterator[CellSet]:
        """Return the cells plane by plane, named after the image and the plane."""
        lengths = dict(zip(self.stack.axes, self.stack.lengths, strict=True))
        for number, index in enumerate(self.stack.indices()):
            yield CellSet(
                plane_name(name, lengths, index),
                self.labels[number],
                pixel_size=self.stack.calibration.pixel_size,
                measure=partial(self._columns_at, index),
            )

    def _columns_at(self, index: Index) -> dict[str, NDArray[np.generic]]:
        """Return the table of one plane, in the order of the ids."""
        places = [axis.lower() for axis in self.stack.axes]
        here = np.ones(self.count, bool)
        for place in places:
            here &= self.columns[place] == index.along(place.upper())
        order = np.flatnonzero(here)
        order = order[np.argsort(self.columns["id"][order], kind="stable")]
        return {n: values[order] for n, values in self.columns.items() if n not in places}

    def save_labels(self, path: str | Path) -> None:
        """Write the label images as one OME-TIFF with the axes of the stack.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        write_stack(Path(path), self.cell_stack(Path(path).stem))

    def save_overlay(self, path: str | Path) -> None:
        """Write one picture with the overlays of up to 16 planes, spread over the stack.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from cellrim.io.overlay import write_png

        write_png(Path(path), _sheet(self.pictures))

    def save_cells(self, path: str | Path) -> None:
        """Write one table of the cells of all planes as CSV.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from cellrim.io.tables import write_csv

        write_csv(Path(path), self.columns)

    def save_tracks(self, folder: str | Path) -> None:
        """Write the tracks in the form of the Cell Tracking Challenge.

        Raises
        ------
        InputError
            If cells were not linked.
        OutputError
            If the folder cannot be written.
        """
        from cellrim.io.tracking import write_ctc

        if self.tracks is None:
            raise InputError("Expected tracks to save, but the cells were not linked over time.")
        tracks = self.tracks
        write_ctc(
            Path(folder), self.labels, begin=tracks.begin, end=tracks.end, parent=tracks.parent
        )

    def close(self) -> None:
        """Free the temporary file."""
        self.labels.close()


def segment_stack(
    stack: Stack,
    segment: SegmentPlane,
    *,
    diameter: float | None = None,
    track: LinkOptions | None = None,
) -> StackResult:
    """Segment every plane of a stack.

    Parameters
    ----------
    stack
        The planes.
    segment
        Segments one of them.
    diameter
        Typical cell diameter in pixels; else estimated from up to three planes, for all.
    track
        How to link cells over time; not linked where None.

    Returns
    -------
    StackResult
        To be closed by the caller.

    Raises
    ------
    InputError
        If cells are to be linked and the stack is not several times of one slice.
    """
    if track is not None:
        _check_movie(stack)
    size = diameter if diameter is not None else common_diameter(stack, segment)
    spool = LabelSpool()
    try:
        return _segment_planes(stack, segment, spool, size=size, track=track)
    except BaseException:
        spool.close()
        raise


def common_diameter(stack: Stack, segment: SegmentPlane) -> float:
    """Estimate one cell diameter for all planes, from up to three of them.

    Returns
    -------
    float
        In pixels: the median of the estimates, each counted as often as there are cells.
    """
    planes = list(stack.indices())
    looks = sorted({int(part * len(planes)) for part in _LOOKS})
    results = [segment(stack.read(planes[n]), None) for n in looks]
    order = np.argsort([r.diameter for r in results], kind="stable")
    # A plane without cells says little of their size, but more than nothing.
    weights = np.array([results[n].count + 1e-3 for n in order])
    middle = int(np.searchsorted(np.cumsum(weights), weights.sum() / 2))
    return float(results[order[middle]].diameter)


def pick_channels(image: Image, wanted: Sequence[Channel] | None) -> tuple[int, ...] | None:
    """Numbers of the channels that are wanted by name or number; None for all."""
    return None if wanted is None else channel_indices(image.channels, wanted)


def _segment_planes(
    stack: Stack,
    segment: SegmentPlane,
    spool: LabelSpool,
    *,
    size: float,
    track: LinkOptions | None,
) -> StackResult:
    tracker = None if track is None else Tracker(track)
    shown = set(np.linspace(0, len(stack) - 1, min(len(stack), _SHOWN_PLANES)).round().astype(int))
    tables, pictures, qualities, summaries = [], [], [], []
    fullest: Result | None = None
    for number, index in enumerate(stack.indices()):
        result = segment(stack.read(index), size)
        columns = placed(stack, index, result.cells.columns)
        labels = result.labels
        if tracker is not None:
            ids = tracker.add(labels)
            labels = ids.astype(np.int32)[labels]
            columns["track"] = columns["id"] = ids[columns["id"]]
        spool.append(labels)
        tables.append(columns)
        qualities.append(result.quality)
        summaries.append(summarise(result.cells, result.image))
        if fullest is None or result.count > fullest.count:
            fullest = result
        if number in shown:
            pictures.append(_picture(result))
    tracks = None if tracker is None else tracker.tracks()
    columns = joined(tables)
    if tracks is not None:
        columns["parent"] = tracks.parent[columns["track"] - 1]
    return StackResult(
        stack,
        spool,
        columns,
        size,
        tuple(pictures),
        tracks,
        quality=typical(qualities),
        fullest=fullest,
        summary=summarise_stack(summaries),
    )


def _check_movie(stack: Stack) -> None:
    if stack.axes == "T":
        return
    if "T" not in stack.axes:
        raise InputError(
            "Expected several times to link cells, but the image has no axis T. If its planes are "
            "times, say so with --axes."
        )
    raise InputError(
        f"Expected one slice at each time to link cells, but got {stack.length('Z')}: add "
        "--project max."
    )


def placed(
    stack: Stack, index: Index, columns: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Put where a plane lies, ``t`` and ``z`` as the stack has them, in front of its table."""
    count = len(columns["id"])
    place = {a.lower(): np.full(count, index.along(a), np.int64) for a in "TZ" if a in stack.axes}
    return {**place, **columns}


def joined(
    tables: Sequence[Mapping[str, NDArray[np.generic]]],
) -> dict[str, NDArray[np.generic]]:
    """Join the tables of planes, which have the same columns."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _picture(result: Result) -> NDArray[np.uint8]:
    from cellrim.io.overlay import draw_overlay

    drawn = draw_overlay(result.image, result.labels)
    shrink = min(1.0, _SHOWN_EDGE / max(drawn.shape[:2]))
    small = resize(drawn.astype(np.float32), scaled_shape(result.image.shape, shrink))
    return np.clip(small.round(), 0, 255).astype(np.uint8)


def _sheet(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay pictures of one size out in rows, with a thin white gap between them."""
    columns = int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    height, width = (n + 2 for n in pictures[0].shape[:2])
    sheet = np.full((rows * height - 2, columns * width - 2, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = height * (number // columns), width * (number % columns)
        sheet[y : y + height - 2, x : x + width - 2] = picture
    return sheet
