"""GeoJSON (RFC 7946) as QuPath reads and writes it, in pixels from the upper left corner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellSet, Columns, Format, ShapeOf, numbers_of_names
from cellrim.io.polygons import CellOutline, fill_rings, trace_labels

# A member of our own, which RFC 7946 allows and others ignore: what polygons do not tell.
_OWN = "cellrim"
_NO_MEASUREMENT = ("id", "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")


def _write(path: Path, cells: CellSet) -> None:
    outlines = trace_labels(cells.labels)
    measured = _measurements(cells.measure()) if cells.measure else [{} for _ in outlines]
    height, width = cells.labels.shape
    content = {
        "type": "FeatureCollection",
        _OWN: {"height": height, "width": width, "pixel_size_um": cells.micrometres},
        "features": [_feature(*pair) for pair in zip(outlines, measured, strict=True)],
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _read(path: Path, shape: ShapeOf) -> Iterator[CellSet]:
    name = FORMAT.name_of(path)
    content = read_json(path)
    own = content.get(_OWN, {}) if isinstance(content, Mapping) else {}
    try:
        size = (int(own["height"]), int(own["width"])) if own else shape(name)
        features = _features(content)
        names = [str((f.get("properties") or {}).get("name", "")) for f in features]
        rings: list[NDArray[np.float64]] = []
        owners = []
        for feature, number in zip(features, numbers_of_names(names), strict=True):
            for ring in _rings(feature):
                rings.append(ring)
                owners.append(number)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(
            f"Cannot use {path}: expected GeoJSON features of polygons, but got others ({error})."
        ) from error
    yield CellSet(name, fill_rings(rings, owners, size), pixel_size=own.get("pixel_size_um"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    ImageReadError
        If it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise ImageReadError(f"Cannot read {path}: it is no JSON ({error}).") from error


def _feature(outline: CellOutline, measured: dict[str, float]) -> dict[str, Any]:
    parts = [[_closed(ring) for ring in part] for part in outline.parts]
    several = len(parts) > 1
    properties: dict[str, Any] = {"objectType": "detection", "name": str(outline.id)}
    if measured:
        properties["measurements"] = measured
    return {
        "type": "Feature",
        "geometry": {
            "type": "MultiPolygon" if several else "Polygon",
            "coordinates": parts if several else parts[0],
        },
        "properties": properties,
    }


def _closed(ring: NDArray[np.int64]) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]


def _measurements(columns: Columns) -> list[dict[str, float]]:
    """Measurements of each cell by name; what is not known is left out, as JSON has no NaN."""
    kept = {k: v for k, v in columns.items() if k not in _NO_MEASUREMENT}
    lists = {k: [float(f"{n:.7g}") for n in v.astype(float).tolist()] for k, v in kept.items()}
    rows = zip(*lists.values(), strict=True)
    return [
        {name: value for name, value in zip(lists, row, strict=True) if np.isfinite(value)}
        for row in rows
    ]


def _features(content: Any) -> list[dict[str, Any]]:
    """Features of a collection, a list of features as QuPath exports, or a single one."""
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        features: list[dict[str, Any]] = content["features"]
        return features
    return [content]


def _rings(feature: dict[str, Any]) -> list[NDArray[np.float64]]:
    geometry = feature["geometry"]
    if geometry["type"] not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {geometry['type']}")
    several = geometry["type"] == "MultiPolygon"
    parts = geometry["coordinates"] if several else [geometry["coordinates"]]
    return [np.array(ring, np.float64)[:-1, :2] for part in parts for ring in part]


FORMAT = Format(
    kind="geojson",
    ending="_cells.geojson",
    title="polygons with measurements; QuPath, Python",
    write=_write,
    read=_read,
)
