"""Where all segmentation runs: a few threads, a bounded queue, a time limit, a memory bound."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import CellrimError
from cellrim.models.backend import Backend
from cellrim.prediction.segmenter import Segmenter
from cellrim.server.problems import ApiError

T = TypeVar("T")


class Stopped(CellrimError):  # noqa: N818 (not an error of anybody's)
    """Work that somebody has called off."""


@dataclass(frozen=True, slots=True)
class _Limits:
    deadline: float
    stops: tuple[threading.Event, ...]


_LIMITS: ContextVar[_Limits | None] = ContextVar("cellrim_work_limits", default=None)


def check_stop() -> None:
    """End the work that runs in this thread if its time is over or it has been called off.

    Raises
    ------
    ApiError
        ``took-too-long``.
    Stopped
        If it has been called off.
    """
    limits = _LIMITS.get()
    if limits is None:
        return
    if any(stop.is_set() for stop in limits.stops):
        raise Stopped("The work was called off.")
    if time.monotonic() > limits.deadline:
        raise ApiError(
            "took-too-long",
            "The image took longer than this server allows: segment a part of it, or give its "
            "diameter if its cells are large.",
        )


class _Stoppable:
    """A backend that looks, before each tile, whether it is still wanted."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def device(self) -> str:
        return self._backend.device

    @property
    def precision(self) -> str:
        return self._backend.precision

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        check_stop()
        return self._backend.predict(batch)


def stoppable(segmenter: Segmenter) -> Segmenter:
    """Return the segmenter so that :func:`check_stop` is called before each tile."""
    return Segmenter(_Stoppable(segmenter.backend), segmenter.card, tile_size=segmenter.tile_size)


@dataclass(frozen=True, slots=True)
class _Ticket:
    admitted: asyncio.Future[None]
    pixels: int


class Work:
    """Runs functions in threads, within bounds, in the order they came.

    Parameters
    ----------
    workers
        Functions that run at the same time.
    max_waiting
        Functions that may wait.
    max_pixels
        Pixels that are worked on at the same time; one function alone may have more.
    max_seconds
        Longest time for one function. It ends where it calls :func:`check_stop`.
    """

    def __init__(
        self, *, workers: int, max_waiting: int, max_pixels: int, max_seconds: float
    ) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="cellrim-work")
        self._workers = workers
        self._max_waiting = max_waiting
        self._max_pixels = max_pixels
        self._max_seconds = max_seconds
        self._queue: deque[_Ticket] = deque()
        self._closing = threading.Event()
        self.running = 0
        self.pixels = 0

    @property
    def waiting(self) -> int:
        """Functions that wait for a thread."""
        return len(self._queue)

    async def run(
        self, function: Callable[[], T], *, pixels: int = 0, stop: threading.Event | None = None
    ) -> T:
        """Run a function in a worker thread and return what it returns.

        Parameters
        ----------
        function
            Takes nothing; may raise anything.
        pixels
            Size of the image it is about, which bounds what runs beside it.
        stop
            Set it to call the function off.

        Raises
        ------
        ApiError
            ``busy`` if too many wait already, ``took-too-long``.
        Stopped
            If it has been called off.
        """
        await self._enter(pixels)
        stops = (self._closing,) if stop is None else (self._closing, stop)
        limits = _Limits(time.monotonic() + self._max_seconds, stops)
        job = self._threads.submit(copy_context().run, _within, limits, function)
        loop = asyncio.get_running_loop()
        # The thread goes on when its caller is gone: the place is free only when it has ended.
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave, pixels))
        return await asyncio.wrap_future(job)

    def close(self) -> None:
        """Call off what runs, wait for it, and start no more."""
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _enter(self, pixels: int) -> None:
        if self.waiting >= self._max_waiting:
            raise ApiError(
                "busy", f"{self.waiting} images wait already: try again soon.", retry_after=10
            )
        ticket = _Ticket(asyncio.get_running_loop().create_future(), pixels)
        self._queue.append(ticket)
        self._admit()
        try:
            await ticket.admitted
        except asyncio.CancelledError:
            if not ticket.admitted.cancelled():  # admitted in the same moment
                self._leave(pixels)
            elif ticket in self._queue:
                self._queue.remove(ticket)
            raise

    def _admit(self) -> None:
        while self._queue and self.running < self._workers:
            ticket = self._queue[0]
            if self.running and self.pixels + ticket.pixels > self._max_pixels:
                return
            self._queue.popleft()
            if ticket.admitted.cancelled():
                continue
            self.running += 1
            self.pixels += ticket.pixels
            ticket.admitted.set_result(None)

    def _leave(self, pixels: int) -> None:
        self.running -= 1
        self.pixels -= pixels
        self._admit()


def _within(limits: _Limits, function: Callable[[], T]) -> T:
    _LIMITS.set(limits)
    check_stop()
    return function()
