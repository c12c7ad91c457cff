"""``cellrim segment``: images to labels, overlays and tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from cellrim.cli.parsing import EXIT_INTERRUPTED, PATH
from cellrim.cli.text import on_one_line
from cellrim.core.words import counted
from cellrim.errors import CellrimError, UsageError

if TYPE_CHECKING:
    from cellrim.core.channels import Channel
    from cellrim.core.stack import Projection
    from cellrim.io.images import PixelSize
    from cellrim.prediction.batch import Report
    from cellrim.prediction.loading import Model
    from cellrim.prediction.records import Record
    from cellrim.prediction.request import Existing, Plan, Request
    from cellrim.prediction.single import SinglePlan, Summary
    from cellrim.prediction.streamed import Team
    from cellrim.prediction.targets import Target

DEVICES = "auto|cpu|cuda[:N]|directml[:N]|coreml|openvino"
"""What ``--device`` takes, in short."""

PRECISIONS = "auto|float32|int8"
"""What ``--precision`` takes."""


@click.command()
@click.argument(
    "inputs",
    metavar="[INPUT]...",
    nargs=-1,
    help="Images, folders (searched recursively) or patterns such as 'plate/*.tif'.",
)
@click.option(
    "--out",
    "-o",
    metavar="FOLDER|FILE",
    type=PATH,
    help="Where the results go; one image may go to one .zarr or .tif file. Required.",
)
@click.option(
    "--model",
    metavar="NAME|PATH",
    default="general",
    help="An embedded model, or a trained one's folder.",
)
@click.option(
    "--diameter", metavar="PX", type=float, help="Typical cell diameter in pixels; else estimated."
)
@click.option(
    "--channels",
    metavar="DAPI,1",
    help="Channels that show the cells, by name or counted from 0; else all.",
)
@click.option(
    "--cell",
    metavar="actin|1",
    help="Channel that shows the whole cells: they are found in it and in --nucleus.",
)
@click.option(
    "--target", metavar="nuclei|cells|both", help="What to find; else what the channels show."
)
@click.option(
    "--nucleus", metavar="DAPI|0", help="Channel that shows the nuclei; else found in the image."
)
@click.option(
    "--save",
    metavar="KINDS",
    default="labels,overlay,cells",
    help="Which results to save, any of labels, overlay, cells, rois, geojson, coco, rle, "
    "outlines, cellpose, ome-tiff, ome-zarr.",
)
@click.option("--parquet", is_flag=True, help="Write the tables of the run as Parquet too.")
@click.option(
    "--min-confidence",
    metavar="0..1",
    type=float,
    help="Keep the cells of at least this confidence. Without it the card says which, and "
    "a field without a single sure cell counts as empty.",
)
@click.option(
    "--axes", metavar="TZCYX", help="Axes of the file where it does not name them, slowest first."
)
@click.option(
    "--scene", metavar="NAME|N|all", help="Which image of files that hold several, or each of them."
)
@click.option("--project", metavar="max", help="Segment the projection of the slices.")
@click.option("--track", is_flag=True, help="Link the cells over time; writes NAME_RES too.")
@click.option(
    "--pixel-size",
    metavar="UM|none",
    default="read",
    help="Pixel size in micrometres; else the file's.",
)
@click.option(
    "--accurate", is_flag=True, help="Average 8 orientations and 2 scales: about 20 times slower."
)
@click.option("--resume", is_flag=True, help="Keep what an earlier run finished and go on.")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run.")
@click.option(
    "--threads", metavar="N", type=click.IntRange(min=1), help="Threads; else one per CPU."
)
@click.option(
    "--device",
    metavar=DEVICES,
    default="auto",
    help="Where the network runs; auto: a GPU that works, else the CPU.",
)
@click.option(
    "--precision",
    metavar=PRECISIONS,
    default="auto",
    help="Numbers the network computes in; auto: int8 on CPUs that are fast at it.",
)
@click.option(
    "--report/--no-report", default=True, help="Write report.html, to look at in a browser."
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=1),
    help="Processes that share the work; else this one.",
)
@click.option(
    "--cluster", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786, or local:N."
)
@click.option("--sample", is_flag=True, help="Segment the image that ships with cellrim.")
def segment(
    inputs: tuple[str, ...],
    out: Path | None,
    model: str,
    diameter: float | None,
    channels: str | None,
    cell: str | None,
    target: str | None,
    nucleus: str | None,
    save: str,
    parquet: bool,
    min_confidence: float | None,
    axes: str | None,
    scene: str | None,
    project: str | None,
    track: bool,
    pixel_size: str,
    accurate: bool,
    resume: bool,
    overwrite: bool,
    threads: int | None,
    device: str,
    precision: str,
    report: bool,
    workers: int | None,
    cluster: str | None,
    sample: bool,
) -> None:
    """Find and measure every cell in images.

    Writes NAME_labels.tif, NAME_overlay.png and NAME_cells.csv for each image, tables of all cells
    (cells.csv) and images (images.csv), report.html to look at, and run.json last.
    Every plane of a stack of times and slices is segmented.
    Images of more than 64 million pixels are streamed: any size, little memory.
    With --target both NAME_cells.tif and NAME_nuclei.tif, where a nucleus has the id of its cell.
    Exit code 0: all images done, 1: some failed, 2: bad usage, nothing was done.
    """
    from cellrim.prediction.loading import Model
    from cellrim.prediction.request import Request

    given = _inputs(inputs, sample=sample)
    if out is None:
        raise UsageError("Expected a folder for the results: -o FOLDER.")
    share = _threads(threads, workers, cluster)
    load = Model(model, threads=share, accurate=accurate, device=device, precision=precision)
    load = load.settled() if cluster else load
    with _as_usage():
        shown, inner = _parse_stains(channels, cell=cell, nucleus=nucleus, target=target)
        request = Request(
            diameter=diameter,
            channels=shown,
            save=_parse_save(save),
            parquet=parquet,
            min_confidence=min_confidence,
            axes=axes,
            scene=scene,
            project=cast("Projection | None", project),  # checked by Request
            track=track,
            pixel_size=parse_pixel_size(pixel_size),
            target=cast("Target | None", target),  # checked by Request
            nucleus=inner,
            accurate=accurate,
            report=report,
        )
        existing = _existing(resume=resume, overwrite=overwrite)
        plan, team = _plan(given, out, load=load, request=request, existing=existing)
    outcome = _run(plan, team, workers=workers, cluster=cluster)
    if outcome is None:
        return
    _show(outcome, plan.out)
    if outcome.failed:
        raise click.exceptions.Exit(1)


def _threads(threads: int | None, workers: int | None, cluster: str | None) -> int | None:
    """Threads of each worker; by default they share the CPUs."""
    from cellrim.models.backend import default_threads
    from cellrim.prediction.workers import threads_per_worker

    if threads is not None:
        return threads
    return threads_per_worker(workers, cluster, default_threads())


def parse_channels(text: str | None) -> tuple[Channel, ...] | None:
    """Read ``0,actin`` as channels.

    Raises
    ------
    UsageError
        If a part is empty.
    """
    from cellrim.core.channels import parse_channel

    if text is None:
        return None
    try:
        return tuple(parse_channel(part) for part in text.split(","))
    except CellrimError as error:
        raise UsageError(f"Cannot use the channels {text!r}: {error}") from error


def _parse_one(text: str | None, what: str) -> Channel | None:
    channels = parse_channels(text)
    if channels is None:
        return None
    if len(channels) > 1:
        raise UsageError(f"Expected one channel that shows the {what}, but got {text!r}.")
    return channels[0]


def _parse_stains(
    channels: str | None, *, cell: str | None, nucleus: str | None, target: str | None
) -> tuple[tuple[Channel, ...] | None, Channel | None]:
    """Return the channels to find cells in, and that of the nuclei where these are a target.

    ``--cell`` stands for ``--channels`` with it and the nuclear one.
    """
    shown = parse_channels(channels)
    inner, own = _parse_one(nucleus, "nuclei"), _parse_one(cell, "cells")
    if own is None:
        return shown, inner
    if shown is not None:
        raise UsageError("Expected --channels or --cell, but got both.")
    both = (own,) if inner in (None, own) else (own, inner)
    return both, None if target in (None, "cells") else inner


def parse_pixel_size(text: str) -> PixelSize:
    """Read a number of micrometres, ``read`` or ``none``.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text == "read":
        return "read"
    if text == "none":
        return "none"
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"Expected a pixel size in micrometres or 'none', but got {text!r}."
        ) from None


