"""A data set in another layout: plain folders, COCO JSON or the Sartorius table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from cellrim.core.image import RGB, Image
from cellrim.core.labels import areas, median_diameter, relabel
from cellrim.datasets import pairs, sartorius
from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.datasets.check import read_through
from cellrim.errors import DatasetError, InputError, OutputError
from cellrim.io.atomic import atomic_path
from cellrim.io.coco import encode_segmentation, segmentation_of_counts
from cellrim.io.labels import write_labels
from cellrim.io.overlay import write_png
from cellrim.io.rle import encode_coco_labels, encode_sartorius_labels
from cellrim.io.tables import write_csv

SARTORIUS_COLUMNS = (
    *("id", "annotation", "width", "height", "cell_type"),
    *("plate_time", "sample_date", "sample_id", "elapsed_timedelta"),
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written, and what was not.

    Parameters
    ----------
    images, cells
        Written.
    unannotated
        Images that were left out because they have no annotation.
    ignored
        Images whose pixels of unknown content are background now, since the layout cannot tell.
    problems
        Records that could not be read, by name.
    """

    images: int
    cells: int
    unannotated: int
    ignored: int
    problems: tuple[Problem, ...]


class Writer(Protocol):
    """A layout being written: one sample after another, and what names them all at the end."""

    keeps_ignored: bool

    def add(self, sample: Sample, image: Image, truth: Truth) -> None:
        """Write one sample; ids are 1..n without gaps."""
        ...

    def finish(self) -> None:
        """Write what names all samples."""
        ...


def convert(listing: Listing, out: Path, *, to: str) -> Conversion:
    """Write the annotated samples of a data set in another layout.

    Parameters
    ----------
    listing
        What :func:`~cellrim.datasets.open_dataset` has found.
    out
        A folder that does not exist yet, or is empty.
    to
        A layout of :data:`WRITERS`.

    Raises
    ------
    InputError
        If the layout is unknown.
    OutputError
        If there is something in the folder already, or it cannot be written.
    DatasetError
        If no image has an annotation.
    """
    writer = open_writer(out, to)
    if not any(sample.read_truth for sample in listing.samples):
        raise DatasetError(f"Expected images with annotation in {listing.dataset}, but none has.")
    problems = list(listing.problems)
    images = cells = unannotated = ignored = 0
    for sample, image, truth in read_through(_named_apart(listing.samples, problems), problems):
        if truth is None:
            unannotated += 1
            continue
        compact = Truth(relabel(truth.labels), truth.ignore)
        writer.add(sample, image, compact)
        images += 1
        cells += int(compact.labels.max(initial=0))
        ignored += truth.ignore is not None and not writer.keeps_ignored
    writer.finish()
    return Conversion(images, cells, unannotated, ignored, tuple(problems))


