"""Several processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from cellrim.core.memory import keep_freed_memory
from cellrim.errors import ClusterError

T = TypeVar("T")
R = TypeVar("R")

# A piece of work that kills this many workers will kill the next one too.
_MOST_DEATHS = 3


class Processes:
    """Several processes on this machine, started anew where one dies.

    Parameters
    ----------
    count
        Number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Call the function with each item; see :meth:`cellrim.prediction.workers.Workers.run`."""
        left = dict(enumerate(items))
        deaths = 0
        while left:
            before = len(left)
            try:
                for key, result in self._run_once(function, left):
                    del left[key]
                    yield result
            except BrokenProcessPool as error:
                deaths = 1 if len(left) < before else deaths + 1
                if deaths >= _MOST_DEATHS:
                    raise ClusterError(
                        f"Worker processes died {deaths} times in a row before they finished "
                        "anything, perhaps for lack of memory: try fewer --workers. What is "
                        "finished is kept, --resume goes on from there."
                    ) from error

    def _run_once(self, function: Callable[[T], R], left: dict[int, T]) -> Iterator[tuple[int, R]]:
        # Forked children would inherit the locks of ONNX Runtime's threads.
        context = multiprocessing.get_context("spawn")
        size = min(self.count, len(left))
        pool = ProcessPoolExecutor(size, mp_context=context, initializer=_begin_work)
        waiting = iter(list(left.items()))
        running: dict[Future[R], int] = {}
        try:
            while True:
                for key, item in waiting:
                    running[pool.submit(function, item)] = key
                    if len(running) >= 2 * size:
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key = running.pop(future)
                    yield key, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_work() -> None:
    """Leave Ctrl-C to the process that was started; it stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
