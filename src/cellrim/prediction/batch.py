"""Many images in one run: every result written as soon as it is there, no image stops the rest."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cellrim._version import __version__
from cellrim.core.channels import channel_indices
from cellrim.core.image import Image
from cellrim.core.stack import Index, Stack
from cellrim.errors import InputError, UsageError
from cellrim.io.atomic import remove
from cellrim.io.exports.planes import remove_planes
from cellrim.io.images import collapse_grey, open_stack
from cellrim.io.structs import to_builtins
from cellrim.io.tracking import TRACKS_NAME, remove_ctc
from cellrim.measure.tracks import LinkOptions
from cellrim.prediction.inputs import Job
from cellrim.prediction.outcome import Timed, failed, succeeded
from cellrim.prediction.records import (
    LINES_NAME,
    RUN_NAME,
    Record,
    append_record,
    fingerprint_of,
    finish,
    read_records,
    remove_outputs,
    start_lines,
)
from cellrim.prediction.report import append_kept, start_kept, write_report
from cellrim.prediction.request import Existing, Plan, Request
from cellrim.prediction.result import Result
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.stacks import StackResult, pick_channels, segment_stack
from cellrim.prediction.streamed import Team, do_jobs
from cellrim.prediction.tables import check_formats, remove_tables, write_tables
from cellrim.prediction.targets import segment_target

_PACKAGES = ("numpy", "scipy", "skimage", "tifffile", "imagecodecs", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: one record per image in the order of the jobs, and how many were new."""

    records: tuple[Record, ...]
    done_before: int
    seconds: float

    @property
    def failed(self) -> tuple[Record, ...]:
        """Records of images without results."""
        return tuple(r for r in self.records if r.status == "failed")


def plan_run(
    jobs: Sequence[Job],
    out: Path,
    *,
    segmenter: Segmenter,
    request: Request,
    existing: Existing = "refuse",
) -> Plan:
    """Check that a run can work, before any work.

    Parameters
    ----------
    jobs
        From :func:`~cellrim.prediction.inputs.find_jobs`.
    out
        The output folder; may be there already.
    segmenter
        The model.
    request
        What is asked for.
    existing
        ``refuse`` results that are there, ``resume`` after images whose results are there and
        came from the same file and the same request, or ``overwrite`` all.

    Raises
    ------
    UsageError
        If the output folder is a file, or holds results and ``existing`` is ``refuse``.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"Expected a folder for the results, but {out} is a file.")
    check_formats(request.save, parquet=request.parquet)
    if existing == "refuse":
        _refuse_existing(jobs, out)
        return Plan(tuple(jobs), out, request, segmenter, {})
    done: dict[str, Record] = {}
    stale: list[str] = []
    asked = _request_hash(segmenter, request)
    before = read_records(out)
    for job in jobs:
        record = before.get(job.target.as_posix())
        if record is None:
            continue
        if existing == "resume" and _is_done(record, job, out, asked):
            done[record.target] = record
        else:
            stale += record.outputs
    return Plan(tuple(jobs), out, request, segmenter, done, stale=tuple(stale))


def run(
    plan: Plan,
    *,
    report: Callable[[Record], None] | None = None,
    team: Team | None = None,
) -> Report:
    """Segment every image of a plan that is not done.

    Parameters
    ----------
    plan
        From :func:`plan_run`.
    report
        Called after each image.
    team
        Who does the work; this process where left out.

    Returns
    -------
    Report
        Also written as ``run.json`` into the output folder, last.

    Raises
    ------
    OutputError
        If the output folder cannot be written. An image that fails does not raise: its record
        says why.
    ClusterError
        If the workers are gone.
    """
    begun, clock = datetime.now(UTC), time.perf_counter()
    left = [job for job in plan.jobs if job.target.as_posix() not in plan.done]
    _remove_results(left, plan)
    start_lines(plan.out, list(plan.done.values()))
    remove_tables(plan.out)
    start_kept(plan.out, set(plan.done) if plan.request.report else set())
    asked = _request_hash(plan.segmenter, plan.request)
    records = dict(plan.done)
    for record in do_jobs(plan, left, asked, do=_do, team=team or Team()):
        append_record(plan.out, record)
        if record.kept is not None:
            append_kept(plan.out, record.kept)
        records[record.target] = record
        if report is not None:
            report(record)
    ordered = tuple(records[job.target.as_posix()] for job in plan.jobs)
    write_tables(plan.out, ordered, parquet=plan.request.parquet)
    result = Report(ordered, len(plan.done), time.perf_counter() - clock)
    summary = _summary(plan, result, begun)
    if plan.request.report:
        write_report(plan.out, summary)
    finish(plan.out, summary)
    return result


def _do(job: Job, plan: Plan, asked: str) -> Record:
    """Segment one image and save its results; whatever goes wrong becomes the record's error."""
    seconds: dict[str, float] = {}
    try:
        fingerprint = fingerprint_of(job.source, asked)
        with _segmented(job, plan, seconds) as result:
            with Timed(seconds, "save"):
                written = _save(result, job, plan)
            return succeeded(
                job, plan, result, written=written, seconds=seconds, fingerprint=fingerprint
            )
    except Exception as error:  # also MemoryError: one image must never stop the others
        return failed(job, error)


