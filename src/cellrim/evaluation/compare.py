"""Compare two folders, or a folder with a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from cellrim.datasets.base import Problem
from cellrim.datasets.registry import READERS, find_reader, open_dataset
from cellrim.datasets.splits import split
from cellrim.errors import CellrimError, DatasetError, UsageError
from cellrim.evaluation.counts import Counts, count_boxes, count_image, scores
from cellrim.evaluation.intervals import RESAMPLES, Summary, summarise
from cellrim.evaluation.pairing import (
    Pairing,
    Reference,
    label_files,
    pair,
    references_in_dataset,
    references_in_folder,
)
from cellrim.io.labels import read_labels

# The name for TRUTH as a folder of label images, beside the formats of data sets.
LABELS = "labels"
_SHOWN = 5

Part = Literal["all", "train", "validation"]
"""All of a data set, or one side of its split."""

PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How labels are compared, the same for all images.

    Parameters
    ----------
    layout
        The true data set's format, or ``labels`` for a folder of label images; recognised where
        None.
    part
        ``train`` or ``validation`` takes that side of the data set's split only.
    partial
        Whether true images without a prediction are no problem.
    ignore_border
        Whether predicted instances that touch the frame and have no true *box* are no mistakes.
    boundaries
        Whether to compare outlines, which takes most of the time.
    resamples, seed
        Of the bootstrap intervals.

    Raises
    ------
    UsageError
        If a value cannot work with any images.
    """

    layout: str | None = None
    part: Part = "all"
    partial: bool = False
    ignore_border: bool = True
    boundaries: bool = True
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise UsageError(f"Expected the part {', '.join(PARTS)}, but got {self.part!r}.")
        if self.layout not in (None, LABELS, *READERS):
            raise UsageError(
                f"Expected the format {', '.join((LABELS, *READERS))}, but got {self.layout!r}."
            )
        if self.layout == LABELS and self.part != "all":
            raise UsageError(_no_split(self.part, "TRUTH"))
        if self.resamples < 1 or self.seed < 0:
            raise UsageError(
                "Expected at least one resample and a seed from 0 on, but got "
                f"{self.resamples} and {self.seed}."
            )


DEFAULTS = CompareOptions()
"""How labels are compared where nothing is said."""


@dataclass(frozen=True)
class ImageResult:
    """Counts of one image.

    Parameters
    ----------
    dataset, name, group
        The image, and the group it is pooled with.
    predicted
        The file compared.
    boxes
        Whether instances were compared as boxes.
    counts
        What was counted.
    reference
        The true image, to look at it again.
    """

    dataset: str
    name: str
    group: str
    predicted: Path
    boxes: bool
    counts: Counts
    reference: Reference | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Evaluation:
    """The outcome of :func:`evaluate`.

    Parameters
    ----------
    images
        One result per compared image.
    problems
        What could not be compared, and why.
    extra
        Predictions without a true image.
    options
        As asked for.
    """

    images: tuple[ImageResult, ...]
    problems: tuple[Problem, ...]
    extra: tuple[str, ...]
    options: CompareOptions = field(default=DEFAULTS, repr=False)

    @cached_property
    def total(self) -> Summary:
        """All images together."""
        return self._summary(self.images)

    @cached_property
    def groups(self) -> dict[str, Summary]:
        """Each group by itself, sorted by name: the data set, and the modality if it has many."""
        names = sorted({image.group for image in self.images})
        return {n: self._summary([i for i in self.images if i.group == n]) for n in names}

    def worst(self, count: int) -> list[ImageResult]:
        """Return the images of the lowest AP at IoU 0.5, worst first; ties by mean AP, name."""

        def rank(image: ImageResult) -> tuple[float, float, str]:
            values = scores(image.counts)
            return values.ap50, values.map, image.name

        return sorted(self.images, key=rank)[:count]

    def _summary(self, images: Sequence[ImageResult]) -> Summary:
        return summarise(
            [i.counts for i in images], resamples=self.options.resamples, seed=self.options.seed
        )


