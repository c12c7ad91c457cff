"""What the readers share: finding files, reading pixels, and saying what is wrong with a record.

The functions that samples keep for later are plain functions of this module bound to their paths,
so that samples can be sent to the worker processes of a training.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, relabel
from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.errors import DatasetError, ImageReadError, InputError
from cellrim.io.images import IMAGE_SUFFIXES, is_png, is_tiff, open_tiff, read_image, single_series
from cellrim.io.labels import LABEL_SUFFIXES, read_labels
from cellrim.io.outlines import line_mask

UNKNOWN = "unknown"
# Bytes that hold the size in the headers of PNG files and Windows bitmaps.
_HEADER_BYTES = 26
# Lengths of the information headers with which Windows bitmaps without file header begin.
_DIB_HEADERS = frozenset({40, 52, 56, 108, 124})


def files_below(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> tuple[Path, ...]:
    """Files of these suffixes (any case) at any depth, sorted; hidden ones are left out."""
    wanted = frozenset(suffixes)
    return tuple(
        sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in wanted
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and path.is_file()
        )
    )


def by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    """Files by their path below the folder without suffix, so that partners find each other."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in files_below(folder, suffixes):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        found[stem] = (*found.get(stem, ()), path)
    return found


def image_size(path: Path) -> tuple[int, int]:
    """Read height and width of an image or label file, from its header where that is possible.

    Raises
    ------
    ImageReadError
        If the file is missing, broken or of an unknown form.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    if is_png(head) and len(head) == _HEADER_BYTES:
        width, height = struct.unpack_from(">II", head, 16)
        return height, width
    if head.startswith(b"BM") and len(head) == _HEADER_BYTES:
        width, height = struct.unpack_from("<ii", head, 18)
        return abs(height), width  # negative where the rows run downwards
    if len(head) == _HEADER_BYTES and struct.unpack_from("<I", head)[0] in _DIB_HEADERS:
        width, height = struct.unpack_from("<ii", head, 4)
        return abs(height), width
    if is_tiff(head):
        with open_tiff(path) as tiff:
            series = single_series(path, tiff)
            return int(series.shape[series.axes.index("Y")]), int(
                series.shape[series.axes.index("X")]
            )
    if path.suffix.lower() in LABEL_SUFFIXES and path.suffix.lower() not in IMAGE_SUFFIXES:
        labels = read_labels(path)
        return labels.shape[0], labels.shape[1]
    return read_image(path).shape


def reject_options(reader: str, options: Mapping[str, Any], *, known: Iterable[str] = ()) -> None:
    """Refuse options that a reader does not have.

    Raises
    ------
    InputError
        If there is an unknown option.
    """
    known = tuple(known)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(
            f"Expected options of {reader} to be among {list(known)}, but got {unknown}."
        )


def require_choice(value: object, choices: Iterable[str], *, what: str) -> None:
    """Refuse a value that is not one of the choices.

    Raises
    ------
    InputError
        If it is another.
    """
    choices = tuple(choices)
    if value not in choices:
        raise InputError(f"Expected {what} to be one of {', '.join(choices)}, but got {value!r}.")


def read_planes(paths: tuple[Path, ...], channels: tuple[str, ...]) -> Image:
    """Read the first channel of each file as one channel of one image.

    The first channel is the signal in grey files, in grey files stored as RGB, and in the RGB files
    of BBBC007, where a blue pen has left marks in the third one.

    Parameters
    ----------
    paths
        One file per channel.
    channels
        The names.

    Raises
    ------
    ImageReadError
        If a file cannot be read.
    DatasetError
        If the files are not of one size.
    """
    images = [read_image(path) for path in paths]
    require_one_size({path: image.shape for path, image in zip(paths, images, strict=True)})
    pixels = np.stack([image.pixels[:, :, 0] for image in images], axis=2)
    return Image(pixels, channels, images[0].pixel_size)


def read_label_truth(path: Path, *, image: Path) -> Truth:
    """Read a label image that belongs to an image.

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    DatasetError
        If it is not of the image's size.
    """
    labels = read_labels(path)
    require_one_size({image: image_size(image), path: labels.shape})
    return Truth(labels)


def read_outline_truth(
    path: Path, *, image: Path, rule: Callable[[NDArray[np.bool_]], Labels]
) -> Truth:
    """Read an outline image that belongs to an image, and make labels of it.

    Parameters
    ----------
    path, image
        The outline image, and the image it was drawn on.
    rule
        Makes labels of the lines; see :mod:`cellrim.io.outlines`.

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    DatasetError
        If it is not of the image's size.
    """
    line = line_mask(read_image(path).pixels)
    require_one_size({image: image_size(image), path: line.shape})
    return Truth(rule(line))


def require_one_size(sizes: Mapping[Path, tuple[int, ...]]) -> None:
    """Refuse files that belong together and are not of one size (height, width).

    Raises
    ------
    DatasetError
        If the sizes differ.
    """
    if len(set(sizes.values())) > 1:
        named = ", ".join(f"{path.name} is {h} x {w}" for path, (h, w) in sizes.items())
        raise DatasetError(f"Expected files of one size, but {named}.")


def size_problem(record: str, paths: Iterable[Path]) -> Problem | None:
    """Tell whether files that belong together open and are of one size, by their headers alone."""
    try:
        require_one_size({path: image_size(path) for path in paths})
    except (ImageReadError, DatasetError) as error:
        return Problem(record, str(error))
    return None


def outlined_images(
    images: Path,
    outlines: Path,
    *,
    suffixes: Iterable[str],
    rule: Callable[[NDArray[np.bool_]], Labels],
    dataset: str,
    modality: str,
    licence: str,
) -> Listing:
    """List images that have an outline image with the same file name in another folder.

    Parameters
    ----------
    images, outlines
        The two folders, searched at any depth. Without any outline, every image is a sample without
        annotation; where others have one, an image without is a problem.
    suffixes
        Of the images.
    rule
        Makes labels of the lines; see :mod:`cellrim.io.outlines`.
    dataset, modality, licence
        As in :class:`~cellrim.datasets.base.Sample`. Each image is a group of its own.
    """
    pixels = {path.name: path for path in files_below(images, suffixes)}
    lines = {path.name: path for path in files_below(outlines, suffixes)}
    samples, problems = [], []
    for name in sorted(pixels.keys() | lines.keys()):
        record = Path(name).stem
        if name not in pixels:
            problems.append(Problem(record, f"The outline {name} has no image."))
            continue
        if lines and name not in lines:
            problems.append(Problem(record, f"The image {name} has no outline."))
            continue
        paths: tuple[Path, ...] = (pixels[name], lines[name]) if lines else (pixels[name],)
        problem = size_problem(record, paths)
        if problem:
            problems.append(problem)
            continue
        samples.append(
            Sample(
                dataset=dataset,
                name=record,
                paths=paths,
                kind="outline" if lines else "none",
                group=record,
                modality=modality,
                licence=licence,
                read_image=partial(read_planes, (pixels[name],), ("grey",)),
                read_truth=partial(read_outline_truth, paths[1], image=paths[0], rule=rule)
                if lines
                else None,
            )
        )
    return Listing(dataset, tuple(samples), tuple(problems))


def merge_masks(masks: Iterable[NDArray[np.bool_]], shape: tuple[int, int]) -> Labels:
    """Make one label image of masks that may overlap: a pixel belongs to the first that has it.

    Parameters
    ----------
    masks
        bool, axes ``YX``, one at a time in memory.
    shape
        Height and width.

    Returns
    -------
    ndarray
        int32, axes ``YX``; ids 1..n in the order of the masks. A mask that earlier ones cover
        completely, or that is empty, has no id.
    """
    labels = np.zeros(shape, np.int32)
    for number, mask in enumerate(masks, start=1):
        labels[mask & (labels == 0)] = number
    return relabel(labels)


def missing_annotations(
    records: Iterable[str], annotated: Iterable[str], *, what: str
) -> tuple[Problem, ...]:
    """Tell which images lack an annotation that others have.

    Where none has one, the archive came without annotations and nothing is wrong.
    """
    known = set(annotated)
    if not known:
        return ()
    return tuple(Problem(record, f"It has no {what}.") for record in records if record not in known)
