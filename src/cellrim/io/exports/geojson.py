"""GeoJSON (RFC 7946) as QuPath reads and writes it, in pixels from the upper left corner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.parts import CellPart
from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import (
    CellList,
    CellSet,
    Columns,
    Format,
    ShapeOf,
    filled,
    numbers_of_names,
    read_json,
)
from cellrim.io.exports.ordered import in_order
from cellrim.io.exports.ring_text import RingText
from cellrim.io.polygons import Polygons, trace_outlines

# A member of our own, which RFC 7946 allows and others ignore: what polygons do not tell.
_OWN = "cellrim"
# What the coordinates of polygons become as they are read.
_RINGS = "rings"
_TEXT = RingText(
    before=b"[", between=b",", after=b"]", corners=b",", rings=b"],[", parts=b"]],[[", closed=True
)
_FEATURE = b'{"type": "Feature", "geometry": {"type": "%b", "coordinates": %b}, "properties": %%b}'
_ONE = _FEATURE % (b"Polygon", b"[[%b]]")
_SEVERAL = _FEATURE % (b"MultiPolygon", b"[[[%b]]]")
_NO_MEASUREMENT = ("id", "bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1")


def _write(path: Path, cells: CellSet) -> None:
    _write_list(path, cells.listed())


def _write_list(path: Path, cells: CellList) -> None:
    height, width = cells.shape
    head = {
        "type": "FeatureCollection",
        _OWN: {"height": height, "width": width, "pixel_size_um": cells.pixel_size},
    }
    encode = partial(_features_of, columns=cells.measure() if cells.measure else None)
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        file.write(json.dumps(head)[:-1].encode() + b', "features": [')
        for number, (_, feature) in enumerate(in_order(cells, encode, folder=path.parent)):
            file.write((b", " if number else b"") + feature)
        file.write(b"]}")


def _read(path: Path, shape: ShapeOf) -> Iterator[CellSet]:
    name = FORMAT.name_of(path)
    try:
        content = read_json(path, _with_rings)
        own = content.get(_OWN, {}) if isinstance(content, Mapping) else {}
        size = (int(own["height"]), int(own["width"])) if own else shape(name)
        features = _features_in(content)
        numbers = numbers_of_names(
            [str((f.get("properties") or {}).get("name", "")) for f in features]
        )
        cells = zip(numbers, (_rings_of(feature) for feature in features), strict=True)
        polygons = Polygons.of((number, *rings) for number, rings in cells)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(
            f"Cannot use {path}: expected GeoJSON features of polygons, but got others ({error})."
        ) from error
    yield CellSet(name, filled(path, polygons, size), pixel_size=own.get("pixel_size_um"))


def _features_of(part: CellPart, *, columns: Columns | None) -> list[bytes]:
    """Write a feature for each cell of a part; ``columns`` are those of all cells."""
    outlines = trace_outlines(part.labels, origin=part.origin)
    several = np.add.reduceat(outlines.outer, outlines.cells[:-1], dtype=np.int64) > 1
    measured = [{}] * len(several) if columns is None else _measurements(columns, part)
    features = zip(
        outlines.ids.tolist(), several.tolist(), _TEXT.write(outlines), measured, strict=True
    )
    return [
        (_SEVERAL if several else _ONE) % (places, _properties(cell, values))
        for cell, several, places, values in features
    ]


def _properties(cell: int, measured: dict[str, float]) -> bytes:
    properties: dict[str, Any] = {"objectType": "detection", "name": str(cell)}
    if measured:
        properties["measurements"] = measured
    return json.dumps(properties, allow_nan=False).encode("ascii")


def _measurements(columns: Columns, part: CellPart) -> list[dict[str, float]]:
    """Measurements of each cell by name; what is not known is left out, as JSON has no NaN."""
    rows = np.searchsorted(columns["id"], part.ids)
    kept = {k: v[rows].astype(float) for k, v in columns.items() if k not in _NO_MEASUREMENT}
    lists = [[float(f"{n:.7g}") for n in values.tolist()] for values in kept.values()]
    return [
        {name: value for name, value in zip(kept, row, strict=True) if isfinite(value)}
        for row in zip(*lists, strict=True)
    ]


def _features_in(content: Any) -> list[dict[str, Any]]:
    """Features of a collection, a list of features as QuPath exports, or a single one."""
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        features: list[dict[str, Any]] = content["features"]
        return features
    return [content]


def _with_rings(found: dict[str, Any]) -> dict[str, Any]:
    """Replace coordinates of polygons by arrays as they are read, which take far less memory."""
    if found.get("type") not in ("Polygon", "MultiPolygon") or "coordinates" not in found:
        return found
    places = found["coordinates"]
    rings = list(chain.from_iterable(places)) if found["type"] == "MultiPolygon" else places
    sizes = np.array([len(ring) for ring in rings], np.int64)
    numbers = np.fromiter(chain.from_iterable(chain.from_iterable(rings)), np.float64)
    points = numbers.reshape(sizes.sum(), -1)[:, :2]  # height may follow x and y
    own = np.ones(len(points), bool)
    own[np.cumsum(sizes) - 1] = False  # the first corner comes again
    return {"type": found["type"], _RINGS: (points[own], (sizes - 1).tolist())}


def _rings_of(feature: dict[str, Any]) -> tuple[NDArray[np.float64], list[int]]:
    """Corners of all rings of a feature, and how many each has."""
    geometry = feature["geometry"]
    if _RINGS not in geometry:
        raise ValueError(f"a {geometry['type']}")
    found: tuple[NDArray[np.float64], list[int]] = geometry[_RINGS]
    return found


FORMAT = Format(
    kind="geojson",
    ending="_cells.geojson",
    title="polygons with measurements; QuPath, Python",
    write=_write,
    write_list=_write_list,
    read=_read,
)
