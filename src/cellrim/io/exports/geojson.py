"""GeoJSON (RFC 7946) as QuPath reads and writes it, in pixels from the upper left corner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
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
)
from cellrim.io.exports.ordered import in_order
from cellrim.io.polygons import trace_outlines

# A member of our own, which RFC 7946 allows and others ignore: what polygons do not tell.
_OWN = "cellrim"
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
    content = read_json(path)
    own = content.get(_OWN, {}) if isinstance(content, Mapping) else {}
    try:
        size = (int(own["height"]), int(own["width"])) if own else shape(name)
        features = _features_in(content)
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
    yield CellSet(name, filled(path, rings, owners, size), pixel_size=own.get("pixel_size_um"))


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


def _features_of(part: CellPart, *, columns: Columns | None) -> list[str]:
    """Write a feature for each cell of a part; ``columns`` are those of all cells."""
    outlines = trace_outlines(part.labels, origin=part.origin)
    rings = outlines.texts("[%d, %d]", between=", ", ring=("[", "]"), closed=True)
    measured = None if columns is None else _measurements(columns, part)
    texts = []
    for number, (cell, (begin, end)) in enumerate(
        zip(outlines.ids.tolist(), pairwise(outlines.cells.tolist()), strict=True)
    ):
        properties: dict[str, Any] = {"objectType": "detection", "name": str(cell)}
        if measured is not None and measured[number]:
            properties["measurements"] = measured[number]
        outer = outlines.outer[begin:end]
        parts = [
            f"[{', '.join(rings[begin + a : begin + b])}]"
            for a, b in pairwise([*np.flatnonzero(outer).tolist(), len(outer)])
        ]
        several = len(parts) > 1
        kind = "MultiPolygon" if several else "Polygon"
        places = f"[{', '.join(parts)}]" if several else parts[0]
        texts.append(
            f'{{"type": "Feature", "geometry": {{"type": "{kind}", "coordinates": {places}}}, '
            f'"properties": {json.dumps(properties, allow_nan=False)}}}'
        )
    return texts


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
    write_list=_write_list,
    read=_read,
)
