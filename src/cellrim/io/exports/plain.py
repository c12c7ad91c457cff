"""Label image, overlay and table: what every run saves where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from cellrim.errors import CellrimError, UsageError
from cellrim.io.exports.base import CellSet, CellStack, Format, ShapeOf
from cellrim.io.exports.planes import read_planes
from cellrim.io.files import first_bytes, is_tiff
from cellrim.io.labels import read_labels, write_label_stack, write_labels
from cellrim.io.sources import Source
from cellrim.io.tiffs import tiff_source


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


def read_labels_or_stack(path: Path, name: str) -> Iterator[CellSet]:
    """Read a label image, or every plane of a TIFF whose metadata name times or slices.

    Raises
    ------
    ImageReadError
        If it is neither.
    """
    stack = _open_stack(path)
    if stack is None:
        yield CellSet(name, read_labels(path))
        return
    with closing(stack):
        yield from read_planes(path, name, stack)


def _open_stack(path: Path) -> Source | None:
    """Open a TIFF of several planes; None of any other file, whose reader says what is wrong."""
    with suppress(CellrimError):
        if is_tiff(first_bytes(path)):
            source = tiff_source(path)
            if source.length("T") * source.length("Z") > 1:
                return source
            source.close()
    return None


def _read_labels(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    yield from read_labels_or_stack(path, LABELS.name_of(path))


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
