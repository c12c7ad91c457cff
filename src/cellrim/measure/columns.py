"""The dictionary of columns: name, unit and meaning of everything a table can hold.

``<channel>`` stands for the name of each channel. ``docs/measurements.md`` is made of this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, or one per channel.

    Parameters
    ----------
    name
        As in the header; ``<channel>`` stands for a channel's name.
    unit
        ``px``, ``px²``, ``µm``, ``µm²``, ``°``, ``cell diameters``, ``intensity`` (as the file
        stores it), or empty.
    meaning
        One sentence.
    given
        When the column is there; empty for always.
    """

    name: str
    unit: str
    meaning: str
    given: str = ""


_SIZED = "pixel size known"
_CONFIDENT = "predicted by cellrim"
_NUCLEI = "nuclei given"

_PIXELS = (
    Column("id", "", "Number of the cell in the label image."),
    Column("centroid_y", "px", "Centre of the cell, down from the centre of the first pixel."),
    Column("centroid_x", "px", "Centre of the cell, right from the centre of the first pixel."),
    Column("area", "px²", "Number of pixels."),
    Column("diameter", "px", "Diameter of the disc of equal area."),
    Column(
        "perimeter",
        "px",
        "Length of the line through the centres of the border pixels; too short for cells of a "
        "few pixels, 0 for a single one.",
    ),
    Column("axis_major", "px", "Major axis of the ellipse that has the cell's second moments."),
    Column("axis_minor", "px", "Minor axis of that ellipse."),
    Column("eccentricity", "", "Of that ellipse: 0 for a disc, near 1 for a line."),
    Column(
        "orientation",
        "°",
        "Angle from the vertical to the major axis, counter-clockwise in the picture, -90..90; "
        "-45 where there is no major axis.",
    ),
    Column("solidity", "", "Area divided by that of the convex hull: 1 without dents."),
    Column(
        "circularity",
        "",
        "4π·area/perimeter², 1 for a disc; cut at 1, empty where the perimeter is 0.",
    ),
    Column("feret_max", "px", "Longest caliper: the longest distance across the convex hull."),
    Column("feret_min", "px", "Shortest caliper: the narrowest slit the convex hull passes."),
    Column("bbox_y0", "px", "First row of the cell."),
    Column("bbox_x0", "px", "First column of the cell."),
    Column("bbox_y1", "px", "Row behind the last one of the cell."),
    Column("bbox_x1", "px", "Column behind the last one of the cell."),
    Column(
        "touches_border", "", "Whether the cell touches the frame, so that part may be missing."
    ),
    Column("neighbours", "", "Number of cells that touch it, by an edge or a corner of a pixel."),
    Column(
        "neighbour_distance",
        "px",
        "Mean distance from its centre to those of the cells that touch it; empty where none does.",
    ),
    Column("nearest_id", "", "Cell whose centre is nearest; 0 where there is no other cell."),
    Column("nearest_distance", "px", "Distance to that centre; empty where there is none."),
)

LENGTHS = tuple(c.name for c in _PIXELS if c.unit == "px" and not c.name.startswith("bbox"))
"""Columns in pixels that have a twin in micrometres, ``<name>_um``."""

_MICROMETRES = (
    Column("area_um2", "µm²", "Area.", _SIZED),
    *(Column(f"{name}_um", "µm", f"As {name}.", _SIZED) for name in LENGTHS),
)

_INTENSITIES = (
    Column("mean_<channel>", "intensity", "Mean over the cell's pixels."),
    Column("median_<channel>", "intensity", "Median over the cell's pixels."),
    Column("sd_<channel>", "intensity", "Standard deviation of the cell's pixels (divided by n)."),
    Column("min_<channel>", "intensity", "Lowest value in the cell."),
    Column("max_<channel>", "intensity", "Highest value in the cell."),
    Column("integrated_<channel>", "intensity", "Sum over the cell's pixels."),
    Column(
        "corrected_mean_<channel>",
        "intensity",
        "Mean less the background of the image, which is the median of the pixels in no cell; "
        "empty where less than one hundredth of the image is outside of cells.",
    ),
    Column(
        "corrected_integrated_<channel>",
        "intensity",
        "Sum over the cell's pixels, each less the background.",
    ),
)

_CONFIDENCE = (Column("confidence", "", "How sure the network is of the cell, 0..1.", _CONFIDENT),)

_COMPARTMENTS = (
    Column("nucleus_area", "px²", "Pixels of the cell's nucleus; 0 without one.", _NUCLEI),
    Column("cytoplasm_area", "px²", "Pixels of the cell in no nucleus.", _NUCLEI),
    Column("nucleus_fraction", "", "Nucleus divided by nucleus and cytoplasm, areas.", _NUCLEI),
    Column("nucleus_mean_<channel>", "intensity", "Mean over the nucleus.", _NUCLEI),
    Column("cytoplasm_mean_<channel>", "intensity", "Mean over the cytoplasm.", _NUCLEI),
    Column(
        "nucleus_cytoplasm_ratio_<channel>",
        "",
        "Mean of the nucleus divided by that of the cytoplasm; the background is not taken off.",
        _NUCLEI,
    ),
)

CELL_COLUMNS = (*_PIXELS, *_MICROMETRES, *_INTENSITIES, *_COMPARTMENTS, *_CONFIDENCE)
"""Columns of a table of cells, in their order."""

