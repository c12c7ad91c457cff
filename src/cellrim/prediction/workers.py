"""Who does the work: this process, several processes of this machine, or a Dask cluster.

All three do the same pieces of work with the same function, so that the results are the same; only
the order in which they come differs. A worker that dies loses nothing but the piece it was at,
which another does again.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from cellrim.core.memory import keep_freed_memory
from cellrim.errors import ClusterError, MissingExtraError, UsageError

T = TypeVar("T")
R = TypeVar("R")

# A piece of work that kills this many workers will kill the next one too.
_MOST_DEATHS = 3
_CONNECT_SECONDS = 10
_ASK_SECONDS = 1.0


class Workers(Protocol):
    """Does pieces of work."""

    @property
    def count(self) -> int:
        """How many pieces are in work at once."""
        ...

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Call the function with each item and yield what it returns, in any order.

        Parameters
        ----------
        function
            Can be pickled, and called twice with the same item does no harm.
        items
            Can be pickled.

        Raises
        ------
        ClusterError
            If the workers are gone. What the function raises is raised, too.
        """
        ...


class Alone:
    """Does everything in this process, in order."""

    count = 1

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Call the function with each item, one after the other."""
        return map(function, items)


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
        """Call the function with each item; see :meth:`Workers.run`."""
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


class Cluster:
    """The workers of a Dask cluster, which must see the same files under the same paths.

    Parameters
    ----------
    client
        A ``distributed.Client``.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def count(self) -> int:
        """Threads of all workers that are there now."""
        return sum(self._client.nthreads().values()) or 1

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Call the function with each item; see :meth:`Workers.run`."""
        from distributed import KilledWorker

        finished: queue.Queue[Any] = queue.Queue()
        futures = [self._client.submit(function, item, pure=False) for item in items]
        for future in futures:
            future.add_done_callback(finished.put)
        try:
            for _ in futures:
                future = self._next(finished)
                try:
                    yield self._result(future)
                except KilledWorker as error:
                    raise ClusterError(
                        "A piece of the work killed one cluster worker after the other, perhaps "
                        "for lack of memory: give the workers more. What is finished is kept, "
                        "--resume goes on from there."
                    ) from error
        finally:
            if self._client.status == "running":
                self._client.cancel(futures)

    def _next(self, finished: queue.Queue[Any]) -> Any:
        """Wait for a future that is done, as long as the scheduler is there."""
        lost = 0.0
        while True:
            try:
                future = finished.get(timeout=_ASK_SECONDS)
            except queue.Empty:
                future = None
            if future is not None and future.status in ("finished", "error"):
                return future
            lost = 0.0 if self._client.status == "running" and future is None else lost + 1
            if lost * _ASK_SECONDS >= _CONNECT_SECONDS or self._client.status == "closed":
                raise _gone()
            if future is not None:
                time.sleep(_ASK_SECONDS)
                finished.put(future)

    def _result(self, future: Any) -> Any:
        """Fetch what a piece returned, as long as the scheduler is there.

        Where the worker that holds it has died in between, another does the piece again.
        """
        while True:
            try:
                return future.result(timeout=_CONNECT_SECONDS)
            except TimeoutError:
                if self._client.status != "running":
                    raise _gone() from None


def _gone() -> ClusterError:
    return ClusterError(
        "The cluster's scheduler is gone. What is finished is kept: start the scheduler again, "
        "then the same command with --resume."
    )


@contextmanager
def open_workers(count: int | None, cluster: str | None) -> Iterator[Workers]:
    """Get the workers that are asked for, and let them go afterwards.

    Parameters
    ----------
    count
        Processes on this machine; this process alone where None or 1.
    cluster
        Address of a Dask scheduler such as ``tcp://host:8786``, or ``local:N`` for a cluster of N
        processes on this machine.

    Raises
    ------
    UsageError
        If both are given, the address has another form, or no scheduler answers.
    MissingExtraError
        If a cluster is asked for and Dask is not installed.
    """
    if cluster is None:
        yield Processes(count) if count is not None and count > 1 else Alone()
        return
    if count is not None:
        raise UsageError("Expected --workers or --cluster, but got both.")
    with _client(cluster) as client:
        yield Cluster(client)


def threads_per_worker(count: int | None, cluster: str | None, cpus: int) -> int | None:
    """Threads for each worker, so that together they do not fight for this machine's CPUs.

    None, that is for each worker to see for itself, where there is one, or the workers are on
    other machines; Dask then sets ``OMP_NUM_THREADS``, which is followed.

    Examples
    --------
    >>> threads_per_worker(4, None, 10), threads_per_worker(None, "local:3", 2)
    (2, 1)
    """
    if cluster is not None:
        count = _local_count(cluster)
    return None if count is None else max(1, cpus // count)


def _begin_work() -> None:
    """Leave Ctrl-C to the process that was started; it stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()


def _local_count(address: str) -> int | None:
    kind, _, number = address.partition(":")
    if kind != "local":
        return None
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"Expected --cluster local:N with N processes, but got {address!r}.")
    return int(number)


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        import dask
        import distributed
    except ImportError:
        raise MissingExtraError("--cluster", "cluster") from None
    # Dask is only partly typed.
    open_client: Any = distributed.Client
    open_local: Any = distributed.LocalCluster
    count = _local_count(address)
    if count is None and "://" not in address:
        raise UsageError(f"Expected --cluster tcp://HOST:PORT or local:N, but got {address!r}.")
    quiet = {"distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s"}
    with dask.config.set(quiet):
        if count is not None:
            with (
                open_local(
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # 8787 may be taken
                    silence_logs=50,
                    local_directory=os.environ.get("TMPDIR"),
                ) as local,
                open_client(local) as client,
            ):
                yield client
            return
        try:
            client = open_client(address, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"No Dask scheduler answers at {address} ({error}): start one, or correct the "
                "address."
            ) from error
        with client:
            yield client