def open_writer(out: Path, to: str) -> Writer:
    """Make the writer of a layout; nothing is written yet.

    Raises
    ------
    InputError
        If the layout is unknown.
    OutputError
        If there is something at ``out`` already.
    """
    if to not in WRITERS:
        raise InputError(f"Expected a layout, one of {', '.join(WRITERS)}, but got {to!r}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"Expected {out} to be an empty folder or a new one, but it is not.")
    return WRITERS[to](out)


class PlainWriter:
    """``<dataset>/images/``, ``<dataset>/labels/`` and ``index.csv``; see the pairs reader."""

    keeps_ignored = False

    def __init__(self, out: Path) -> None:
        self._out = out
        self._rows: list[dict[str, Any]] = []

    def add(self, sample: Sample, image: Image, truth: Truth) -> None:
        """Write image and labels."""
        names = {
            part: f"{sample.dataset}/{part}/{sample.name}.tif" for part in ("images", "labels")
        }
        write_image(self._out / names["images"], image)
        write_labels(self._out / names["labels"], truth.labels)
        self._rows.append(
            {
                "dataset": sample.dataset,
                "image": names["images"],
                "labels": names["labels"],
                "modality": sample.modality,
                "group": sample.group,
                "objects": int(truth.labels.max(initial=0)),
                "median_diameter_px": median_diameter(truth.labels),
                "height": image.shape[0],
                "width": image.shape[1],
                "channels": len(image.channels),
                "dtype": str(image.pixels.dtype),
                "truth": sample.kind,
                "licence": sample.licence,
                pairs.USE: "train" if sample.trainable else pairs.EVALUATE_ONLY,
            }
        )

    def finish(self) -> None:
        """Write the index."""
        keys = self._rows[0] if self._rows else ()
        columns = {key: np.array([row[key] for row in self._rows]) for key in keys}
        write_csv(self._out / pairs.INDEX, columns)


class CocoWriter:
    """``images/`` and ``annotations.json`` with compressed run lengths; ignored pixels as crowd."""

    keeps_ignored = True

    def __init__(self, out: Path) -> None:
        self._out = out
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._licences: dict[str, int] = {}

    def add(self, sample: Sample, image: Image, truth: Truth) -> None:
        """Write the image and keep its annotations."""
        name = f"{sample.dataset}/{sample.name}.tif"
        write_image(self._out / "images" / name, image)
        licence = self._licences.setdefault(sample.licence, len(self._licences) + 1)
        entry = {
            "id": len(self._images) + 1,
            "file_name": name,
            "height": image.shape[0],
            "width": image.shape[1],
            "license": licence,
            "group": sample.group,
            "modality": sample.modality,
        }
        self._images.append(entry)
        every = encode_coco_labels(truth.labels)
        boxes = _boxes(truth)
        for counts, area, box in zip(every, areas(truth.labels).tolist(), boxes, strict=True):
            segmentation = segmentation_of_counts(counts, image.shape)
            self._annotate(segmentation, area=area, box=box, crowd=0)
        if truth.ignore is not None and truth.ignore.any():
            whole = [0, 0, image.shape[1], image.shape[0]]
            self._annotate(
                encode_segmentation(truth.ignore), area=int(truth.ignore.sum()), box=whole, crowd=1
            )

    def _annotate(
        self, segmentation: dict[str, Any], *, area: int, box: list[int], crowd: int
    ) -> None:
        self._annotations.append(
            {
                "id": len(self._annotations) + 1,
                "image_id": len(self._images),
                "category_id": 1,
                "segmentation": segmentation,
                "area": area,
                "bbox": box,
                "iscrowd": crowd,
            }
        )

    def finish(self) -> None:
        """Write the JSON file."""
        content = {
            "info": {"description": "Converted by cellrim."},
            "licenses": [{"id": n, "name": name} for name, n in self._licences.items()],
            "categories": [{"id": 1, "name": "cell"}],
            "images": self._images,
            "annotations": self._annotations,
        }
        with atomic_path(self._out / "annotations.json") as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")


class SartoriusWriter:
    """``train/<id>.png`` (TIFF where PNG cannot hold the pixels) and ``train.csv``."""

    keeps_ignored = False

    def __init__(self, out: Path) -> None:
        self._out = out
        self._rows: list[tuple[object, ...]] = []
        self._ids: set[str] = set()

    def add(self, sample: Sample, image: Image, truth: Truth) -> None:
        """Write the image and keep its rows; one without annotation where there is no cell."""
        key = sample.name.replace("/", "_")
        if key in self._ids:
            key = f"{sample.dataset}_{key}"
        self._ids.add(key)
        suffix = ".png" if _fits_png(image) else ".tif"
        write_image(self._out / sartorius.FOLDERS[0] / f"{key}{suffix}", image)
        height, width = image.shape
        for text in encode_sartorius_labels(truth.labels) or [""]:
            self._rows.append((key, text, width, height, sample.dataset, "", "", sample.group, ""))

    def finish(self) -> None:
        """Write the table."""
        table = self._out / sartorius.TABLE
        with atomic_path(table) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(SARTORIUS_COLUMNS)
            writer.writerows(self._rows)


def write_image(path: Path, image: Image) -> None:
    """Write pixels as they are: as PNG where the suffix says so, else as OME-TIFF.

    Channel names and pixel size are kept by the TIFF.

    Raises
    ------
    InputError
        If a PNG cannot hold the pixels.
    OutputError
        If the file cannot be written.
    """
    pixels = image.pixels[:, :, 0] if image.pixels.shape[2] == 1 else image.pixels
    if path.suffix == ".png":
        write_png(path, pixels)
        return
    import tifffile

    colour = image.channels == RGB and pixels.dtype != np.float32
    if pixels.ndim == 3 and not colour:
        pixels = np.moveaxis(pixels, 2, 0)
    metadata: dict[str, Any] = {"axes": "YX" if pixels.ndim == 2 else "YXS" if colour else "CYX"}
    if metadata["axes"] == "CYX":
        metadata["Channel"] = {"Name": list(image.channels)}
    if image.pixel_size is not None:
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = image.pixel_size
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    with atomic_path(path) as partial:
        tifffile.imwrite(
            partial,
            pixels,
            ome=True,
            compression="zlib",
            photometric="rgb" if colour else "minisblack",
            metadata=metadata,
        )


def _fits_png(image: Image) -> bool:
    return len(image.channels) in (1, 3) and image.pixels.dtype in (np.uint8, np.uint16)


def _named_apart(samples: Sequence[Sample], problems: list[Problem]) -> tuple[Sample, ...]:
    """Give samples names that stay below the folder they are written to, each its own."""
    apart: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        key = _below(sample.dataset), _below(sample.name)
        if key in apart:
            problems.append(Problem(f"{sample.dataset}/{sample.name}", "Its name is not its own."))
        else:
            apart[key] = replace(sample, dataset=key[0], name=key[1])
    return tuple(apart.values())


def _below(name: str) -> str:
    """Drop what would lead out of a folder: names come from files that anyone may have written."""
    parts = (part for part in PurePosixPath(name).parts if part not in ("/", "//", "..", "."))
    return "/".join(parts) or "unnamed"


def _boxes(truth: Truth) -> list[list[int]]:
    """Bounding boxes as COCO wants them: x, y, width, height."""
    return [
        [x.start, y.start, x.stop - x.start, y.stop - y.start]
        for y, x in ndimage.find_objects(truth.labels)
    ]


WRITERS: dict[str, Callable[[Path], Writer]] = {
    "plain": PlainWriter,
    "coco": CocoWriter,
    "sartorius": SartoriusWriter,
}
