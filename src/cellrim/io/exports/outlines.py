"""SVG outlines: vector graphics for figures, one path per cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cellrim.core.parts import CellPart
from cellrim.errors import ImageReadError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellList, CellSet, Format, ShapeOf, filled
from cellrim.io.exports.ordered import in_order
from cellrim.io.exports.ring_text import RingText
from cellrim.io.polygons import Polygons, trace_outlines

_SPACE = "{http://www.w3.org/2000/svg}"
_CELL = "cell-"
_TEXT = RingText(before=b"", between=b" ", after=b"", corners=b"L", rings=b"ZM", parts=b"ZM")
_PATH = re.compile(r"(?:M\d+ \d+(?:L\d+ \d+)*Z)*", re.ASCII)
_SPACES = str.maketrans("MLZ", "   ")


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


def _paths(part: CellPart) -> list[bytes]:
    """Write a path for each cell of a part, a line each."""
    outlines = trace_outlines(part.labels, origin=part.origin)
    return [
        b'<path id="%b%d" d="M%bZ"/>\n' % (_CELL.encode(), cell, corners)
        for cell, corners in zip(outlines.ids.tolist(), _TEXT.write(outlines), strict=True)
    ]


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    try:
        root = ElementTree.parse(path).getroot()
        shape = int(root.attrib["height"]), int(root.attrib["width"])
        polygons = Polygons.of(
            (int(element.attrib["id"].removeprefix(_CELL)), *_rings(element.attrib["d"]))
            for element in root.iter(f"{_SPACE}path")
        )
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ImageReadError(
            f"Cannot use {path}: expected an SVG that cellrim wrote, but got another ({error})."
        ) from error
    yield CellSet(FORMAT.name_of(path), filled(path, polygons, shape))


def _rings(text: str) -> tuple[NDArray[np.float64], list[int]]:
    """Corners of all rings of a path, and how many each has."""
    if not _PATH.fullmatch(text):
        raise ValueError("a path of other commands than M, L and Z")
    numbers = np.array(text.translate(_SPACES).split(), np.float64)
    return numbers.reshape(-1, 2), [ring.count("L") + 1 for ring in text.split("Z")[:-1]]


FORMAT = Format(
    kind="outlines",
    ending="_outlines.svg",
    title="SVG outlines; Inkscape, Illustrator, browsers",
    write=_write,
    write_list=_write_list,
    read=_read,
)
