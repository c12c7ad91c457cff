"""``cellrim evaluate``: predicted labels against the truth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from cellrim.cli.parsing import PATH
from cellrim.cli.text import on_one_line
from cellrim.core.words import counted
from cellrim.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.table import Table

    from cellrim.evaluation.compare import Evaluation, Part
    from cellrim.evaluation.intervals import Interval, Summary

# Metric, what the table calls it, and the decimals of its pooled and its mean value.
_ROWS = (
    ("ap50", "AP at IoU 0.5", 3, 3),
    ("ap75", "AP at IoU 0.75", 3, 3),
    ("ap90", "AP at IoU 0.9", 3, 3),
    ("map", "AP, mean 0.5:0.95", 3, 3),
    ("f1", "F1", 3, 3),
    ("precision", "precision", 3, 3),
    ("recall", "recall", 3, 3),
    ("pq", "PQ = SQ x RQ", 3, 3),
    ("sq", "SQ", 3, 3),
    ("rq", "RQ", 3, 3),
    ("aji", "AJI", 3, 3),
    ("dice", "Dice (pixels)", 3, 3),
    ("iou", "IoU (pixels)", 3, 3),
    ("boundary", "boundary distance, px", 2, 2),
    ("hausdorff95", "Hausdorff 95 %, px", 2, 2),
    ("count_error", "count error per image", 2, 2),
    ("splits", "splits (pooled: in all)", 0, 2),
    ("merges", "merges (pooled: in all)", 0, 2),
)
_GROUP_COLUMNS = {
    "ap50": "AP50",
    "ap75": "AP75",
    "ap90": "AP90",
    "map": "mAP",
    "f1": "F1",
    "pq": "PQ",
    "aji": "AJI",
    "dice": "Dice",
}
_NAMES_SHOWN = 20
_WIDTH = 120


@click.command()
@click.argument(
    "predicted", metavar="PREDICTED", type=PATH, help="Folder of predicted label images."
)
@click.argument(
    "truth", metavar="TRUTH", type=PATH, help="Folder of true label images, or a data set."
)
@click.option("--out", "-o", metavar="FOLDER", type=PATH, help="Where tables and plot go.")
@click.option(
    "--format", "layout", metavar="NAME", help="Format of TRUTH, or 'labels'; else recognised."
)
@click.option(
    "--part", metavar="all|train|validation", default="all", help="Side of the data set's split."
)
@click.option("--partial", is_flag=True, help="True images without a prediction are no failure.")
@click.option(
    "--count-border",
    "border",
    is_flag=True,
    help="Against boxes: cells that touch the frame without a box are mistakes.",
)
@click.option(
    "--worst",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="List the N images of the lowest AP.",
)
@click.option(
    "--resamples",
    metavar="N",
    type=click.IntRange(min=1),
    default=1000,
    help="Bootstrap samples for the 95 % intervals.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), default=0, help="Seed of the bootstrap."
)
def evaluate(
    predicted: Path,
    truth: Path,
    out: Path | None,
    layout: str | None,
    part: str,
    partial: bool,
    border: bool,
    worst: int,
    resamples: int,
    seed: int,
) -> None:
    """Compare predicted label images with the truth.

    PREDICTED may come from any tool; names are matched without endings such as _labels, _cp_masks
    or _pred. TRUTH is another such folder, or a data set in any format cellrim reads. With -o
    writes report.html (look at this one), per_image.csv, summary.json and ap_over_iou.png.
    Exit code 0: all compared, 1: some could not be, 2: bad usage.
    """
    from cellrim.evaluation.compare import CompareOptions
    from cellrim.evaluation.compare import evaluate as compare

    options = CompareOptions(
        layout=layout,
        part=cast("Part", part),  # checked by CompareOptions
        partial=partial,
        ignore_border=not border,
        resamples=resamples,
        seed=seed,
    )
    with _progress() as report:
        evaluation = compare(predicted, truth, options=options, report=report)
    if evaluation.images:
        _show(evaluation, worst)
        if out:
            _write(evaluation, out)
    _show_problems(evaluation)
    if evaluation.problems:
        raise click.exceptions.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Show a bar on a terminal, and nothing anywhere else."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Comparing", total=None)

        def show(name: str, number: int, total: int) -> None:
            progress.update(task, completed=number - 1, total=total, description=escape(name))

        yield show


def _show(evaluation: Evaluation, worst: int) -> None:
    from rich.console import Console

    # Anything but a terminal has no width of its own, and a table must not be cut for it.
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    tables = [_total_table(evaluation.total)]
    if len(evaluation.groups) > 1:
        tables.append(_group_table(evaluation.groups))
    if worst:
        tables.append(_worst_table(evaluation, worst))
    console.print(*tables, sep="\n")


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )


def _total_table(summary: Summary) -> Table:
    counts = summary.counts
    cells = f"{counts.truth} true and {counts.predicted} predicted cells"
    title = f"{counted(counts.images, 'image')}, {cells}"
    boxes = counts.images - counts.masks
    if boxes:
        title += f" ({boxes} images compared as boxes)"
    table = _table(title)
    table.add_column("metric")
    for name in ("pooled", "95 % interval", "mean over images", "95 % interval"):
        table.add_column(name, justify="right")
    for name, label, *digits in _ROWS:
        pooled, mean = summary.pooled[name], summary.mean[name]
        table.add_row(label, *_cells(pooled, digits[0]), *_cells(mean, digits[1]))
    return table


def _group_table(groups: dict[str, Summary]) -> Table:
    from rich.markup import escape

    table = _table("Pooled, by data set")
    table.add_column("data set", overflow="fold")
    for name in ("images", "cells", *_GROUP_COLUMNS.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for name, summary in groups.items():
        counts = summary.counts
        boxes = " (boxes)" if counts.masks < counts.images else ""
        values = [_number(summary.pooled[n].value, 3) for n in _GROUP_COLUMNS]
        table.add_row(escape(name) + boxes, str(counts.images), str(counts.truth), *values)
    return table


def _worst_table(evaluation: Evaluation, count: int) -> Table:
    from rich.markup import escape

    from cellrim.evaluation.counts import scores

    table = _table("Lowest AP at IoU 0.5")
    table.add_column("image", overflow="fold")
    for name in ("AP50", "true", "predicted", "missed", "extra", "splits", "merges"):
        table.add_column(name, justify="right")
    for image in evaluation.worst(count):
        counts = image.counts
        numbers = (counts.truth, counts.predicted, counts.fn[0], counts.fp[0])
        parts = (counts.splits, counts.merges) if counts.masks else ("-", "-")
        ap50 = _number(scores(counts).ap50, 3)
        table.add_row(escape(f"{image.group}: {image.name}"), ap50, *map(str, (*numbers, *parts)))
    return table


def _cells(interval: Interval, digits: int) -> tuple[str, str]:
    value, low, high = (_number(v, digits) for v in (interval.value, interval.low, interval.high))
    return value, "" if interval.low != interval.low else f"{low} to {high}"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else "-"


def _write(evaluation: Evaluation, out: Path) -> None:
    from cellrim.evaluation.report import write_evaluation

    try:
        write_evaluation(evaluation, out)
    except MissingExtraError as error:
        click.echo(f"No plot: {error}", err=True)
    click.echo(f"Written to {out}")


def _show_problems(evaluation: Evaluation) -> None:
    _list(
        [f"{problem.record}: {problem.reason}" for problem in evaluation.problems],
        f"{len(evaluation.problems)} images could not be compared:",
    )
    _list(
        list(evaluation.extra),
        f"{len(evaluation.extra)} predictions have no true image (left out):",
    )


def _list(lines: list[str], title: str) -> None:
    if not lines:
        return
    click.echo(title, err=True)
    for line in lines[:_NAMES_SHOWN]:
        click.echo(f"  {on_one_line(line)}", err=True)
    if len(lines) > _NAMES_SHOWN:
        click.echo(f"  ... and {len(lines) - _NAMES_SHOWN} more", err=True)
