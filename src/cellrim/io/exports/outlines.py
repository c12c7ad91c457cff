"""SVG outlines: vector graphics for figures, one path per cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cellrim.core.parts import CellPart
from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellList, CellSet, Format, ShapeOf, filled
from cellrim.io.exports.ordered import in_order
from cellrim.io.polygons import trace_outlines

_SPACE = "{http://www.w3.org/2000/svg}"
_CELL = "cell-"
_RING = re.compile(r"M([0-9 L]+)Z")


def _write(path: Path, cells: CellSet) -> None:
    _write_list(path, cells.listed())


def _write_list(path: Path, cells: CellList) -> None:
    height, width = cells.shape
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        '<g fill="none" fill-rule="evenodd" stroke="#e6007e" stroke-width="1" '
        'stroke-linejoin="round">',
    )
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.writelines(f"{line}\n".encode() for line in head)
        for _, line in in_order(cells, _paths, folder=path.parent):
            file.write(line)
        file.write(b"</g>\n</svg>\n")


def _paths(part: CellPart) -> list[str]:
    """Write a path for each cell of a part, a line each."""
    outlines = trace_outlines(part.labels, origin=part.origin)
    rings = outlines.texts("%d %d", between="L", ring=("M", "Z"))
    return [
        f'<path id="{_CELL}{cell}" d="{"".join(rings[begin:end])}"/>\n'
        for cell, (begin, end) in zip(
            outlines.ids.tolist(), pairwise(outlines.cells.tolist()), strict=True
        )
    ]


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
    yield CellSet(FORMAT.name_of(path), filled(path, rings, owners, shape))


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
    write_list=_write_list,
    read=_read,
)
