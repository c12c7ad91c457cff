"""Cells from one format to another: a file or a folder to a file or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from cellrim.core.image import Image
from cellrim.errors import OutputError, UsageError
from cellrim.evaluation.pairing import strip_ending
from cellrim.io.exports import FORMATS, CellSet, Format, find_format
from cellrim.io.images import IMAGE_SUFFIXES, read_image
from cellrim.measure import measure_cells


@dataclass(frozen=True)
class Conversion:
    """What is to be converted, checked before any work.

    Parameters
    ----------
    source
        A file, an OME-Zarr, or a folder of files of one format.
    out
        A file, or a folder where ``source`` holds several images.
    read, write
        The formats.
    images
        The image, or a folder of images with the names of the label files; None where there is
        none.
    shape
        Height and width, for formats that do not hold them.
    """

    source: Path
    out: Path
    read: Format
    write: Format
    images: Path | None = None
    shape: tuple[int, int] | None = None

    @cached_property
    def image_files(self) -> dict[str, Path]:
        """Images of a folder by their name without suffix."""
        if self.images is None or not self.images.is_dir():
            return {}
        found = sorted(p for p in self.images.rglob("*") if p.name.lower().endswith(IMAGE_SUFFIXES))
        return {path.stem: path for path in reversed(found)}

    @property
    def into_folder(self) -> bool:
        """Whether each image gets a file of its own in a folder."""
        return not self.out.name.lower().endswith(Path(self.write.ending).suffix)


def plan_conversion(
    source: Path,
    out: Path,
    *,
    read: str | None = None,
    write: str | None = None,
    images: Path | None = None,
    shape: tuple[int, int] | None = None,
) -> Conversion:
    """Check that a conversion can work.

    Parameters
    ----------
    source, out
        What to read and what to write. A folder to read holds files of one format; a folder to
        write is one whose name has no suffix of a format.
    read, write
        Formats, keys of :data:`cellrim.io.exports.FORMATS`; told by the names where left out.
    images, shape
        See :class:`Conversion`.

    Raises
    ------
    UsageError
        If something does not exist, a format is unknown, cannot be read, or needs an image.
    MissingExtraError
        If a package for a format is missing.
    """
    for path in (source, *([] if images is None else [images])):
        if not path.exists():
            raise UsageError(f"Expected a file or folder, but {path} does not exist.")
    reader = _chosen(read, source if source.suffix or not source.is_dir() else Path("a.tif"))
    writer = _chosen(write, out)
    if reader.read is None:
        able = ", ".join(kind for kind, known in FORMATS.items() if known.read)
        raise UsageError(f"Expected a format that holds cells ({able}), but got {reader.kind}.")
    if writer.needs_image and images is None:
        raise UsageError(f"Expected --image for {writer.kind}, but got none.")
    for known in (reader, writer):
        known.check_installed()
    plan = Conversion(source, out, reader, writer, images, shape)
    if not plan.into_folder and out.is_dir() and not out.name.endswith(".zarr"):
        raise UsageError(f"Expected a file to write, but {out} is a folder.")
    return plan


def convert(plan: Conversion) -> tuple[int, int]:
    """Convert.

    Returns
    -------
    tuple
        Numbers of images and of cells.

    Raises
    ------
    UsageError
        If the size of an image is needed and not known, or there are several images and the
        format takes one.
    ImageReadError
        If a file cannot be read.
    OutputError
        If a file cannot be written, or two images have one name.
    """
    count = [0, 0]

    def counted() -> Iterator[CellSet]:
        for cells in _read_all(plan):
            count[0] += 1
            count[1] += int(np.count_nonzero(np.bincount(cells.labels.ravel())[1:]))
            yield cells

    if plan.into_folder:
        _write_each(plan, counted())
    elif plan.write.write_many is not None:
        plan.write.write_many(plan.out, counted())
    else:
        _write_one(plan, counted())
    return count[0], count[1]


def _chosen(kind: str | None, path: Path) -> Format:
    if kind is None:
        return find_format(path)
    if kind not in FORMATS:
        raise UsageError(f"Expected a format, one of {', '.join(FORMATS)}, but got {kind!r}.")
    return FORMATS[kind]


def _read_all(plan: Conversion) -> Iterator[CellSet]:
    assert plan.read.read is not None  # checked when it was planned
    for path in _files(plan):
        for cells in plan.read.read(path, lambda name: _shape(plan, name)):
            name = _below(strip_ending(cells.name) if plan.read.kind == "labels" else cells.name)
            yield _with_image(plan, replace(cells, name=name))


def _files(plan: Conversion) -> list[Path]:
    """Return the one file, or those in a folder that end as the format's files do."""
    if not plan.source.is_dir() or plan.source.name.lower().endswith(".zarr"):
        return [plan.source]
    exact = sorted(plan.source.rglob(f"*{plan.read.ending}"))
    found = exact or sorted(plan.source.rglob(f"*{Path(plan.read.ending).suffix}"))
    if not found:
        raise UsageError(f"Expected files *{plan.read.ending} in {plan.source}, but got none.")
    return found


def _shape(plan: Conversion, name: str) -> tuple[int, int]:
    if plan.shape is not None:
        return plan.shape
    image = _image(plan, _below(name))
    if image is None:
        raise UsageError(
            f"Expected the size of {name}, which {plan.read.kind} does not hold: say --image or "
            "--shape HEIGHT,WIDTH."
        )
    return image.shape


def _image(plan: Conversion, name: str) -> Image | None:
    if plan.images is None:
        return None
    if not plan.images.is_dir():
        return read_image(plan.images)
    path = plan.image_files.get(PurePosixPath(name).name)
    return None if path is None else read_image(path)


def _with_image(plan: Conversion, cells: CellSet) -> CellSet:
    image = _image(plan, cells.name)
    if image is None:
        return cells
    if image.shape != cells.labels.shape:
        raise UsageError(
            f"Expected an image of {cells.labels.shape} for {cells.name}, but got {image.shape}."
        )
    sized = image if image.pixel_size else replace(image, pixel_size=cells.pixel_size)
    return replace(cells, image=sized, measure=lambda: measure_cells(cells.labels, sized).columns)


def _write_each(plan: Conversion, sets: Iterator[CellSet]) -> None:
    written: set[Path] = set()
    for cells in sets:
        path = plan.out / f"{cells.name}{plan.write.ending}"
        if path in written:
            raise OutputError(f"Cannot write {path}: two images have this name.")
        written.add(path)
        plan.write.write(path, cells)


def _write_one(plan: Conversion, sets: Iterator[CellSet]) -> None:
    first = next(sets)
    second = next(sets, None)
    if second is not None:
        raise UsageError(
            f"Expected one image for {plan.out}, but {plan.source} holds {first.name}, "
            f"{second.name} ...: say a folder and --to {plan.write.kind}."
        )
    plan.write.write(plan.out, first)


def _below(name: str) -> str:
    """Drop what would lead out of a folder: names come from files that anyone may have written."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "/".join(p for p in parts if p not in ("/", "//", "..", ".")) or "unnamed"
