"""SVG outlines: vector graphics for figures, one path per cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellSet, Format, ShapeOf
from cellrim.io.polygons import CellOutline, fill_rings, trace_labels

_SPACE = "{http://www.w3.org/2000/svg}"
_CELL = "cell-"
_RING = re.compile(r"M([0-9 L]+)Z")


def _write(path: Path, cells: CellSet) -> None:
    height, width = cells.labels.shape
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        '<g fill="none" fill-rule="evenodd" stroke="#e6007e" stroke-width="1" '
        'stroke-linejoin="round">',
        *map(_path, trace_labels(cells.labels)),
        "</g>",
        "</svg>",
    ]
    with atomic_path(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _path(outline: CellOutline) -> str:
    rings = ("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in outline.rings)
    return f'<path id="{_CELL}{outline.id}" d="{"".join(rings)}"/>'


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    try:
        root = ElementTree.parse(path).getroot()
        shape = int(root.attrib["height"]), int(root.attrib["width"])
        rings: list[NDArray[np.float64]] = []
        owners = []
        for element in root.iter(f"{_SPACE}path"):
            number = int(element.attrib["id"].removeprefix(_CELL))
            for ring in _rings(element.attrib["d"]):
                rings.append(ring)
                owners.append(number)
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ImageReadError(
            f"Cannot use {path}: expected an SVG that cellrim wrote, but got another ({error})."
        ) from error
    yield CellSet(FORMAT.name_of(path), fill_rings(rings, owners, shape))


def _rings(text: str) -> list[NDArray[np.float64]]:
    found = _RING.findall(text)
    if sum(len(ring) + 2 for ring in found) != len(text):
        raise ValueError("a path of other commands than M, L and Z")
    return [
        np.array([point.split() for point in ring.split("L")], np.float64).reshape(-1, 2)
        for ring in found
    ]


FORMAT = Format(
    kind="outlines",
    ending="_outlines.svg",
    title="SVG outlines; Inkscape, Illustrator, browsers",
    write=_write,
    read=_read,
)
