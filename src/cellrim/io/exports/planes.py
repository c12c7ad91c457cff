"""A folder of one file for each plane of a stack, for formats that hold one image a file.

Files are named after the image and the plane, counted from 0 as in the tables:
``NAME_t003_z001_rois.zip``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from cellrim.core.stack import Index, Stack
from cellrim.errors import OutputError
from cellrim.io.atomic import atomic_folder
from cellrim.io.exports.base import CellSet, Format

_LEAST_DIGITS = 3


def plane_name(name: str, stack: Stack, index: Index) -> str:
    """Name a plane after its image and where it lies.

    Examples
    --------
    >>> stack = Stack("TZ", (4, 2000), (9, 9), ("grey",), read=lambda index: None)
    >>> plane_name("a", stack, Index(t=2, z=11))
    'a_t002_z0011'
    """
    for axis in "TZ":
        if axis in stack.axes:
            digits = max(_LEAST_DIGITS, len(str(stack.length(axis) - 1)))
            name += f"_{axis.lower()}{index.along(axis):0{digits}d}"
    return name


def write_planes(folder: Path, planes: Iterable[CellSet], formats: Sequence[Format]) -> list[Path]:
    """Write each plane in each format, whole or not at all.

    Parameters
    ----------
    folder
        Where to, by custom ``NAME_planes``. Replaced where it holds nothing but such files.
    planes
        Their names are those of :func:`plane_name`.
    formats
        Formats of one image a file.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds other files.
    """
    if folder.exists() and not _is_ours(folder):
        raise OutputError(
            f"Cannot write {folder}: it is there already and holds other files. Choose another "
            "output folder."
        )
    written = []
    with atomic_folder(folder) as partial:
        for cells in planes:
            for known in formats:
                name = f"{cells.name}{known.ending}"
                known.write(partial / name, cells)
                written.append(folder / name)
    return written


def remove_planes(folder: Path) -> None:
    """Remove what :func:`write_planes` wrote, if it is there; a folder with other files stays.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    try:
        if _is_ours(folder):
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"Cannot remove {folder}: {error.strerror or error}.") from error


def _is_ours(folder: Path) -> bool:
    named = re.compile(r".+(_[tz]\d{3,}){1,2}_[^/]+", re.DOTALL)
    return folder.is_dir() and all(named.fullmatch(path.name) for path in folder.iterdir())
