"""ImageJ ROI zip: for the ROI Manager of Fiji and ImageJ.

A cell in one piece without holes is a traced ROI, any other a composite one. ImageJ measures a
traced ROI on lattice points as exactly the pixels it surrounds.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellSet, Format, ShapeOf, numbers_of_names
from cellrim.io.polygons import CellOutline, fill_rings, trace_labels

if TYPE_CHECKING:
    from roifile import ImagejRoi

# The format holds whole coordinates up to here; beyond, they are stored as floats too.
_MOST_WHOLE = 32767
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def _write(path: Path, cells: CellSet) -> None:
    outlines = trace_labels(cells.labels)
    digits = len(str(outlines[-1].id)) if outlines else 1
    with (
        atomic_path(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for outline in outlines:
            name = f"{outline.id:0{digits}d}"
            archive.writestr(f"{name}.roi", _roi(outline, name).tobytes())


def _read(path: Path, shape: ShapeOf) -> Iterator[CellSet]:
    name = FORMAT.name_of(path)
    rois = _read_rois(path)
    ids = numbers_of_names([roi.name for roi in rois])
    rings, owners = [], []
    for roi, number in zip(rois, ids, strict=True):
        for ring in _rings(path, roi):
            rings.append(ring)
            owners.append(number)
    yield CellSet(name, fill_rings(rings, owners, shape(name)))


def _roi(outline: CellOutline, name: str) -> ImagejRoi:
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    rings = outline.rings
    points = np.concatenate(rings)
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    bounds = {"left": left, "top": top, "right": right, "bottom": bottom}
    if len(rings) > 1:
        path = np.concatenate([_path(ring) for ring in rings]).astype(np.float32)
        return ImagejRoi(
            roitype=ROI_TYPE.RECT,
            name=name,
            version=227,
            shape_roi_size=len(path),
            multi_coordinates=path,
            **bounds,
        )
    far = max(right, bottom) > _MOST_WHOLE
    return ImagejRoi(
        roitype=ROI_TYPE.TRACED,
        name=name,
        version=227,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION if far else ROI_OPTIONS(0),
        n_coordinates=len(points),
        integer_coordinates=(points - (left, top)).astype(np.int32),
        subpixel_coordinates=points.astype(np.float32) if far else None,
        **bounds,
    )


def _path(ring: NDArray[np.int64]) -> NDArray[np.float64]:
    """Drawing commands of a composite ROI: move to the first corner, lines to others, close."""
    steps = np.column_stack([np.full(len(ring), _LINE), ring])
    steps[0, 0] = _MOVE
    return np.append(steps.ravel(), _CLOSE)


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


def _rings(path: Path, roi: ImagejRoi) -> list[NDArray[np.float64]]:
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
    return [np.asarray(ring, np.float64) for ring in found if len(ring) > 2]


FORMAT = Format(
    kind="rois",
    ending="_rois.zip",
    title="ImageJ ROIs; Fiji, ImageJ",
    write=_write,
    read=_read,
)