@contextmanager
def _segmented(job: Job, plan: Plan, seconds: dict[str, float]) -> Iterator[Result | StackResult]:
    """Give the cells of one file: of its only plane, or of a whole stack."""
    asked = plan.request
    with ExitStack() as opened:
        with Timed(seconds, "read"):
            stack = opened.enter_context(
                open_stack(
                    job.source, axes=asked.axes, pixel_size=asked.pixel_size, scene=job.scene
                )
            )
            if asked.project is not None:
                stack = stack.project(asked.project)
            single = _only_plane(stack, asked)
            if single is None and asked.target == "both":
                raise InputError(
                    "Expected one plane for the target both, but got a stack of "
                    f"{len(stack)}: ask for nuclei and for cells in two runs."
                )
        with Timed(seconds, "segment"):
            if single is not None:
                result: Result | StackResult = _segment_plane(plan, single, asked.diameter)
            else:
                result = opened.enter_context(
                    segment_stack(
                        stack,
                        partial(_segment_plane, plan),
                        diameter=asked.diameter,
                        track=LinkOptions() if asked.track else None,
                    )
                )
        yield result


def _only_plane(stack: Stack, asked: Request) -> Image | None:
    return collapse_grey(stack.read(Index())) if len(stack) == 1 and not asked.track else None


def _segment_plane(plan: Plan, image: Image, diameter: float | None) -> Result:
    nucleus = plan.request.nucleus
    return segment_target(
        plan.segmenter,
        image,
        target=plan.request.target,
        nucleus=None if nucleus is None else channel_indices(image.channels, (nucleus,))[0],
        channels=pick_channels(image, plan.request.channels),
        diameter=diameter,
        options=plan.segmenter.card.decode_options(plan.request.min_confidence),
    )


def _remove_results(jobs: Sequence[Job], plan: Plan) -> None:
    """Remove results of an earlier run, which would not fit the new ones."""
    for job in jobs:
        for path in job.outputs(plan.out).values():
            remove(path)
        remove_ctc(job.tracks(plan.out))
        remove_planes(job.planes(plan.out))
    remove_outputs(plan.out, plan.stale)


def _save(result: Result | StackResult, job: Job, plan: Plan) -> list[Path]:
    """Write all that is asked for; return what was written."""
    outputs, kinds, name = job.outputs(plan.out), plan.request.kinds, job.target.name
    if isinstance(result, Result):
        for kind in kinds:
            result.save(kind, outputs[kind], name=name)
        return [outputs[kind] for kind in kinds]
    written = result.save(kinds, outputs, planes=job.planes(plan.out), name=name)
    if plan.request.track:
        result.save_tracks(job.tracks(plan.out))
        written.append(job.tracks(plan.out) / TRACKS_NAME)
    return written


def _refuse_existing(jobs: Sequence[Job], out: Path) -> None:
    there = [out / name for name in (RUN_NAME, LINES_NAME)]
    for job in jobs:
        there += [*job.outputs(out).values(), job.tracks(out), job.planes(out)]
    found = next((path for path in there if path.exists()), None)
    if found is not None:
        raise UsageError(
            f"{found} is there already: --resume keeps what is done and goes on, --overwrite "
            "replaces it, or choose another output folder."
        )


def _is_done(record: Record, job: Job, out: Path, asked: str) -> bool:
    if record.status != "ok" or record.source != str(job.source.absolute()):
        return False
    if not record.outputs or not all((out / path).exists() for path in record.outputs):
        return False
    try:
        return record.fingerprint == fingerprint_of(job.source, asked)
    except OSError:
        return False


def _request_hash(segmenter: Segmenter, request: Request) -> str:
    """Identify all that results depend on besides the image."""
    parts = {
        "cellrim": __version__,
        "card": to_builtins(segmenter.card),
        "options": _options(request),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _options(request: Request) -> dict[str, object]:
    return {
        "diameter": request.diameter,
        "channels": request.channels,
        "save": sorted(set(request.save)),
        "min_confidence": request.min_confidence,
        "axes": request.axes,
        "pixel_size": request.pixel_size,
        "scene": request.scene,
        "project": request.project,
        "track": request.track,
        "target": request.target,
        "nucleus": request.nucleus,
        "accurate": request.accurate,
    }


def _summary(plan: Plan, result: Report, begun: datetime) -> dict[str, object]:
    card = plan.segmenter.card
    return {
        "format": 1,
        "cellrim": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(),
        "model": {"name": card.name, "version": card.version, "sha256": card.sha256},
        "devices": sorted({device for r in result.records for device in r.devices}),
        "options": _options(plan.request),
        "begun": begun.isoformat(timespec="seconds"),
        "seconds": round(result.seconds, 3),
        "images": len(result.records),
        "done_before": result.done_before,
        "failed": len(result.failed),
        "cells": sum(r.cells or 0 for r in result.records),
        "files": [r.as_json() for r in result.records],
    }


def _versions() -> dict[str, str]:
    """Versions of the packages that had a part in the run: those that are loaded."""
    loaded = ((name, sys.modules.get(name)) for name in _PACKAGES)
    return {name: module.__version__ for name, module in loaded if module is not None}
