"""``cellrim measure``: tables of label images that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellrim.cli.parsing import PATH
from cellrim.cli.text import on_one_line
from cellrim.core.words import counted
from cellrim.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from cellrim.prediction.measured import Outcome


@click.command()
@click.argument(
    "labels", metavar="LABELS", type=PATH, help="A label image of any tool, or a folder."
)
@click.option(
    "--image",
    metavar="IMAGE",
    type=PATH,
    required=True,
    help="Its image, or the folder of the images.",
)
@click.option(
    "--out",
    "-o",
    metavar="TABLE",
    type=PATH,
    required=True,
    help="Table to write: *.csv, *.parquet.",
)
@click.option(
    "--nuclei",
    metavar="LABELS",
    type=PATH,
    help="Labels of the nuclei, with the ids of their cells.",
)
@click.option(
    "--pixel-size",
    metavar="UM",
    type=float,
    help="Pixel size in micrometres; else what the image says.",
)
def measure(
    labels: Path, image: Path, out: Path, nuclei: Path | None, pixel_size: float | None
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
    click.echo(f"{counted(len(outcomes), 'image')}, {counted(cells, 'cell')} measured: {out}")
    if problems or any(outcome.error for outcome in outcomes):
        raise click.exceptions.Exit(1)


def _show(outcome: Outcome) -> None:
    if outcome.error is not None:
        click.echo(on_one_line(f"{outcome.name}: failed. {outcome.error}"), err=True)
    else:
        click.echo(on_one_line(f"{outcome.name}: {counted(outcome.cells or 0, 'cell')}"))
