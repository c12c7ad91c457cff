"""Folder pairs: an image in ``images/`` and its label image of the same name in ``labels/``.

Several such folders may stand beside each other under a parent with an ``index.csv``, which says of
each image what it is, what it must not be separated from, and under which licence it may be used.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from cellrim.datasets.base import Listing, Problem, Sample
from cellrim.datasets.records import (
    UNKNOWN,
    by_stem,
    files_below,
    read_label_truth,
    reject_options,
    size_problem,
)
from cellrim.errors import DatasetError
from cellrim.io.images import IMAGE_SUFFIXES, read_image
from cellrim.io.labels import LABEL_SUFFIXES

INDEX = "index.csv"
COLUMNS = ("dataset", "image", "labels", "modality", "group", "licence")
USE = "use"
EVALUATE_ONLY = "evaluate only"

Row = Mapping[str, str]


class Pairs:
    """The plain layout: ``images/`` and ``labels/``, with or without an ``index.csv`` above."""

    name = "pairs"
    title = "Folders images/ and labels/ with files of the same name, and index.csv above them"
    licence = "as index.csv says"

    def matches(self, root: Path) -> bool:
        """Whether there are both folders, or an index with the columns that are needed."""
        if not root.is_dir():
            return False
        return _has_pair(root) or _is_index(root / INDEX)

    def read(self, root: Path, **options: Any) -> Listing:
        """List the pairs of one folder, or of all folders that ``index.csv`` names.

        Raises
        ------
        DatasetError
            If the index cannot be read.
        InputError
            If there is an option; this reader has none.
        """
        reject_options(self.name, options)
        if not _has_pair(root):
            return _from_rows(root.name, root, _rows(root / INDEX))
        index = root.parent / INDEX
        rows = _rows(index) if _is_index(index) else ()
        rows = [row for row in rows if _folder(row) == root.name]
        if not rows:
            return _from_stems(root)
        listing = _from_rows(rows[0]["dataset"], root.parent, rows)
        return replace(listing, problems=(*listing.problems, *_not_in_index(root, rows)))


READER = Pairs()


def _has_pair(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "labels").is_dir()


def _is_index(path: Path) -> bool:
    """Whether this is an index as this module means it, and not any other file of that name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return set(COLUMNS) <= set(header)


def _rows(index: Path) -> Sequence[Row]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            return [
                {key: value or "" for key, value in row.items() if isinstance(key, str)}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"Cannot read {index}: {error}.") from error


def _folder(row: Row) -> str:
    return PurePosixPath(row["image"]).parts[0] if row["image"] else ""


def _name(row: Row) -> str:
    """Path of the image below its ``images/`` folder, without suffix."""
    _, _, below = row["image"].rpartition("/images/")
    return Path(below or row["image"]).with_suffix("").as_posix()


def _from_rows(dataset: str, parent: Path, rows: Sequence[Row]) -> Listing:
    samples, problems = [], []
    for row in rows:
        image, labels = parent / row["image"], parent / row["labels"]
        name = _name(row)
        problem = _problem(f"{row['dataset']}/{name}", image, labels)
        if problem:
            problems.append(problem)
            continue
        samples.append(
            _sample(
                image,
                labels,
                dataset=row["dataset"],
                name=name,
                group=row["group"] or name,
                modality=row["modality"] or UNKNOWN,
                licence=row["licence"] or UNKNOWN,
                trainable=row.get(USE, "") != EVALUATE_ONLY,
            )
        )
    return Listing(dataset, tuple(samples), tuple(problems))


def _from_stems(root: Path) -> Listing:
    images = by_stem(root / "images", IMAGE_SUFFIXES)
    labels = by_stem(root / "labels", LABEL_SUFFIXES)
    samples, problems = [], []
    for stem in sorted(images.keys() | labels.keys()):
        problem = _partner_problem(stem, images.get(stem, ()), labels.get(stem, ()))
        problem = problem or _problem(stem, images[stem][0], labels[stem][0])
        if problem:
            problems.append(problem)
            continue
        samples.append(
            _sample(images[stem][0], labels[stem][0], dataset=root.name, name=stem, group=stem)
        )
    return Listing(root.name, tuple(samples), tuple(problems))


def _sample(
    image: Path,
    labels: Path,
    *,
    dataset: str,
    name: str,
    group: str,
    modality: str = UNKNOWN,
    licence: str = UNKNOWN,
    trainable: bool = True,
) -> Sample:
    return Sample(
        dataset=dataset,
        name=name,
        paths=(image, labels),
        kind="labels",
        group=group,
        modality=modality,
        licence=licence,
        read_image=partial(read_image, image),
        read_truth=partial(read_label_truth, labels, image=image),
        trainable=trainable,
    )


def _problem(record: str, image: Path, labels: Path) -> Problem | None:
    for path in (image, labels):
        if not path.is_file():
            return Problem(record, f"{path.name} is missing in {path.parent}.")
    return size_problem(record, (image, labels))


def _partner_problem(stem: str, images: Sequence[Path], labels: Sequence[Path]) -> Problem | None:
    if not labels:
        return Problem(stem, f"{images[0].name} has no label image of this name in labels/.")
    if not images:
        return Problem(stem, f"{labels[0].name} has no image of this name in images/.")
    several = images if len(images) > 1 else labels if len(labels) > 1 else ()
    if several:
        names = ", ".join(path.name for path in several)
        return Problem(stem, f"More than one file has this name: {names}.")
    return None


def _not_in_index(root: Path, rows: Sequence[Row]) -> Iterator[Problem]:
    """Images that the index does not know: their group is not known, so they are not used."""
    known = {root.parent / row["image"] for row in rows}
    for path in files_below(root / "images", IMAGE_SUFFIXES):
        if path not in known:
            yield Problem(path.stem, f"{path.name} is not in {INDEX}, so its group is not known.")
