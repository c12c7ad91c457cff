"""OME-Zarr (NGFF 0.4): the labels under the image they belong to; napari, Fiji, OMERO.

Where there is no image, the labels are a label image of their own. For images larger than memory,
see ``cellrim segment`` with an OME-Zarr output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellrim.core.stack import Calibration, Index
from cellrim.errors import CellrimError, ImageReadError
from cellrim.io.atomic import atomic_folder
from cellrim.io.exports.base import CellSet, CellStack, Format, ShapeOf, stored_dtype
from cellrim.io.exports.planes import read_planes
from cellrim.io.ngff import LABELS, write_ngff
from cellrim.io.zarrs import require_zarr, zarr_source


def _write(path: Path, cells: CellSet) -> None:
    height, width = cells.labels.shape
    with atomic_folder(path) as partial:
        write_ngff(
            partial,
            [(Index(), cells.labels)],
            name=cells.name,
            lengths={"Y": height, "X": width},
            dtype=stored_dtype(int(cells.labels.max(initial=0))),
            calibration=Calibration(cells.micrometres),
            images=None if cells.image is None else [(Index(), cells.image)],
        )


def _write_stack(path: Path, cells: CellStack) -> None:
    stack = cells.stack
    height, width = stack.shape
    images = ((index, stack.read(index)) for index in stack.indices())
    with atomic_folder(path) as partial:
        write_ngff(
            partial,
            zip(stack.indices(), cells.labels, strict=True),
            name=cells.name,
            lengths={**dict(zip(stack.axes, stack.lengths, strict=True)), "Y": height, "X": width},
            dtype=stored_dtype(cells.largest),
            calibration=stack.calibration,
            images=images if cells.with_image else None,
        )


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    zarr = require_zarr()
    try:
        where = _label_group(path, zarr.open_group(store=str(path), mode="r"))
        yield from read_planes(path, FORMAT.name_of(path), zarr_source(where))
    except CellrimError:
        raise
    except Exception as error:  # zarr raises many types on broken folders
        raise ImageReadError(
            f"Cannot read {path}: expected an OME-Zarr with labels, but got another or a broken "
            f"one ({type(error).__name__}: {error})."
        ) from error


def _label_group(path: Path, root: Any) -> Path:
    """Find the labels: those under the image, or the group itself."""
    if "labels" not in root:
        return path
    names = dict(root["labels"].attrs)["labels"]
    return path / "labels" / str(LABELS if LABELS in names else names[0])


FORMAT = Format(
    kind="ome-zarr",
    ending="_labels.ome.zarr",
    title="image and labels in one folder; napari, Fiji, OMERO",
    write=_write,
    read=_read,
    write_stack=_write_stack,
    package="zarr",
    extra="big",
)
