"""``cellrim convert``: cells from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from cellrim.cli.parsing import PATH
from cellrim.core.words import counted
from cellrim.errors import MissingExtraError, UsageError


@click.command()
@click.argument("source", metavar="IN", type=PATH, help="A file of cells, or a folder of them.")
@click.argument("out", metavar="OUT", type=PATH, help="File or folder to write.")
@click.option("--from", "read", metavar="KIND", help="Format of IN; else by its name.")
@click.option("--to", "write", metavar="KIND", help="Format of OUT; else by its name.")
@click.option(
    "--image",
    metavar="IMAGE",
    type=PATH,
    help="The image, or the folder of the images: for sizes, overlays, measurements.",
)
@click.option("--shape", metavar="HEIGHT,WIDTH", help="Size in pixels where IN does not hold it.")
def convert(
    source: Path,
    out: Path,
    read: str | None,
    write: str | None,
    image: Path | None,
    shape: str | None,
) -> None:
    """Convert cells between formats.

    Formats: labels, rois, geojson, coco, rle, outlines, cellpose, ome-tiff, ome-zarr both ways;
    overlay and cells (a table) to be written only. Several images go into one file of coco or rle,
    or each into a file of its own in a folder.
    Exit code 0: done, 1: it failed, 2: bad usage, nothing was done.
    """
    from cellrim.prediction.convert import convert as convert_cells
    from cellrim.prediction.convert import plan_conversion

    try:
        plan = plan_conversion(
            source, out, read=read, write=write, images=image, shape=parse_shape(shape)
        )
    except MissingExtraError as error:
        raise UsageError(str(error)) from error
    images, cells = convert_cells(plan)
    click.echo(
        f"{counted(images, 'image')}, {counted(cells, 'cell')}, "
        f"{plan.read.kind} to {plan.write.kind}: {out}"
    )


def parse_shape(text: str | None) -> tuple[int, int] | None:
    """Read ``520,704`` as height and width.

    Raises
    ------
    UsageError
        If it is no pair of whole numbers above 0.
    """
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 2 or not all(p.strip().isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"Expected a size such as 520,704 (height, width), but got {text!r}.")
    return int(parts[0]), int(parts[1])