PAIRED_COLUMNS = (
    Column("nuclei", "", "How many nuclei the cell has.", "cellrim segment --target both"),
)
"""Columns that follow these where cells and nuclei were found in one run."""

STACK_COLUMNS = (
    Column("t", "", "Which time, counted from 0.", "several times"),
    Column("z", "", "Which slice, counted from 0.", "several slices"),
    Column("track", "", "Number of the cell's track, which is its id too.", "--track"),
    Column("parent", "", "Track that divided into this one, or 0.", "--track"),
)
"""Further columns of the cells of a stack: the first two in front, the others behind."""

RUN_COLUMNS = (Column("image", "", "Which image: path of its results below the output folder."),)
"""Columns that the table of all cells of a run has in front of those."""

QUALITY_COLUMNS = (
    Column(
        "quality_blur",
        "cell diameters",
        "Width (sigma) of the blur of the sharpest edges; empty without cells.",
    ),
    Column(
        "quality_saturated",
        "",
        "Share of the pixels in cells at an end of the range where values pile up, 0..1.",
    ),
    Column(
        "quality_unevenness",
        "",
        "Difference of the background across the image over the contrast; empty where too little "
        "background is seen.",
    ),
    Column(
        "quality_cell_diameter",
        "px",
        "Median diameter of the cells, on which the flag for too few pixels rests.",
    ),
    Column(
        "quality_certainty",
        "",
        "How sure the network is of all that it takes for cells, 0..1.",
        _CONFIDENT,
    ),
)
"""The numbers of :class:`cellrim.measure.quality.Quality`, ``quality_`` in front of each name."""

IMAGE_COLUMNS = (
    *RUN_COLUMNS,
    Column("source", "", "The image file."),
    Column("status", "", "ok, or failed."),
    Column("error", "", "Why it failed; empty where it did not."),
    Column("flags", "", "Why the image should be looked at, with semicolons between; else empty."),
    Column("height", "px", "Rows of the image."),
    Column("width", "px", "Columns of the image."),
    Column(
        "planes",
        "",
        "Number of planes; of several, counts are added up, and any other number is the mean over "
        "the planes.",
    ),
    Column("pixel_size_um", "µm", "Edge of a pixel; empty where the file does not say it."),
    Column("cells", "", "Number of cells."),
    Column("cells_at_border", "", "How many of them touch the frame."),
    Column("confluence", "", "Part of the image that is covered by cells, 0..1."),
    Column("cells_per_megapixel", "", "Density: cells divided by millions of pixels."),
    Column("cells_per_mm2", "1/mm²", "Density: cells divided by square millimetres."),
    Column("median_area", "px²", "Median over the cells; empty without any."),
    Column("median_area_um2", "µm²", "Median over the cells."),
    Column("median_diameter", "px", "Median over the cells."),
    Column("median_diameter_um", "µm", "Median over the cells."),
    Column("median_circularity", "", "Median over the cells."),
    Column("median_eccentricity", "", "Median over the cells."),
    Column("median_solidity", "", "Median over the cells."),
    Column("median_nearest_distance", "px", "Median over the cells."),
    Column("median_confidence", "", "Median over the cells.", _CONFIDENT),
    Column("background_<channel>", "intensity", "Median of the pixels that are in no cell."),
    Column("median_mean_<channel>", "intensity", "Median over the cells of their means."),
    Column(
        "median_corrected_mean_<channel>",
        "intensity",
        "Median over the cells of their means less the background.",
    ),
    *QUALITY_COLUMNS,
)
"""Columns of the table of images of a run, in their order."""


ARROW_TYPES = {
    **dict.fromkeys(("image", "source", "status", "error", "flags"), "string"),
    **dict.fromkeys(("id", "area", "neighbours", "nearest_id"), "int64"),
    **dict.fromkeys((column.name for column in STACK_COLUMNS), "int64"),
    **dict.fromkeys(("bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"), "int64"),
    **dict.fromkeys(("nucleus_area", "cytoplasm_area", "nuclei"), "int64"),
    **dict.fromkeys(("height", "width", "planes", "cells", "cells_at_border"), "int64"),
    "touches_border": "bool",
}
"""Columns that are no floats, and what they are in Parquet."""


def markdown(columns: tuple[Column, ...]) -> str:
    """Write a table of columns for the documentation."""
    rows = [
        f"| `{c.name}` | {c.unit} | {c.meaning}{f' ({c.given})' if c.given else ''} |"
        for c in columns
    ]
    return "\n".join(["| column | unit | meaning |", "|---|---|---|", *rows]) + "\n"


def expand(columns: tuple[Column, ...], channels: tuple[str, ...]) -> list[str]:
    """Names of the columns for these channels; those of one channel stay together.

    Examples
    --------
    >>> expand((Column("id", "", ""), Column("min_<channel>", "", "")), ("dna", "actin"))
    ['id', 'min_dna', 'min_actin']
    """
    names: list[str] = []
    pending: list[str] = []
    for column in (*columns, None):
        if column is not None and "<channel>" in column.name:
            pending.append(column.name)
            continue
        names += [name.replace("<channel>", channel) for channel in channels for name in pending]
        pending = []
        if column is not None:
            names.append(column.name)
    return names
