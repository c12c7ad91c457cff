"""Measuring label images that are there already, from whatever tool: pairs of files to tables."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.core.stack import Index, Stack
from cellrim.errors import CellrimError, InputError, UsageError
from cellrim.evaluation.pairing import label_files, strip_ending
from cellrim.io.exports.plain import read_labels_or_stack
from cellrim.io.images import PixelSize, collapse_grey, open_stack
from cellrim.io.tables import check_parquet, write_csv
from cellrim.measure import measure_cells, summarise, summarise_stack
from cellrim.measure.quality import Quality, flags, measure_quality, typical
from cellrim.measure.summary import Number
from cellrim.prediction.inputs import images_by_name
from cellrim.prediction.stacks import joined, placed
from cellrim.prediction.tables import image_row, write_joined, write_rows

_TABLE_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One image to be measured.

    Parameters
    ----------
    name
        Of the image, as the table has it.
    labels, image
        Files.
    nuclei
        Labels of the nuclei with the ids of their cells, where there are any.
    """

    name: str
    labels: Path
    image: Path
    nuclei: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image: the number of its cells, or why there are none."""

    name: str
    cells: int | None = None
    error: str | None = None


def find_measurements(
    labels: Path, images: Path, *, nuclei: Path | None = None
) -> tuple[tuple[Measurement, ...], tuple[Outcome, ...]]:
    """Find which image belongs to which labels.

    Parameters
    ----------
    labels, images
        Two files, or two folders whose files have the same names but for endings such as
        ``_labels``; folders may be one and the same.
    nuclei
        As ``labels``; None where there are none.

    Returns
    -------
    tuple
        What to measure, and label images without their image or nuclei.

    Raises
    ------
    UsageError
        If a path does not exist, only some are folders, or no label image has an image.
    """
    paths = [labels, images, *([] if nuclei is None else [nuclei])]
    for path in paths:
        if not path.exists():
            raise UsageError(f"Expected a file or folder, but {path} does not exist.")
    folders = [path.is_dir() for path in paths]
    if not any(folders):
        return (Measurement(strip_ending(labels.stem), labels, images, nuclei),), ()
    if not all(folders):
        raise UsageError(
            "Expected labels and images to be files, or all to be folders, but got "
            f"{', '.join(map(str, paths))}."
        )
    found, problems = _pair_folders(labels, images, nuclei)
    if not found:
        raise UsageError(f"Expected images for the labels in {labels}, but {images} has none.")
    return tuple(found), tuple(problems)


def check_table(path: Path) -> None:
    """Check that a table of this name can be written here.

    Raises
    ------
    UsageError
        If the suffix is neither ``.csv`` nor ``.parquet``.
    MissingExtraError
        If it is Parquet, and pyarrow is not installed.
    """
    if path.suffix.lower() not in _TABLE_SUFFIXES:
        raise UsageError(f"Expected a table named *.csv or *.parquet, but got {path}.")
    if path.suffix.lower() == ".parquet":
        check_parquet()


def measure_files(
    jobs: Sequence[Measurement],
    out: Path,
    *,
    pixel_size: float | None = None,
    report: Callable[[Outcome], None] | None = None,
) -> tuple[Outcome, ...]:
    """Measure images one by one and write one table of all cells, and one of all images.

    Parameters
    ----------
    jobs
        From :func:`find_measurements`.
    out
        ``*.csv``, or ``*.parquet`` for both forms. The table of the images is beside it, named
        ``*_images``.
    pixel_size
        Micrometres, in place of what the images say.
    report
        Called after each image.

    Returns
    -------
    tuple of Outcome
        An image that fails has an error there and does not stop the others.

    Raises
    ------
    UsageError
        If the table's name tells no format.
    OutputError
        If a table cannot be written.
    """
    check_table(out)
    outcomes, parts, rows = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(jobs):
            part = Path(folder) / f"{number}.csv"
            outcome, row = _measure(job, part, pixel_size)
            rows.append(row)
            outcomes.append(outcome)
            if outcome.error is None:
                parts.append(({"image": job.name}, part))
            if report is not None:
                report(outcome)
        parquet = out.suffix.lower() == ".parquet"
        table = out.with_suffix(".csv")
        if parts:
            write_joined(table, parts, parquet=parquet)
        write_rows(table.with_name(f"{table.stem}_images.csv"), rows, parquet=parquet)
    return tuple(outcomes)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What was measured of one plane."""

    columns: dict[str, NDArray[np.generic]]
    summary: dict[str, Number]
    quality: Quality


