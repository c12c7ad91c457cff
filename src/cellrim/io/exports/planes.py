"""Stacks plane by plane: a folder of one file for each plane, and the planes of a label stack.

Planes are named after the image and where they lie, counted from 0 as in the tables:
``NAME_t003_z001_rois.zip``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cellrim.core.labels import as_labels
from cellrim.core.stack import PLANE_AXES, Index
from cellrim.errors import ImageReadError, InputError, OutputError
from cellrim.io.atomic import atomic_folder, remove
from cellrim.io.exports.base import CellSet, Format
from cellrim.io.sources import Source, describe_axes, to_yxc

_LEAST_DIGITS = 3
_PLANE = re.compile(r"(?P<name>.+?)(_t(?P<t>\d{3,}))?(_z(?P<z>\d{3,}))?", re.DOTALL)


def plane_name(name: str, lengths: Mapping[str, int], index: Index) -> str:
    """Name a plane after its image and where it lies.

    Parameters
    ----------
    name
        Of the image.
    lengths
        Axes with several planes, out of ``TZ``, and how many there are along each.
    index
        Where the plane lies.

    Examples
    --------
    >>> plane_name("a", {"T": 4, "Z": 2000}, Index(t=2, z=11))
    'a_t002_z0011'
    """
    for axis in PLANE_AXES:
        if axis in lengths:
            digits = max(_LEAST_DIGITS, len(str(lengths[axis] - 1)))
            name += f"_{axis.lower()}{index.along(axis):0{digits}d}"
    return name


def split_plane(name: str) -> tuple[str, Index | None]:
    """Take off what :func:`plane_name` adds; None where nothing of the kind is there.

    Examples
    --------
    >>> split_plane("a_t002_z0011")
    ('a', Index(t=2, z=11))
    >>> split_plane("a")
    ('a', None)
    """
    found = _PLANE.fullmatch(name)
    if found is None or not (found["t"] or found["z"]):
        return name, None
    return found["name"], Index(int(found["t"] or 0), int(found["z"] or 0))


def read_planes(path: Path, name: str, source: Source) -> Iterator[CellSet]:
    """Read the labels of every plane, times before slices; a single plane has the image's name.

    Raises
    ------
    ImageReadError
        If there are channels, or a plane is no label image.
    """
    if source.length("C") * source.length("S") > 1:
        raise ImageReadError(
            f"Cannot use {path}: expected one label image for each plane, but got "
            f"{describe_axes(source.axes, source.shape)}."
        )
    lengths = {a: source.length(a) for a in PLANE_AXES if source.length(a) > 1}
    for at in np.ndindex(*lengths.values()):
        index = Index(**dict(zip(map(str.lower, lengths), at, strict=True)))
        try:
            labels = as_labels(to_yxc(*source.read(index))[:, :, 0])
        except InputError as error:
            raise ImageReadError(f"Cannot use {path} as a label image: {error}") from error
        size = source.calibration.pixel_size
        yield CellSet(plane_name(name, lengths, index), labels, pixel_size=size)


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
    if _is_ours(folder):
        remove(folder)


def _is_ours(folder: Path) -> bool:
    named = re.compile(r".+(_[tz]\d{3,}){1,2}_[^/]+", re.DOTALL)
    return folder.is_dir() and all(named.fullmatch(path.name) for path in folder.iterdir())
