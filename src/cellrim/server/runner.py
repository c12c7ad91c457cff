"""Works through the jobs in the background, beside the requests, and clears old ones away."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sqlite3
import threading
import time
from pathlib import Path

from cellrim.errors import CellrimError
from cellrim.server.forms import FORMS
from cellrim.server.options import ManyImages, check_cost, segment_file, without_path
from cellrim.server.parts import Parts
from cellrim.server.problems import ApiError
from cellrim.server.store import FileRow, JobRow, Outcome
from cellrim.server.uploads import is_disk_full
from cellrim.server.work import Stopped

_log = logging.getLogger("cellrim.server")

# An image during which the process died this often is not tried again.
MAX_ATTEMPTS = 3
RESULT_BYTES = 4
"""Of a result of any form, for each pixel of the image; most have far less."""
_SWEEP_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_DAY = 86_400


class Runner:
    """Takes images of jobs, as many at a time as there are workers, until it is stopped.

    Parameters
    ----------
    parts
        What it works with.
    retry_seconds
        How long to wait when the disk is full or too much else is waiting.
    """

    def __init__(self, parts: Parts, *, retry_seconds: float = _RETRY_SECONDS) -> None:
        self._parts = parts
        self._retry_seconds = retry_seconds
        self._news = asyncio.Event()
        self._choosing = asyncio.Lock()
        self._busy: dict[tuple[str, int], threading.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; needs a running event loop."""
        loops = [self._work_on() for _ in range(self._parts.settings.workers)]
        self._tasks = [asyncio.create_task(each) for each in [*loops, self._sweep_on()]]

    async def stop(self) -> None:
        """Stop; what is not finished stays waiting for the next start."""
        for stop in self._busy.values():
            stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Say that there is a new job."""
        self._news.set()

    def call_off(self, job: str) -> None:
        """Stop what runs of a job that has been cancelled or removed."""
        for (of, _), stop in self._busy.items():
            if of == job:
                stop.set()

    def sweep(self) -> None:
        """Clear away finished jobs that are too old, and what is too much; blocks."""
        removed = self._parts.store.sweep(seconds=self._parts.settings.keep_days * _DAY)
        if removed:
            _log.info("Removed %d old jobs.", len(removed))
        self._parts.space.tidy()

    async def _work_on(self) -> None:
        while True:
            self._news.clear()
            try:
                if not await self._one():
                    await self._news.wait()
                    self._news.set()  # for the other loops
                    await asyncio.sleep(0)
            except (OSError, sqlite3.Error, ApiError) as error:
                _log.warning("Jobs wait %.0f s: %s", self._retry_seconds, error)
                await asyncio.sleep(self._retry_seconds)

    async def _one(self) -> bool:
        """Work on one image; False if there is none."""
        store, stop = self._parts.store, threading.Event()
        async with self._choosing:
            found = await asyncio.to_thread(store.next_file, frozenset(self._busy))
            if found is None:
                return False
            job, file = found
            key = (job.id, file.number)
            self._busy[key] = stop
        outcome = None
        try:
            async with contextlib.AsyncExitStack() as room:
                outcome = await self._outcome(job, file, stop, room)
                if outcome is not None:
                    await asyncio.to_thread(store.finish_file, *key, outcome)
                    self._parts.metrics.image("job", outcome.seconds, failed=bool(outcome.error))
        finally:
            del self._busy[key]
            if outcome is None:  # called off, or to be tried again: not the image's fault
                with contextlib.suppress(sqlite3.Error):
                    store.forget_attempt(*key)
        return True

    async def _outcome(
        self, job: JobRow, file: FileRow, stop: threading.Event, room: contextlib.AsyncExitStack
    ) -> Outcome | None:
        """Segment one image; None if it has been called off.

        The space of its results is reserved until ``room`` is left.
        """
        if file.attempts > MAX_ATTEMPTS:
            return Outcome(
                error=f"The server broke off {MAX_ATTEMPTS} times while it worked on this image."
            )
        parts = self._parts
        path = parts.store.input_path(job.id, file.number)
        options = ManyImages.model_validate_json(job.options)
        try:
            cost = await asyncio.to_thread(
                check_cost,
                path,
                file.name,
                options,
                models=parts.models,
                model=parts.settings.model,
                max_pixels=parts.settings.max_pixels,
            )
            results = cost.pixels * RESULT_BYTES * len(options.forms())
            await room.enter_async_context(parts.space.reserve_async(results))
            task = functools.partial(self._segment, job.id, file, path, options)
            return await parts.work.run(task, pixels=cost.network, stop=stop)
        except Stopped:
            return None
        except ApiError as error:
            if error.kind == "busy":
                raise
            return Outcome(error=error.detail)
        except MemoryError:
            return Outcome(error="There was not enough memory for this image.")
        except (CellrimError, OSError) as error:
            if is_disk_full(error):
                raise OSError("the disk is full") from error
            return Outcome(error=without_path(error, path, file.name))
        except Exception:
            _log.exception("Image %d of job %s failed.", file.number, job.id)
            return Outcome(error="The server failed on this image; its log says more.")

    def _segment(self, job: str, file: FileRow, path: Path, options: ManyImages) -> Outcome:
        """Segment and write; runs in a worker thread."""
        parts, begun = self._parts, time.monotonic()
        result = segment_file(
            path, file.name, options, models=parts.models, model=parts.settings.model
        )
        size = 0
        for name in options.forms():
            form = FORMS[name]
            out = parts.store.output_path(job, file.number, form.ending)
            form.write(result, out, file.name)
            size += out.stat().st_size
        seconds = round(time.monotonic() - begun, 3)
        device = parts.models.get(options.model or parts.settings.model).device
        return Outcome(result.count, round(result.diameter, 3), device, seconds, size)

    async def _sweep_on(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.sweep)
            except (OSError, sqlite3.Error) as error:
                _log.warning("Old jobs could not be removed: %s", error)
            await asyncio.sleep(_SWEEP_SECONDS)
