"""Label image, overlay and table: what every run saves where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cellrim.errors import UsageError
from cellrim.io.exports.base import CellSet, CellStack, Format, ShapeOf
from cellrim.io.labels import read_labels, write_label_stack, write_labels


def _write_labels(path: Path, cells: CellSet) -> None:
    write_labels(path, cells.labels)


def write_stack(path: Path, cells: CellStack) -> None:
    """Write the label images of a stack as one OME-TIFF with the axes of the stack.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    write_label_stack(
        path,
        cells.labels,
        axes=cells.stack.axes,
        lengths=cells.stack.lengths,
        shape=cells.stack.shape,
        largest=cells.largest,
        calibration=cells.stack.calibration,
    )


def _read_labels(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    yield CellSet(LABELS.name_of(path), read_labels(path))


def _write_overlay(path: Path, cells: CellSet) -> None:
    from cellrim.io.overlay import draw_overlay, write_png

    write_png(path, draw_overlay(cells.need_image("an overlay"), cells.labels))


def _write_table(path: Path, cells: CellSet) -> None:
    from cellrim.io.tables import write_csv

    if cells.measure is None:
        raise UsageError("Expected cells that can be measured, but got labels without an image.")
    write_csv(path, cells.measure())


LABELS = Format(
    kind="labels",
    ending="_labels.tif",
    title="label image, one number per cell; any tool",
    write=_write_labels,
    read=_read_labels,
    write_stack=write_stack,
)
OVERLAY = Format(
    kind="overlay",
    ending="_overlay.png",
    title="the image with outlines, to look at",
    write=_write_overlay,
    needs_image=True,
)
TABLE = Format(
    kind="cells",
    ending="_cells.csv",
    title="a row of measurements per cell; spreadsheets, pandas, R",
    write=_write_table,
    needs_image=True,
)
