"""Finds the cells of an image that need not fit into memory, in the order of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from cellrim.core.channels import Channel
from cellrim.io.region_readers import RegionImage
from cellrim.io.regions import open_regions
from cellrim.models.card import ModelCard
from cellrim.prediction.large.joining import certainty_of_blocks, devices_of, join
from cellrim.prediction.large.labels import finish
from cellrim.prediction.large.plan import LargePlan, asked_hash, make_plan
from cellrim.prediction.large.progress import Progress, Report, say_nothing
from cellrim.prediction.large.result import LargeResult
from cellrim.prediction.large.squares import squares
from cellrim.prediction.large.store import Store, block_name, square_name
from cellrim.prediction.large.work import Context, do_block, do_square, forget
from cellrim.prediction.segmenter import Segmenter, without_hot_pixels
from cellrim.prediction.workers import Alone, Workers
from cellrim.representation.flow import DecodeOptions


def segment_large(
    source: Path,
    folder: Path,
    *,
    load: Callable[[], Segmenter],
    channels: tuple[Channel, ...] | None = None,
    diameter: float | None = None,
    options: DecodeOptions | None = None,
    workers: Workers | None = None,
    resume: bool = True,
    report: Report | None = None,
) -> LargeResult:
    """Find the cells of an image that need not fit into memory.

    Parameters
    ----------
    source
        A TIFF file or OME-Zarr folder; others are read whole.
    folder
        Where unfinished results are kept. Remove it when the result has been saved.
    load
        Gives the model; called once in each process that works.
    channels, diameter, options
        As for :meth:`~cellrim.prediction.segmenter.Segmenter.segment`.
    workers
        Who does the work; this process where left out.
    resume
        Go on from what the folder holds, where that came from the same image and request.
    report
        Called after each piece of work.

    Raises
    ------
    ImageReadError
        If a part of the image cannot be read. What is finished stays in the folder.
    InputError
        If the channels or the diameter do not fit.
    OutputError
        If the folder cannot be written.
    ClusterError
        If the workers are gone.
    """
    segmenter = load()
    say = report or say_nothing
    chosen = options or segmenter.card.decode
    asked = asked_hash(source, segmenter, channels=channels, diameter=diameter, options=chosen)
    store, image = Store(folder), open_regions(source)
    plan = store.read_plan() if resume else None
    if plan is None or plan.asked != asked:
        plan = make_plan(image, segmenter, asked, channels=channels, diameter=diameter, report=say)
        store.start(plan)
    context = Context(folder.absolute(), asked, load, chosen)
    team = workers or Alone()
    try:
        shown = plan.shown(image)
        return _segmented(store, plan, shown, context, team, card=segmenter.card, say=say)
    finally:
        forget()


def _segmented(
    store: Store,
    plan: LargePlan,
    image: RegionImage,
    context: Context,
    team: Workers,
    *,
    card: ModelCard,
    say: Report,
) -> LargeResult:
    """Do what is left to do of a plan."""
    numbers = range(0 if plan.constant else len(plan.tiles))
    _work(store, team, "Cells", partial(do_block, context), numbers, name=block_name, report=say)
    joining = without_hot_pixels(context.options, plan.network_shape, of=plan.shape)
    joined = join(store, plan, len(numbers), joining)
    places = [] if plan.constant else squares(plan.shape)
    name, work = partial(square_name, 0), partial(do_square, context)
    _work(store, team, "Labels", work, places, name=name, report=say)
    sure, devices = certainty_of_blocks(store, len(numbers)), devices_of(store, len(numbers))
    return finish(
        store, plan, joined, image, card=card, certainty=sure, devices=devices, report=say
    )


def _work(
    store: Store,
    workers: Workers,
    step: str,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    name: Callable[[Any], str],
    report: Report,
) -> None:
    """Do those pieces of work whose files are not there."""
    everything = list(items)
    if not everything:
        return
    left = [item for item in everything if not store.has(name(item))]
    before = len(everything) - len(left)
    report(Progress(step, before, len(everything), before))
    for done, _ in enumerate(workers.run(function, left), start=before + 1):
        report(Progress(step, done, len(everything), before))
