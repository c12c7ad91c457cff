"""What a reader of one file format gives: axes, names, sizes, and a way to read one plane.

Every format is one module with one function that returns a :class:`Source`; the registry is in
:mod:`cellrim.io.images`. Here is what they share: axes that are asked for, units of length, and
the checks of what a file says about itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.stack import NOT_CALIBRATED, Calibration, Index
from cellrim.errors import ImageReadError, UsageError

AXES = "TCZYXS"
"""Letters of axes, as OME writes them: time, channel, depth, rows, columns, RGB samples."""

Scene = int | str
"""Which image of a file that holds several: its number from 0, or its name."""

ONE_SCENE = ("",)
"""Names of the images in a file that can hold but one."""

_SCENES_SHOWN = 12

# Micrometres per pixel that a light microscope, and an electron microscope, can have.
SMALLEST_PIXEL, LARGEST_PIXEL = 1e-4, 1e3

_MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "\\u00b5m": 1.0,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
_SECONDS = {
    "ms": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}


@dataclass(frozen=True)
class Source:
    """One image of a file that is open.

    Parameters
    ----------
    axes
        Letters out of ``TCZYXS``, each at most once, slowest first; ``Y`` and ``X`` among them.
    shape
        Length of each axis.
    read
        Reads one plane: its pixels, and their axes out of ``CYXS``.
    channels
        Names in the order of the channels, where the file has them.
    calibration
        Pixel size and steps, where the file has them.
    close
        Frees the file.
    """

    axes: str
    shape: tuple[int, ...]
    read: Callable[[Index], tuple[NDArray[Any], str]] = field(repr=False)
    channels: tuple[str, ...] | None = None
    calibration: Calibration = NOT_CALIBRATED
    close: Callable[[], None] = field(default=lambda: None, repr=False)

    def length(self, axis: str) -> int:
        """Length along an axis; 1 where there is none."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


def pick_scene(path: Path, names: Sequence[str], wanted: Scene | None) -> int:
    """Tell which of the images in a file is meant: its scenes, series or positions.

    Parameters
    ----------
    path
        For messages.
    names
        Of the images, in their order.
    wanted
        A number counted from 0 or a name; text that is no name may be a number too.

    Returns
    -------
    int
        Its number.

    Raises
    ------
    ImageReadError
        If there are several and none is wanted, or there is none such.

    Examples
    --------
    >>> pick_scene(Path("a.lif"), ["Position 1", "Position 2"], "Position 2")
    1
    """
    if wanted is None:
        if len(names) == 1:
            return 0
        raise ImageReadError(
            f"Cannot read {path}: expected one image, but it holds {len(names)}: "
            f"{_listed(names)}. Choose one by name or number with --scene, or --scene all for each "
            "(cellrim segment), or save the one to use as a file of its own."
        )
    number = wanted if isinstance(wanted, int) else _numbered(names, wanted)
    if not 0 <= number < len(names):
        raise ImageReadError(
            f"Cannot read {path}: expected a scene it holds, which are {_listed(names)}, but got "
            f"{wanted!r}."
        )
    return number


def _numbered(names: Sequence[str], wanted: str) -> int:
    if names.count(wanted) == 1:
        return names.index(wanted)
    return int(wanted) if wanted.isascii() and wanted.isdecimal() else -1


def _listed(names: Sequence[str]) -> str:
    """Numbers and names, the first few of many."""
    more = ", ..." if len(names) > _SCENES_SHOWN else ""
    return ", ".join(f"{n} {name}".rstrip() for n, name in enumerate(names[:_SCENES_SHOWN])) + more


def array_source(pixels: NDArray[Any], axes: str) -> Source:
    """Return an array that is in memory as a source."""
    return Source(axes, pixels.shape, read=lambda index: plane_of(pixels, axes, index))


def plane_of(pixels: Any, axes: str, index: Index) -> tuple[NDArray[Any], str]:
    """Take the plane at an index out of an array, lazy or not, and say what axes are left."""
    at = tuple(index.along(a) if a in "TZ" else slice(None) for a in axes)
    left = "".join(a for a in axes if a not in "TZ")
    return np.asarray(pixels[at]), left


