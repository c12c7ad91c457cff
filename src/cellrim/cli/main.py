"""The command ``cellrim``: its subcommands, and how errors are shown."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from cellrim._version import __version__
from cellrim.cli import datasets
from cellrim.cli.convert import convert
from cellrim.cli.doctor import doctor
from cellrim.cli.evaluate import evaluate
from cellrim.cli.measure import measure
from cellrim.cli.segment import segment
from cellrim.cli.serve import serve
from cellrim.cli.train import train
from cellrim.errors import CellrimError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    name="cellrim",
    help="Delineate and quantify every cell in microscope images.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: rich costs a tenth of a second at every start.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(segment)
app.command()(measure)
app.command()(convert)
app.command()(evaluate)
app.command()(train)
app.command()(serve)
app.add_typer(datasets.app, name="datasets")
app.command()(doctor)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"cellrim {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Delineate and quantify every cell in microscope images."""


def run() -> None:
    """Run the command line; the console script's entry point.

    Exit codes: 0 all went well, 1 something failed, 2 bad usage before any work.
    """
    # Nothing here multiplies large matrices: NumPy's threads would only spin while they wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # tifffile logs what is odd in a broken file; the one error line says it already.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        app()
    except CellrimError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)
