"""From the cells of an image to its record, the same for every kind of image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from cellrim.errors import CellrimError
from cellrim.measure import summarise
from cellrim.measure.quality import flags
from cellrim.prediction.inputs import Job
from cellrim.prediction.large import LargeResult
from cellrim.prediction.records import Fingerprint, Record
from cellrim.prediction.report import keep
from cellrim.prediction.request import Plan
from cellrim.prediction.result import Result
from cellrim.prediction.stacks import StackResult

AnyResult = Result | StackResult | LargeResult
"""The cells of one image: in memory, of a stack, or streamed."""


class Timed:
    """Write the seconds a block takes into a dict."""

    def __init__(self, into: dict[str, float], name: str) -> None:
        self._into, self._name = into, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._into[self._name] = round(time.perf_counter() - self._start, 4)


def succeeded(
    job: Job,
    plan: Plan,
    result: AnyResult,
    *,
    written: Sequence[Path],
    seconds: dict[str, float],
    fingerprint: Fingerprint,
) -> Record:
    """Make the record of an image whose cells were found and saved.

    Parameters
    ----------
    job, plan
        What was asked for.
    result
        The cells; their quality is measured here.
    written
        Result files, below the output folder.
    seconds
        Time of each step so far; that of the quality is added.
    fingerprint
        Of the image and of what was asked for.

    Raises
    ------
    CellrimError
        If the image cannot be read where it is measured.
    """
    target = job.target.as_posix()
    devices = result.devices if isinstance(result, LargeResult) else (plan.segmenter.device,)
    with Timed(seconds, "quality"):
        summary = _summed(result) if "cells" in plan.request.save else {}
        quality = result.quality
        kept = None
        if plan.request.report:
            kept = keep(result, target, images=plan.images or len(plan.jobs))
    return Record(
        source=str(job.source.absolute()),
        target=target,
        scene=job.scene,
        status="ok",
        outputs=tuple(path.relative_to(plan.out).as_posix() for path in written),
        cells=result.count,
        diameter=round(result.diameter, 3),
        devices=devices,
        seconds=seconds,
        summary=summary,
        quality=quality.as_numbers(),
        flags=flags(quality),
        kept=kept,
        fingerprint=fingerprint,
    )


def failed(job: Job, error: Exception) -> Record:
    """Make the record of an image that failed."""
    text = str(error)
    if not isinstance(error, CellrimError):
        text = f"Unexpected {type(error).__name__} with {job.source}: {error}"
    source, target = str(job.source.absolute()), job.target.as_posix()
    return Record(source=source, target=target, status="failed", error=text)


def _summed(result: AnyResult) -> dict[str, float | int | None]:
    """Numbers of :func:`cellrim.measure.summarise`; those of a stack over its planes."""
    if isinstance(result, StackResult):
        return result.summary
    return summarise(result.cells, result.image)