def _measure(
    job: Measurement, part: Path, pixel_size: float | None
) -> tuple[Outcome, dict[str, object]]:
    """Measure every plane of one image; whatever goes wrong becomes the error."""
    size: PixelSize = "read" if pixel_size is None else pixel_size
    try:
        with open_stack(job.image, pixel_size=size) as stack:
            planes = list(_measured_planes(job, stack))
        columns = joined([plane.columns for plane in planes])
        write_csv(part, columns)
    except CellrimError as error:
        row = image_row(job.name, str(job.image), error=str(error))
        return Outcome(job.name, error=str(error)), row
    quality = typical([plane.quality for plane in planes])
    row = image_row(
        job.name,
        str(job.image),
        error=None,
        flags=flags(quality),
        summary=summarise_stack([plane.summary for plane in planes]),
        quality=quality.as_numbers(),
    )
    return Outcome(job.name, cells=len(columns["id"])), row


def _measured_planes(job: Measurement, stack: Stack) -> Iterator[_Measured]:
    several = len(stack) > 1
    nothing: Iterator[Labels | None] = repeat(None, len(stack))
    nuclei = nothing if job.nuclei is None else _planes_of(job.nuclei, len(stack))
    for index, labels, inside in zip(
        _times_first(stack), _planes_of(job.labels, len(stack)), nuclei, strict=True
    ):
        image = stack.read(index) if several else collapse_grey(stack.read(index))
        table = measure_cells(labels, image, nuclei=inside)
        columns = placed(stack, index, table.columns)
        yield _Measured(columns, summarise(table, image), measure_quality(image, labels))


def _times_first(stack: Stack) -> Iterator[Index]:
    """Go over the planes in the order in which label stacks are read."""
    for t, z in np.ndindex(stack.length("T"), stack.length("Z")):
        yield Index(t, z)


def _planes_of(path: Path, count: int) -> Iterator[Labels]:
    """Read the labels of as many planes as the image has."""
    found = 0
    for found, cells in enumerate(read_labels_or_stack(path, path.stem), start=1):
        if found > count:
            break
        yield cells.labels
    if found != count:
        more = "more" if found > count else str(found)
        raise InputError(f"Expected labels of {count} planes in {path}, but got {more}.")


def _pair_folders(
    labels: Path, images: Path, nuclei: Path | None
) -> tuple[list[Measurement], list[Outcome]]:
    sources = _by_name(_image_files(images))
    insides = None if nuclei is None else _by_name(label_files(nuclei))
    found, problems = [], []
    for name, files in label_files(labels).items():
        if len(files) > 1:
            problems.append(Outcome(name, error=f"several label images: {_listed(files)}"))
            continue
        image = _partner(name, sources)
        nucleus = None if insides is None else _partner(name, insides)
        if len(image) != 1:
            problems.append(Outcome(name, error=_missing("image", files[0], image)))
        elif nucleus is not None and len(nucleus) != 1:
            problems.append(Outcome(name, error=_missing("nuclei", files[0], nucleus)))
        else:
            found.append(Measurement(name, files[0], image[0], nucleus[0] if nucleus else None))
    return found, problems


def _missing(what: str, labels: Path, found: Sequence[Path]) -> str:
    there = f"several: {_listed(found)}" if found else "none"
    return f"Expected one file of {what} for {labels}, but there is {there}."


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def _image_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Images by their path below the folder without suffix; label images are none."""
    return {
        name: files
        for name, files in images_by_name(folder).items()
        if strip_ending(name) == name and not name.endswith("_overlay")
    }


Files = Mapping[str, tuple[Path, ...]]


def _by_name(files: Files) -> tuple[Files, Files]:
    """Files by their path below the folder, and by their name alone."""
    names: dict[str, tuple[Path, ...]] = {}
    for key, paths in files.items():
        name = PurePosixPath(key).name
        names[name] = (*names.get(name, ()), *paths)
    return files, names


def _partner(name: str, files: tuple[Files, Files]) -> tuple[Path, ...]:
    by_path, by_name = files
    return by_path.get(name) or by_name.get(PurePosixPath(name).name, ())
