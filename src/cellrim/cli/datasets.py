"""``cellrim datasets``: what formats there are, what a data set holds, and other layouts for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellrim.cli.parsing import PATH, Group
from cellrim.errors import CellrimError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellrim.datasets.base import Listing, Problem
    from cellrim.datasets.check import Report

EXIT_PROBLEMS = 1

path_argument = click.argument("path", type=PATH, help="Folder or file of the data set.")
format_option = click.option(
    "--format", "format_name", help="Format of the data set; recognised where left out."
)
target_option = click.option(
    "--target", help="Which annotation, where there are two: cells or nuclei."
)


@click.group("datasets", cls=Group)
def app() -> None:
    """List, check and convert data sets."""


@app.command("list")
def list_formats() -> None:
    """List the formats that are read and written."""
    from cellrim.datasets.convert import WRITERS
    from cellrim.datasets.registry import READERS

    width = max(map(len, READERS))
    for reader in READERS.values():
        click.echo(f"{reader.name:<{width}}  {reader.title}  [{reader.licence}]")
    click.echo(f"Converts to: {', '.join(WRITERS)}.")


@app.command()
@path_argument
@click.option("--contact-sheet", type=PATH, help="Write a PNG of some images with their outlines.")
@format_option
@target_option
def check(
    path: Path, contact_sheet: Path | None, format_name: str | None, target: str | None
) -> None:
    """Read a data set through: count images and cells, and name every record that is wrong.

    Exit code 1 if a record is wrong, 2 if the path is no data set.
    """
    from cellrim.datasets.check import check as read_data_set
    from cellrim.io.overlay import write_png

    if contact_sheet is not None and contact_sheet.suffix.lower() != ".png":
        raise UsageError(f"Expected a contact sheet named *.png, but got {contact_sheet}.")
    listing = _open(path, format_name, target)
    report, sheet = read_data_set(listing, sheet=contact_sheet is not None)
    _show(report)
    if contact_sheet is not None and sheet is not None:
        write_png(contact_sheet, sheet)
        click.echo(f"contact sheet: {contact_sheet} ({', '.join(report.sheet)})")
    _show_problems(report.problems)


@app.command()
@path_argument
@click.argument("out", type=PATH, help="Folder to write; new or empty.")
@click.option("--to", required=True, help="Layout to write: plain, coco or sartorius.")
@format_option
@target_option
def convert(path: Path, out: Path, to: str, format_name: str | None, target: str | None) -> None:
    """Write the annotated images of a data set in another layout.

    Exit code 1 if a record is wrong, 2 if the path is no data set or OUT is not empty.
    """
    from cellrim.datasets.convert import convert as write_data_set
    from cellrim.datasets.convert import open_writer

    try:
        open_writer(out, to)
    except CellrimError as error:
        raise UsageError(str(error)) from error
    result = write_data_set(_open(path, format_name, target), out, to=to)
    click.echo(f"{out}: {result.images} images, {result.cells} cells written as {to}")
    if result.unannotated:
        click.echo(f"left out: {result.unannotated} images without annotation")
    if result.ignored:
        click.echo(
            f"note: in {result.ignored} images, pixels that nobody has annotated are background "
            f"now, since {to} cannot tell them apart (coco can)"
        )
    _show_problems(result.problems)


def _open(path: Path, format_name: str | None, target: str | None) -> Listing:
    from cellrim.datasets import open_dataset

    options = {} if target is None else {"target": target}
    try:
        return open_dataset(path, format_name, **options)
    except CellrimError as error:
        raise UsageError(str(error)) from error


def _show(report: Report) -> None:
    click.echo(f"data set:      {report.dataset}")
    click.echo(f"images:        {report.images}, {report.annotated} of them with annotation")
    click.echo(f"groups:        {report.groups}")
    click.echo(f"cells:         {report.cells}")
    for title, counts in (("modality:", report.modalities), ("licence:", report.licences)):
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        click.echo(f"{title:<14} {listed or 'none'}")
    click.echo(f"problems:      {len(report.problems)}")


def _show_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(f"{problem.record}: {problem.reason}", err=True)
    if problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)
