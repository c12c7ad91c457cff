"""The jobs of a run, done by whoever works: alone or many, in memory or block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from cellrim.errors import ClusterError
from cellrim.prediction.inputs import Job
from cellrim.prediction.large import (
    LargeResult,
    Report,
    Store,
    check_streamed,
    segment_large,
)
from cellrim.prediction.outcome import Timed, failed, succeeded
from cellrim.prediction.records import Record, fingerprint_of
from cellrim.prediction.request import Plan, Request
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.single import is_streamed
from cellrim.prediction.workers import Workers

Do = Callable[[Job, Plan, str], Record]


@dataclass(frozen=True, slots=True)
class Team:
    """Who does the jobs of a run, and who is told how far they are.

    Parameters
    ----------
    workers
        Do the work; this process where None.
    load
        Gives the run's model in another process; this process does the work where None.
    steps
        Called as a streamed image progresses.
    resume
        Whether unfinished streamed images are gone on with.
    """

    workers: Workers | None = None
    load: Callable[[], Segmenter] | None = None
    steps: Report | None = None
    resume: bool = False


def do_jobs(plan: Plan, jobs: Sequence[Job], asked: str, *, do: Do, team: Team) -> Iterator[Record]:
    """Do jobs and yield their records, in order where this process is alone.

    Parameters
    ----------
    plan
        The run.
    jobs
        Those to be done.
    asked
        Identifies all that results depend on besides the image.
    do
        Does a job in memory; a function that workers can import.
    team
        Who does it. Each image is one piece of work, and a streamed one has as many as blocks.

    Raises
    ------
    ClusterError
        If the workers are gone.
    """
    if team.workers is None or team.load is None:
        for job in jobs:
            streamed = is_streamed(job.source, plan.request)
            yield _do_streamed(job, plan, asked, team) if streamed else do(job, plan, asked)
        return
    elsewhere = _Elsewhere(plan.out, plan.request, team.load, do, asked, len(plan.jobs))
    large: list[Job] = []
    for outcome in team.workers.run(partial(_do_elsewhere, elsewhere), jobs):
        if isinstance(outcome, Job):
            large.append(outcome)
        else:
            yield outcome
    for job in large:
        yield _do_streamed(job, plan, asked, team)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """What another process needs to know to do a job."""

    out: Path
    request: Request
    load: Callable[[], Segmenter]
    do: Do
    asked: str
    images: int


@lru_cache(maxsize=1)
def _plan_elsewhere(elsewhere: _Elsewhere) -> Plan:
    """Keep the model loaded between the jobs of one process."""
    return Plan((), elsewhere.out, elsewhere.request, elsewhere.load(), {}, elsewhere.images)


def _do_elsewhere(elsewhere: _Elsewhere, job: Job) -> Record | Job:
    """Do a job, or give it back where its image is to be streamed: that is work for all."""
    if is_streamed(job.source, elsewhere.request):
        return job
    return elsewhere.do(job, _plan_elsewhere(elsewhere), elsewhere.asked)


def _do_streamed(job: Job, plan: Plan, asked: str, team: Team) -> Record:
    """Segment an image block by block; unfinished results are kept where it fails."""
    outputs, seconds = job.outputs(plan.out), dict[str, float]()
    unfinished = outputs["labels"].with_name(f".{outputs['labels'].stem}.unfinished")
    try:
        check_streamed(plan.request.save)
        fingerprint = fingerprint_of(job.source, asked)
        with Timed(seconds, "segment"):
            result = _segmented(job, plan, unfinished, team)
        with Timed(seconds, "save"):
            for kind in plan.request.save:
                result.save(kind, outputs[kind], name=job.target.name)
        written = [outputs[kind] for kind in plan.request.save]
        record = succeeded(
            job, plan, result, written=written, seconds=seconds, fingerprint=fingerprint
        )
        Store(unfinished).remove()
    except ClusterError:  # nobody is left to do the other images
        raise
    except Exception as error:  # also MemoryError: one image must never stop the others
        return failed(job, error)
    return record


def _segmented(job: Job, plan: Plan, unfinished: Path, team: Team) -> LargeResult:
    return segment_large(
        job.source,
        unfinished,
        load=team.load or (lambda: plan.segmenter),
        channels=plan.request.channels,
        diameter=plan.request.diameter,
        options=plan.segmenter.card.decode_options(plan.request.min_confidence),
        workers=team.workers,
        resume=team.resume,
        report=team.steps,
    )
