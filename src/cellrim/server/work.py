"""Where all segmentation runs: a few threads, a bounded queue, a time limit, a memory bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cellrim.server.problems import ApiError

T = TypeVar("T")


class Work:
    """Runs functions in threads, at most so many at a time, in the order they came.

    Parameters
    ----------
    workers
        Functions that run at the same time.
    max_waiting
        Functions that may wait.
    """

    def __init__(self, *, workers: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="cellrim-work")
        self._free = asyncio.Semaphore(workers)
        self._max_waiting = max_waiting
        self.waiting = 0

    async def run(self, function: Callable[[], T], *, pixels: int = 0) -> T:
        """Run a function in a worker thread and return what it returns.

        Raises
        ------
        ApiError
            ``busy`` if too many wait already.
        """
        if self.waiting >= self._max_waiting:
            raise ApiError("busy", f"{self.waiting} images wait already.", retry_after=10)
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._free.release()

    def close(self) -> None:
        """Let running functions end and start no more."""
        self._threads.shutdown(wait=True, cancel_futures=True)
