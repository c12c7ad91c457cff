"""ImageJ ROI zip: for the ROI Manager of Fiji and ImageJ.

A cell in one piece without holes is a traced ROI, any other a composite one. ImageJ measures a
traced ROI on lattice points as exactly the pixels it surrounds.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.parts import CellPart
from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellList, CellSet, Format, ShapeOf, filled, numbers_of_names
from cellrim.io.exports.ordered import in_order
from cellrim.io.polygons import Outlines, Polygons, trace_outlines

if TYPE_CHECKING:
    from roifile import ImagejRoi

# The format holds whole coordinates up to here; beyond, they are stored as floats too.
_MOST_WHOLE = 32767
# Who may read an entry that is unpacked: as other files.
_MODE = 0o644
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def _write(path: Path, cells: CellSet) -> None:
    _write_list(path, cells.listed())


def _write_list(path: Path, cells: CellList) -> None:
    digits = len(str(cells.largest))
    encode = partial(_rois, digits=digits)
    with (
        atomic_path(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for cell, roi in in_order(cells, encode, folder=path.parent):
            # The same cells make the same file: entries have no time of their own.
            entry = zipfile.ZipInfo(f"{cell:0{digits}d}.roi")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _MODE << 16
            archive.writestr(entry, roi, compresslevel=1)


def _read(path: Path, shape: ShapeOf) -> Iterator[CellSet]:
    name = FORMAT.name_of(path)
    rois = _read_rois(path)
    ids = numbers_of_names([roi.name for roi in rois])
    rings = [_rings(path, roi) for roi in rois]
    polygons = Polygons.of(
        (number, np.concatenate([np.zeros((0, 2)), *of]), [len(ring) for ring in of])
        for number, of in zip(ids, rings, strict=True)
    )
    yield CellSet(name, filled(path, polygons, shape(name)))


def _rois(part: CellPart, *, digits: int) -> list[bytes]:
    """Write each cell of a part as the bytes of a ROI, named by its number."""
    outlines = trace_outlines(part.labels, origin=part.origin)
    if not len(outlines.ids):
        return []
    paths, steps = _paths(outlines)
    starts = outlines.rings[outlines.cells]
    boxes = np.concatenate(
        [edge.reduceat(outlines.corners, starts[:-1]) for edge in (np.minimum, np.maximum)], axis=1
    ).tolist()
    rois = []
    for number, cell in enumerate(outlines.ids.tolist()):
        begin, end = outlines.cells[number], outlines.cells[number + 1]
        if end - begin > 1:
            rings = slice(steps[begin], steps[end])
            roi = _composite(paths[rings], boxes[number])
        else:
            roi = _traced(outlines.corners[starts[number] : starts[number + 1]], boxes[number])
        roi.name = f"{cell:0{digits}d}"
        rois.append(roi.tobytes())
    return rois


def _traced(points: NDArray[np.int64], box: list[int]) -> ImagejRoi:
    """Make the ROI of a cell in one piece: its corners."""
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    left, top, right, bottom = box
    far = max(right, bottom) > _MOST_WHOLE
    return ImagejRoi(
        roitype=ROI_TYPE.TRACED,
        version=227,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION if far else ROI_OPTIONS(0),
        n_coordinates=len(points),
        integer_coordinates=(points - (left, top)).astype(np.int32),
        subpixel_coordinates=points.astype(np.float32) if far else None,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
    )


def _composite(path: NDArray[np.float32], box: list[int]) -> ImagejRoi:
    """Make the ROI of any other cell: the drawing commands of its rings."""
    from roifile import ROI_TYPE, ImagejRoi

    left, top, right, bottom = box
    return ImagejRoi(
        roitype=ROI_TYPE.RECT,
        version=227,
        shape_roi_size=len(path),
        multi_coordinates=path,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
    )


def _paths(outlines: Outlines) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Drawing commands of all rings: move to the first corner, lines to others, close.

    Returns
    -------
    tuple
        The commands, and where those of each ring begin, and the end.
    """
    sizes = np.diff(outlines.rings)
    steps = 3 * outlines.rings + np.arange(len(outlines.rings))
    path = np.full(steps[-1], _CLOSE, np.float32)
    at = 3 * np.arange(len(outlines.corners)) + np.repeat(np.arange(len(sizes)), sizes)
    path[at] = _LINE
    path[steps[:-1]] = _MOVE
    path[at + 1], path[at + 2] = outlines.corners.T
    return path, steps


def _read_rois(path: Path) -> list[ImagejRoi]:
    from roifile import ImagejRoi

    try:
        with zipfile.ZipFile(path) as archive:
            rois = []
            for name in archive.namelist():
                if name.lower().endswith(".roi"):
                    roi = ImagejRoi.frombytes(archive.read(name))
                    roi.name = Path(name).stem
                    rois.append(roi)
            return rois
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # zipfile and roifile raise many types on broken files
        raise ImageReadError(f"Cannot read {path}: the ROI zip is broken ({error}).") from error


def _rings(path: Path, roi: ImagejRoi) -> list[NDArray[Any]]:
    from roifile import ROI_TYPE

    areas = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.RECT, ROI_TYPE.OVAL)
    if roi.roitype not in areas:
        raise ImageReadError(
            f"Cannot use {path}: expected ROIs that are areas, but {roi.name} is a "
            f"{roi.roitype.name.lower()}."
        )
    if roi.roitype == ROI_TYPE.RECT and not roi.composite:
        sides: Any = (roi.left, roi.top, roi.right, roi.bottom)
        x0, y0, x1, y1 = sides
        return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)]
    found = roi.coordinates(multi=True)
    return list(found)


FORMAT = Format(
    kind="rois",
    ending="_rois.zip",
    title="ImageJ ROIs; Fiji, ImageJ",
    write=_write,
    write_list=_write_list,
    read=_read,
)
