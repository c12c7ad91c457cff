"""The command ``cellrim``: its subcommands, and how errors are shown."""

from __future__ import annotations

import logging
import os
import sys

import click

from cellrim._version import __version__
from cellrim.cli import datasets
from cellrim.cli.convert import convert
from cellrim.cli.doctor import doctor
from cellrim.cli.evaluate import evaluate
from cellrim.cli.measure import measure
from cellrim.cli.parsing import Group
from cellrim.cli.segment import segment
from cellrim.cli.serve import serve
from cellrim.cli.train import train
from cellrim.errors import CellrimError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2


@click.group(cls=Group, context_settings={"show_default": True})
@click.version_option(
    __version__, prog_name="cellrim", message="%(prog)s %(version)s", help="Show the version."
)
def app() -> None:
    """Delineate and quantify every cell in microscope images."""


app.add_command(segment)
app.add_command(measure)
app.add_command(convert)
app.add_command(evaluate)
app.add_command(train)
app.add_command(serve)
app.add_command(doctor)
app.add_command(datasets.app)


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
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED)
