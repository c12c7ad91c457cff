"""Cells from one format to another: a file or a folder to a file or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from cellrim.core.image import Image
from cellrim.core.stack import PLANE_AXES, Calibration, Index, Stack
from cellrim.errors import OutputError, UsageError
from cellrim.evaluation.pairing import strip_ending
from cellrim.io.exports import FORMATS, CellSet, CellStack, Format, find_format
from cellrim.io.exports.planes import split_plane
from cellrim.io.images import collapse_grey, is_zarr, open_stack
from cellrim.io.spool import LabelSpool
from cellrim.measure import measure_cells
from cellrim.prediction.inputs import images_by_name


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
        if self.images is None or is_zarr(self.images) or not self.images.is_dir():
            return {}
        found = images_by_name(self.images)
        return {PurePosixPath(key).name: found[key][0] for key in reversed(found)}

    def image_file(self, name: str) -> Path | None:
        """Return the image of this name, or the stack that a plane of this name lies in."""
        if self.images is None or self.images.is_file() or is_zarr(self.images):
            return self.images
        own = PurePosixPath(name).name
        return self.image_files.get(own) or self.image_files.get(split_plane(own)[0])

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
            if plan.shape not in (None, cells.labels.shape):
                raise UsageError(
                    f"Expected cells of an image of {plan.shape} (height, width), as --shape says, "
                    f"but those in {path} are of {cells.labels.shape}."
                )
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
    path = plan.image_file(name)
    if path is None:
        return None
    with open_stack(path) as stack:
        if len(stack) == 1:
            return collapse_grey(stack.read(Index()))
        index = split_plane(name)[1]
        if index is not None and index in stack.indices():
            return stack.read(index)
        raise UsageError(
            f"Expected an image of one plane for {name}, but {path} is a stack: the names of its "
            "planes end as in NAME_t003_z001."
        )


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
    if second is None:
        plan.write.write(plan.out, first)
    elif plan.write.write_stack is not None and split_plane(second.name)[1] is not None:
        _write_stack(plan, plan.write.write_stack, chain((first, second), sets))
    else:
        raise UsageError(
            f"Expected one image for {plan.out}, but {plan.source} holds {first.name}, "
            f"{second.name} ...: say a folder and --to {plan.write.kind}."
        )


def _write_stack(
    plan: Conversion, write: Callable[[Path, CellStack], None], sets: Iterator[CellSet]
) -> None:
    """Write planes into one file with axes."""
    places: dict[tuple[str, Index | None], int] = {}
    sizes: set[float | None] = set()
    with LabelSpool() as spool:
        for number, cells in enumerate(sets):
            places[split_plane(cells.name)] = number
            sizes.add(cells.micrometres)
            spool.append(cells.labels)
        name, shape = next(iter(places))[0], spool[0].shape
        size = sizes.pop() if len(sizes) == 1 else None
        with _stack_of(plan, name, places, shape, Calibration(size)) as stack:
            wanted = [(name, index) for index in stack.indices()]
            same = all(spool.shape(n) == stack.shape for n in range(len(spool)))
            if set(wanted) != set(places) or len(places) != len(spool) or not same:
                raise UsageError(
                    f"Expected every plane of one stack for {plan.out}, all of one size, but "
                    f"{plan.source} holds others: say a folder and --to {plan.write.kind}."
                )
            labels = (spool[places[key]] for key in wanted)
            with_image = plan.image_file(name) is not None
            write(plan.out, CellStack(name, stack, labels, spool.largest, with_image=with_image))


@contextmanager
def _stack_of(
    plan: Conversion,
    name: str,
    places: Iterable[tuple[str, Index | None]],
    shape: tuple[int, ...],
    calibration: Calibration,
) -> Iterator[Stack]:
    """Open the image of the planes, or make a stack as long as they are, with no image."""
    path = plan.image_file(name)
    if path is not None:
        with open_stack(path) as stack:
            yield stack
        return
    indices = [index or Index() for _, index in places]
    lengths = {axis: 1 + max(i.along(axis) for i in indices) for axis in PLANE_AXES}
    axes = "".join(axis for axis, length in lengths.items() if length > 1)

    def read(_: Index) -> Image:
        raise UsageError(f"Expected an image for {name}, but got labels only: say --image.")

    yield Stack(
        axes,
        tuple(lengths[axis] for axis in axes),
        (shape[0], shape[1]),
        (),
        read=read,
        calibration=calibration,
    )


def _below(name: str) -> str:
    """Drop what would lead out of a folder: names come from files that anyone may have written."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "/".join(p for p in parts if p not in ("/", "//", "..", ".")) or "unnamed"
