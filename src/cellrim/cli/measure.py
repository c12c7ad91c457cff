"""``cellrim measure``: tables of label images that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellrim.cli.text import on_one_line
from cellrim.core.words import counted
from cellrim.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from cellrim.prediction.measured import Outcome


def measure(
    labels: Annotated[
        Path, typer.Argument(metavar="LABELS", help="A label image of any tool, or a folder.")
    ],
    image: Annotated[
        Path, typer.Option(metavar="IMAGE", help="Its image, or the folder of the images.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="TABLE", help="Table to write: *.csv, *.parquet.")
    ],
    nuclei: Annotated[
        Path | None,
        typer.Option(metavar="LABELS", help="Labels of the nuclei, with the ids of their cells."),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="UM", help="Pixel size in micrometres; else what the image says."),
    ] = None,
) -> None:
    """Measure the cells of label images, from cellrim or any other tool.

    Files in folders are paired by name. Writes one table of all cells, and beside it one of all
    images, TABLE_images.csv; docs/measurements.md explains the columns.
    Exit code 0: all measured, 1: some could not be, 2: bad usage, nothing was done.
    """
    from cellrim.io.sources import check_pixel_size
    from cellrim.prediction.measured import check_table, find_measurements, measure_files

    if pixel_size is not None:
        check_pixel_size(pixel_size)
    try:
        check_table(out)
    except MissingExtraError as error:
        raise UsageError(str(error)) from error
    jobs, problems = find_measurements(labels, image, nuclei=nuclei)
    outcomes = measure_files(jobs, out, pixel_size=pixel_size, report=_show)
    for problem in problems:
        _show(problem)
    cells = sum(outcome.cells or 0 for outcome in outcomes)
    typer.echo(f"{counted(len(outcomes), 'image')}, {counted(cells, 'cell')} measured: {out}")
    if problems or any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


def _show(outcome: Outcome) -> None:
    if outcome.error is not None:
        typer.echo(on_one_line(f"{outcome.name}: failed. {outcome.error}"), err=True)
    else:
        typer.echo(on_one_line(f"{outcome.name}: {counted(outcome.cells or 0, 'cell')}"))