def to_yxc(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """Bring a plane with axes out of ``CYXS`` to ``YXC``; samples count as channels.

    Examples
    --------
    >>> to_yxc(np.zeros((2, 4, 5, 3)), "CYXS").shape
    (4, 5, 6)
    """
    missing = [a for a in "CS" if a not in axes]
    for axis in missing:
        pixels, axes = pixels[..., np.newaxis], axes + axis
    ordered = pixels.transpose([axes.index(a) for a in "YXCS"])
    return ordered.reshape(*ordered.shape[:2], -1)


def describe_axes(axes: str, shape: Sequence[int]) -> str:
    """Say axes and lengths: ``ZYX (Z 5, Y 9, X 13)``."""
    lengths = ", ".join(f"{a} {n}" for a, n in zip(axes, shape, strict=True))
    return f"{axes} ({lengths})"


def asked_axes(
    path: Path, asked: str, axes: str, shape: tuple[int, ...], *, within: int | None = None
) -> tuple[str, tuple[int, ...]]:
    """Put the axes that a user asked for in the place of those of the file.

    Parameters
    ----------
    path
        For messages.
    asked
        One letter for each axis, slowest first, each with its length behind it or not: ``TZCYX``,
        ``T5C2YX``.
    axes, shape
        Axes of the file, any letters, and their lengths.
    within
        How many of the last axes lie within one page; the axes before them are pages in a row, so
        that they may be split into several as long as all lengths but one are given. All where
        None.

    Returns
    -------
    axes, shape
        Letters out of ``TCZYXS`` and their lengths; as many elements as ``shape``.

    Raises
    ------
    UsageError
        If the letters are no axes.
    ImageReadError
        If they do not fit the file.
    """
    letters, sizes = check_asked_axes(asked)
    whole = within is None and len(sizes) != len(shape)
    fitted = None if whole else _fit(sizes, shape, within=within or len(shape))
    if fitted is None:
        raise ImageReadError(
            f"Cannot read {path}: the axes {asked!r} do not fit the file, whose axes are "
            f"{describe_axes(axes, shape)}. Give one letter for each, or lengths that multiply "
            "to the number of pages, such as T5C2YX."
        )
    return letters, fitted


def check_asked_axes(asked: str) -> tuple[str, list[int | None]]:
    """Take axes that were asked for apart: their letters, and the lengths where given.

    Raises
    ------
    UsageError
        If they are no axes.

    Examples
    --------
    >>> check_asked_axes("T5CYX")
    ('TCYX', [5, None, None, None])
    """
    found = re.findall(r"([A-Z])(\d*)", asked.upper())
    letters = "".join(letter for letter, _ in found)
    if "".join(a + n for a, n in found) != asked.upper() or not are_axes(letters):
        raise UsageError(
            f"Expected axes such as YX, CYX, TZCYX or T5C2YX, each letter out of {AXES} once, and "
            f"Y and X among them, but got {asked!r}."
        )
    return letters, [int(n) if n else None for _, n in found]


def check_pixel_size(size: float) -> None:
    """Refuse a pixel size that no microscope has.

    Raises
    ------
    UsageError
        If it is zero, negative, no number or absurd.
    """
    if not SMALLEST_PIXEL <= size <= LARGEST_PIXEL:
        raise UsageError(
            f"Expected a pixel size between {SMALLEST_PIXEL} and {LARGEST_PIXEL:.0f} micrometres, "
            f"but got {size:g}."
        )


def are_axes(letters: str) -> bool:
    """Whether these are axes cellrim knows, each once, rows and columns among them."""
    return set("YX") <= set(letters) <= set(AXES) and len(set(letters)) == len(letters)


def ambiguous(path: Path, axes: str, shape: Sequence[int]) -> ImageReadError:
    """Return the error for axes nobody has named, with the choices."""
    unknown = [(a, n) for a, n in zip(axes, shape, strict=True) if a not in AXES]
    known = "".join(a for a in axes if a in AXES)
    if len(unknown) == 1:
        free = [a for a in "TZC" if a not in known]
        names = {"T": "times", "Z": "slices", "C": "channels"}
        choices = [f"{names[a]} {a} (axes {axes.replace(unknown[0][0], a)})" for a in free]
        what = f"a stack of {unknown[0][1]} pages, and nothing says whether they are "
        what += " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)
    else:
        lengths = ", ".join(str(n) for _, n in unknown)
        what = (
            f"a stack whose first axes have the lengths {lengths}, and nothing says which are "
            f"times T, slices Z or channels C (for example axes TZC{known})"
        )
    return ImageReadError(
        f"Cannot read {path}: the file is {what}. Say it with --axes, or save the file with axes "
        "metadata (OME or ImageJ)."
    )


def micrometres(value: object, unit: object) -> float | None:
    """Turn a length into micrometres; None where there is no value or the unit is no length."""
    return _converted(value, unit, _MICROMETRES)


def seconds(value: object, unit: object) -> float | None:
    """Turn a time into seconds; None where there is no value or the unit is no time."""
    return _converted(value, unit, _SECONDS)


def square_pixel(path: Path, y: float | None, x: float | None) -> float | None:
    """Return the edge of a pixel in micrometres; None where it is not known or not square.

    Raises
    ------
    ImageReadError
        If a size is zero, negative, no number, or none that a microscope can have.
    """
    for size in (y, x):
        if size is not None and not SMALLEST_PIXEL <= size <= LARGEST_PIXEL:
            raise ImageReadError(
                f"Cannot use {path}: expected a pixel size between {SMALLEST_PIXEL} and "
                f"{LARGEST_PIXEL:.0f} micrometres, but its metadata say {size:g}. Give the right "
                "one with --pixel-size, or --pixel-size none to measure in pixels."
            )
    if y is None or x is None or abs(x - y) > 0.01 * x:
        return None
    return x


def positive(value: float | None) -> float | None:
    """Return a step if it is one: finite and above zero."""
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _converted(value: object, unit: object, units: dict[str, float]) -> float | None:
    factor = units.get(str(unit).strip().lower())
    if factor is None or value is None:
        return None
    try:
        return float(str(value)) * factor
    except ValueError:
        return math.nan  # said, but no number: square_pixel refuses it


def _fit(sizes: list[int | None], shape: tuple[int, ...], *, within: int) -> tuple[int, ...] | None:
    """Find the length of each axis, or None where that cannot be."""
    if len(sizes) == len(shape):
        agree = all(s is None or s == n for s, n in zip(sizes, shape, strict=True))
        return shape if agree else None
    pages, inner = shape[: len(shape) - within], shape[len(shape) - within :]
    split, last = sizes[: len(sizes) - within], sizes[len(sizes) - within :]
    if len(last) != within or any(
        s is not None and s != n for s, n in zip(last, inner, strict=True)
    ):
        return None
    count, known = math.prod(pages), math.prod(s for s in split if s is not None)
    open_sizes = split.count(None)
    if not known or open_sizes > 1 or count % known or (open_sizes == 0 and known != count):
        return None
    return (*(count // known if s is None else s for s in split), *inner)