def _parse_save(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _existing(*, resume: bool, overwrite: bool) -> Existing:
    if resume and overwrite:
        raise UsageError("Expected --resume or --overwrite, but got both.")
    if resume:
        return "resume"
    return "overwrite" if overwrite else "refuse"


def _inputs(inputs: tuple[str, ...], *, sample: bool) -> list[str | Path]:
    from cellrim.samples import sample_images

    if bool(inputs) == sample:
        raise UsageError("Expected images, folders or patterns to segment, or --sample.")
    return list(sample_images()) if sample else list(inputs)


@contextmanager
def _as_usage() -> Iterator[None]:
    """Make usage errors of what goes wrong before any work."""
    try:
        yield
    except CellrimError as error:
        raise UsageError(str(error)) from error


def _plan(
    inputs: list[str | Path], out: Path, *, load: Model, request: Request, existing: Existing
) -> tuple[Plan | SinglePlan, Team]:
    """Check everything that can be checked before the first image."""
    from cellrim.prediction.batch import plan_run
    from cellrim.prediction.inputs import find_jobs
    from cellrim.prediction.single import is_label_file, plan_single
    from cellrim.prediction.streamed import Team

    if is_label_file(out) and (out.suffix == ".zarr" or not out.is_dir()):
        single = plan_single(inputs, out, load=load, request=request, existing=existing)
        return single, Team(load=load)
    jobs = find_jobs(inputs, out, paired=request.target == "both", scene=request.scene)
    plan = plan_run(jobs, out, segmenter=load(), request=request, existing=existing)
    return plan, Team(load=load, resume=existing == "resume")


def _run(
    plan: Plan | SinglePlan, team: Team, *, workers: int | None, cluster: str | None
) -> Report | None:
    """Do the work; None where one image went to one file, which has been told."""
    from dataclasses import replace

    from cellrim.cli.progress import show_steps
    from cellrim.core.memory import keep_freed_memory
    from cellrim.prediction.batch import run
    from cellrim.prediction.single import SinglePlan, run_single
    from cellrim.prediction.workers import open_workers

    keep_freed_memory()
    several = cluster is not None or (workers is not None and workers > 1)
    try:
        with open_workers(workers, cluster) as found, show_steps() as steps:
            if isinstance(plan, SinglePlan):
                summary = run_single(plan, workers=found, report=steps)
                _show_single(summary, plan.out)
                return None
            with _progress(plan) as show:
                # A bar of images is already on a terminal.
                told = None if sys.stderr.isatty() else steps
                team = replace(team, workers=found if several else None, steps=told)
                return run(plan, report=show, team=team)
    except KeyboardInterrupt:
        click.echo("Stopped. The same command with --resume goes on from here.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def _show_single(summary: Summary, out: Path) -> None:
    before = " (done before)" if summary.done_before else ""
    click.echo(
        f"{counted(summary.cells, 'cell')} of about {summary.diameter:.0f} px{before}, "
        f"{summary.seconds:.1f} s. Labels in {out}"
    )


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[Record], None]]:
    """Show a bar with the time left on a terminal, and a line per image anywhere else."""
    total, done = len(plan.jobs), len(plan.done)
    if not sys.stderr.isatty():
        counter = iter(range(done + 1, total + 1))
        yield lambda record: click.echo(
            f"[{next(counter)}/{total}] {describe(record)}", err=record.status == "failed"
        )
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Segmenting", total=total - done)

        def show(record: Record) -> None:
            if record.status == "failed":
                progress.console.print(f"[red]{escape(describe(record))}[/red]", highlight=False)
            progress.update(task, advance=1, description=escape(on_one_line(record.target)))

        yield show


def describe(record: Record) -> str:
    """Say in one line what became of an image."""
    name = on_one_line(record.target)
    if record.status == "failed":
        return f"{name}: failed. {on_one_line(record.error or '')}"
    seconds = sum(record.seconds.values())
    size = f"{record.diameter or 0:.0f} px"
    flags = f" Look at it: {', '.join(record.flags)}." if record.flags else ""
    return f"{name}: {counted(record.cells or 0, 'cell')} of about {size}, {seconds:.1f} s{flags}"


def _show(report: Report, out: Path) -> None:
    cells = sum(record.cells or 0 for record in report.records)
    before = f" ({report.done_before} done before)" if report.done_before else ""
    failed = f", {len(report.failed)} failed" if report.failed else ""
    click.echo(
        f"{counted(len(report.records), 'image')}{before}{failed}, {counted(cells, 'cell')}, "
        f"{report.seconds:.1f} s. Results in {out}"
    )
