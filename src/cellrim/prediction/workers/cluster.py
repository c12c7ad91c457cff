"""The workers of a Dask cluster."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from cellrim.errors import ClusterError, MissingExtraError, UsageError

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_SECONDS = 10
_ASK_SECONDS = 1.0


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
        """Call the function with each item; see :meth:`cellrim.prediction.workers.Workers.run`."""
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


def local_count(address: str) -> int | None:
    """Tell N of ``local:N``; None for the address of a scheduler."""
    kind, _, number = address.partition(":")
    if kind != "local":
        return None
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"Expected --cluster local:N with N processes, but got {address!r}.")
    return int(number)


@contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler at an address, or start a cluster on this machine.

    As for :func:`cellrim.prediction.workers.open_workers`.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise MissingExtraError("--cluster", "cluster") from None
    # Dask is only partly typed.
    open_client: Any = distributed.Client
    open_local: Any = distributed.LocalCluster
    count = local_count(address)
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
                yield Cluster(client)
            return
        try:
            client = open_client(address, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"No Dask scheduler answers at {address} ({error}): start one, or correct the "
                "address."
            ) from error
        with client:
            yield Cluster(client)


def _gone() -> ClusterError:
    return ClusterError(
        "The cluster's scheduler is gone. What is finished is kept: start the scheduler again, "
        "then the same command with --resume."
    )