def evaluate(
    predicted: Path,
    truth: Path,
    *,
    options: CompareOptions = DEFAULTS,
    report: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Compare predicted label images with the truth.

    Parameters
    ----------
    predicted
        A folder of label images (TIFF, PNG, npy) from any tool, at any depth.
    truth
        Another, or a data set in any format of ``datasets.READERS``. Images are matched by path or
        name, without endings such as ``_labels``, ``_cp_masks``, ``_pred``.
    options
        How.
    report
        Called before each image with its name, its number from 1, and how many there are.

    Returns
    -------
    Evaluation
        Counts of each image, and what could not be compared.

    Raises
    ------
    UsageError
        If a folder is missing or without label images, or no name is on both sides.
    """
    files, references, unclear = _find(predicted, truth, options)
    pairing = pair(files, references)
    if not pairing.pairs and not pairing.unclear:
        raise UsageError(
            "Expected predictions named like the true images, but no name is on both sides: "
            f"predicted {_some(pairing.extra)}; true {_some(pairing.missing)}."
        )
    images: list[ImageResult] = []
    problems = _unpaired(pairing, unclear, partial=options.partial)
    for number, (path, reference) in enumerate(pairing.pairs, start=1):
        if report:
            report(reference.name, number, len(pairing.pairs))
        try:
            images.append(_compare(path, reference, options))
        except CellrimError as error:
            problems.append(Problem(reference.name, str(error)))
    # In a part, what belongs to the other part is not extra.
    extra = pairing.extra if options.part == "all" else ()
    return Evaluation(tuple(images), tuple(problems), extra, options)


def _find(
    predicted: Path, truth: Path, options: CompareOptions
) -> tuple[dict[str, tuple[Path, ...]], tuple[Reference, ...], dict[str, tuple[Path, ...]]]:
    """Find both sides: predicted files, true images, and names that several true files have."""
    if not predicted.is_dir():
        raise UsageError(f"Expected a folder of predicted label images, but got {predicted}.")
    if not truth.exists():
        raise UsageError(f"Expected true label images or a data set, but there is no {truth}.")
    files = label_files(predicted)
    if not files:
        raise UsageError(f"Expected label images (TIFF, PNG or npy) in {predicted}: none found.")
    layout = options.layout
    if layout == LABELS or (layout is None and not _is_dataset(truth)):
        return files, *_labels_truth(truth, options.part)
    return files, _dataset_truth(truth, layout=layout, part=options.part), {}


def _is_dataset(truth: Path) -> bool:
    """Whether the path has the layout of a data set; a folder of label images does not count."""
    try:
        find_reader(truth)
    except DatasetError:
        # Where it is neither, opening it as a data set says why.
        if truth.is_dir() and label_files(truth):
            return False
    return True


def _labels_truth(
    truth: Path, part: Part
) -> tuple[tuple[Reference, ...], dict[str, tuple[Path, ...]]]:
    if part != "all":
        raise UsageError(_no_split(part, truth))
    references, unclear = references_in_folder(truth) if truth.is_dir() else ((), {})
    if not references:
        raise UsageError(f"Expected label images (TIFF, PNG or npy) in {truth}: none found.")
    return references, unclear


def _no_split(part: Part, truth: Path | str) -> str:
    return (
        f"Expected a data set for --part {part}, but {truth} is a folder of label images: "
        "nothing says which images belong together."
    )


def _dataset_truth(truth: Path, *, layout: str | None, part: Part) -> tuple[Reference, ...]:
    try:
        listing = open_dataset(truth, layout)
    except CellrimError as error:
        raise UsageError(str(error)) from error
    # Split as training does: an image without annotation has no say in what is held back.
    annotated = tuple(s for s in listing.samples if s.read_truth is not None)
    sides = split(annotated)
    samples = {"all": annotated, "train": sides[0], "validation": sides[1]}[part]
    references = references_in_dataset(truth, samples)
    if not references:
        raise UsageError(f"Expected annotated images in {truth} ({part}): none found.")
    return references


def _unpaired(
    pairing: Pairing, unclear: dict[str, tuple[Path, ...]], *, partial: bool
) -> list[Problem]:
    problems = [
        Problem(name, f"Several files could be it: {', '.join(map(str, paths))}.")
        for name, paths in (*unclear.items(), *pairing.unclear.items())
    ]
    if not partial:
        problems += [Problem(name, "There is no prediction of it.") for name in pairing.missing]
    return problems


def _compare(path: Path, reference: Reference, options: CompareOptions) -> ImageResult:
    labels, truth = read_labels(path), reference.read()
    if truth.boxes is None:
        counts = count_image(
            labels,
            truth.labels,
            ignore=truth.ignore,
            name=reference.name,
            boundaries=options.boundaries,
        )
    else:
        _check_size(labels.shape, truth.labels.shape, reference.name)
        counts = count_boxes(
            labels,
            truth.boxes,
            ignore_border=options.ignore_border,
            ignore=truth.ignore,
            name=reference.name,
        )
    return ImageResult(
        dataset=reference.dataset,
        name=reference.name,
        group=reference.group,
        predicted=path,
        boxes=truth.boxes is not None,
        counts=counts,
        reference=reference,
    )


def _check_size(got: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
    if got != expected:
        raise DatasetError(
            f"Expected predicted labels of the image's shape {expected} for {name}, but got {got}."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "none"
    return f"{shown}, ..." if len(names) > _SHOWN else shown
