"""What all formats share: the cells of one image, and what a format has to say of itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.core.parts import CellPart, whole
from cellrim.core.stack import Stack
from cellrim.errors import ImageReadError, InputError, MissingExtraError, UsageError
from cellrim.io.polygons import Polygons, fill_polygons

Columns = Mapping[str, NDArray[Any]]
ShapeOf = Callable[[str], tuple[int, int]]
"""Tells height and width of an image by its name, for files that do not hold them."""


@dataclass(frozen=True)
class CellSet:
    """The cells of one image, as they go into a file or come out of one.

    Parameters
    ----------
    name
        Of the image, without folder and suffix.
    labels
        int32, axes ``YX``; 0 is background.
    image
        The image, where it is at hand.
    pixel_size
        Edge of a pixel in micrometres, where known; that of the image where left out.
    measure
        Measures the cells, where that is possible; called only by formats that hold measurements.
    """

    name: str
    labels: Labels
    image: Image | None = None
    pixel_size: float | None = None
    measure: Callable[[], Columns] | None = None

    @property
    def micrometres(self) -> float | None:
        """Edge of a pixel in micrometres, where known."""
        if self.pixel_size is None and self.image is not None:
            return self.image.pixel_size
        return self.pixel_size

    def need_image(self, kind: str) -> Image:
        """Return the image.

        Raises
        ------
        UsageError
            If there is none.
        """
        if self.image is None:
            raise UsageError(f"Expected an image for {kind}, but got labels only: say --image.")
        return self.image

    def listed(self) -> CellList:
        """Return the cells as formats take them that are lists of cells."""
        return CellList(
            self.name,
            (self.labels.shape[0], self.labels.shape[1]),
            int(self.labels.max(initial=0)),
            lambda: [whole(self.labels)],
            pixel_size=self.micrometres,
            measure=self.measure,
        )


@dataclass(frozen=True)
class CellList:
    """The cells of one image part by part, for formats that are lists of cells.

    The image and its labels may be larger than memory.

    Parameters
    ----------
    name
        Of the image, without folder and suffix.
    shape
        Height and width of the image.
    largest
        The largest id.
    parts
        Gives the cells, each whole in one part; every call begins anew.
    pixel_size
        Edge of a pixel in micrometres, where known.
    measure
        Measures all cells, in the order of the ids; called only by formats that hold measurements.
    """

    name: str
    shape: tuple[int, int]
    largest: int
    parts: Callable[[], Iterable[CellPart]]
    pixel_size: float | None = None
    measure: Callable[[], Columns] | None = None


@dataclass(frozen=True)
class CellStack:
    """The cells of every plane of a stack, for formats that hold them all in one file.

    Parameters
    ----------
    name
        Of the image, without folder and suffix.
    stack
        Axes, lengths, calibration, and the planes of the image.
    labels
        One label image ``YX`` for each plane, in the order of the stack.
    largest
        The largest id in any of them.
    with_image
        Whether there is an image, so that the stack can read its planes.
    """

    name: str
    stack: Stack
    labels: Iterable[Labels]
    largest: int
    with_image: bool = True


@dataclass(frozen=True)
class Format:
    """One format of files.

    Parameters
    ----------
    kind
        What ``--save`` calls it.
    ending
        How the name of a file goes on behind that of the image.
    title
        One line for people: what opens it.
    write
        Writes the cells of one image.
    write_list
        Writes the cells of one image part by part, where the format is a list of cells.
    read
        Reads the cells of every image in a file; None where the format cannot be read back.
    write_many
        Writes those of several images into one file, where the format can.
    write_stack
        Writes those of a stack into one file with its axes, where the format has axes.
    needs_image
        Whether there must be an image.
    package, extra
        Package that must be installed, and the extra of cellrim that brings it.
    """

    kind: str
    ending: str
    title: str
    write: Callable[[Path, CellSet], None]
    read: Callable[[Path, ShapeOf], Iterator[CellSet]] | None = None
    write_list: Callable[[Path, CellList], None] | None = None
    write_many: Callable[[Path, Iterable[CellSet]], None] | None = None
    write_stack: Callable[[Path, CellStack], None] | None = None
    needs_image: bool = False
    package: str = ""
    extra: str = ""

    def check_installed(self) -> None:
        """Check that the format can be written here.

        Raises
        ------
        MissingExtraError
            If its package is not installed.
        """
        if self.package and find_spec(self.package) is None:
            raise MissingExtraError(f"The format {self.kind}", self.extra)

    def name_of(self, path: Path) -> str:
        """Name of the image that a file of this format belongs to."""
        name = path.name
        for ending in (self.ending, Path(self.ending).suffix, path.suffix):
            if ending and name.lower().endswith(ending) and len(name) > len(ending):
                return name[: -len(ending)]
        return name


def numbers_of_names(names: list[str]) -> list[int]:
    """Ids that the names of cells spell, or 1, 2, 3 ... where they are no different numbers.

    Examples
    --------
    >>> numbers_of_names(["007", "3"]), numbers_of_names(["a", "3"])
    ([7, 3], [1, 2])
    """
    spelled = [int(n) if n.isascii() and n.isdigit() and len(n) < 10 else 0 for n in names]
    if all(spelled) and len(set(spelled)) == len(spelled):
        return spelled
    return list(range(1, len(names) + 1))


def read_json(path: Path, each: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file; ``each`` object is replaced by what this makes of it, the innermost first.

    Raises
    ------
    ImageReadError
        If it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=each)
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageReadError(f"Cannot read {path}: it is no JSON ({error}).") from error


def filled(path: Path, polygons: Polygons, shape: tuple[int, int]) -> Labels:
    """Fill the polygons of a file; see :func:`~cellrim.io.polygons.fill_polygons`.

    Raises
    ------
    ImageReadError
        If cells lie outside of an image of this shape.
    """
    try:
        return fill_polygons(polygons, shape)
    except InputError as error:
        raise ImageReadError(f"Cannot use {path}: {error}") from error


def stored_dtype(largest: int) -> np.dtype[Any]:
    """Type that files hold labels in: uint16, or uint32 where an id is above 65535."""
    return np.dtype(np.uint32 if largest > np.iinfo(np.uint16).max else np.uint16)


def stored(labels: Labels) -> NDArray[Any]:
    """Labels as files hold them; see :func:`stored_dtype`."""
    return labels.astype(stored_dtype(int(labels.max(initial=0))))
