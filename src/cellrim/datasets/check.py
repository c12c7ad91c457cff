"""Reading a data set through: what it holds, what is wrong with it, and what it looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cellrim.core.image import RGB, Image
from cellrim.core.labels import Labels, areas
from cellrim.core.resize import resize
from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.errors import CellrimError, DatasetError
from cellrim.io.overlay import Rgb, display, draw_overlay

SHEET_TILES = 20
SHEET_COLUMNS = 5
TILE_SIZE = 320
_GUTTER = 6
_PAPER = 255

Record = tuple[Sample, Image, Truth | None]


@dataclass(frozen=True, slots=True)
class Report:
    """What reading a data set through has found.

    Parameters
    ----------
    images, annotated, cells
        Images that can be read, those of them with an annotation, and the cells in these.
    modalities, licences
        Number of images of each.
    groups
        Number of groups (see :class:`~cellrim.datasets.base.Sample`).
    problems
        Every record that cannot be used, by name.
    sheet
        Names of the images on the contact sheet, in reading order.
    """

    dataset: str
    images: int
    annotated: int
    cells: int
    modalities: Mapping[str, int]
    licences: Mapping[str, int]
    groups: int
    problems: tuple[Problem, ...]
    sheet: tuple[str, ...]


def read_through(samples: Sequence[Sample], problems: list[Problem]) -> Iterator[Record]:
    """Read all samples one by one; those that cannot be read become problems.

    Parameters
    ----------
    samples
        What to read.
    problems
        Gets a problem for each sample that does not open, or whose annotation is malformed or of
        another size.
    """
    for sample in samples:
        try:
            image = sample.read_image()
            truth = sample.read_truth() if sample.read_truth else None
            if truth and truth.labels.shape != image.shape:
                raise DatasetError(
                    f"Expected labels of the image's size {image.shape}, "
                    f"but got {truth.labels.shape}."
                )
        except CellrimError as error:
            problems.append(Problem(f"{sample.dataset}/{sample.name}", str(error)))
            continue
        yield sample, image, truth


def check(listing: Listing, *, sheet: bool = False) -> tuple[Report, Rgb | None]:
    """Read every image and annotation of a data set, and draw a contact sheet of some.

    Parameters
    ----------
    listing
        What :func:`~cellrim.datasets.open_dataset` has found.
    sheet
        Whether to draw.

    Returns
    -------
    tuple
        The report, and the contact sheet (uint8, axes ``YXC``) or None.
    """
    problems = list(listing.problems)
    wanted = _spread(len(listing.samples), SHEET_TILES if sheet else 0)
    chosen = {id(listing.samples[i]) for i in wanted}
    tiles, names = [], []
    annotated = cells = 0
    read = []
    for sample, image, truth in read_through(listing.samples, problems):
        read.append(sample)
        if truth:
            annotated += 1
            cells += len(areas(truth.labels))
        if id(sample) in chosen:
            tiles.append(draw_tile(image, truth.labels if truth else None))
            names.append(sample.name)
    report = Report(
        dataset=listing.dataset,
        images=len(read),
        annotated=annotated,
        cells=cells,
        modalities=Counter(sample.modality for sample in read),
        licences=Counter(sample.licence for sample in read),
        groups=len({(sample.dataset, sample.group) for sample in read}),
        problems=tuple(problems),
        sheet=tuple(names),
    )
    return report, contact_sheet(tiles) if tiles else None


def draw_tile(image: Image, labels: Labels | None, *, size: int = TILE_SIZE) -> Rgb:
    """Draw an image small, with the outlines of its cells.

    Parameters
    ----------
    image
        Any image.
    labels
        Axes ``YX``, of the size of the image, or None.
    size
        Length of the longer edge of the tile, in pixels; small images are not blown up.

    Returns
    -------
    ndarray
        uint8, axes ``YXC``. The outlines are drawn after the reduction, so that they stay visible.
    """
    height, width = image.shape
    scale = min(1.0, size / max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    small = resize(display(image).astype(np.float32), shape)
    pixels = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    if labels is None:
        return pixels
    y = (np.arange(shape[0]) + 0.5) * height / shape[0]
    x = (np.arange(shape[1]) + 0.5) * width / shape[1]
    reduced = labels[np.ix_(y.astype(np.intp), x.astype(np.intp))]
    return draw_overlay(Image(pixels, RGB), reduced)


def contact_sheet(tiles: Sequence[Rgb], *, columns: int = SHEET_COLUMNS) -> Rgb:
    """Lay tiles out in rows on white.

    Parameters
    ----------
    tiles
        At least one; uint8, axes ``YXC``, of any sizes.
    columns
        Tiles in a row.
    """
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height = max(tile.shape[0] for tile in tiles) + _GUTTER
    width = max(tile.shape[1] for tile in tiles) + _GUTTER
    sheet = np.full((rows * height + _GUTTER, columns * width + _GUTTER, 3), _PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        y = number // columns * height + _GUTTER
        x = number % columns * width + _GUTTER
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _spread(count: int, wanted: int) -> list[int]:
    """Pick some of ``count`` positions, evenly from the first to the last."""
    picked = np.linspace(0, count - 1, min(count, wanted)) if count else np.empty(0)
    return sorted({round(float(position)) for position in picked})
