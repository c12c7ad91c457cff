"""Who does the work: this process, several processes of this machine, or a Dask cluster.

All three do the same pieces of work with the same function, so that the results are the same; only
the order in which they come differs. A worker that dies loses nothing but the piece it was at,
which another does again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from cellrim.errors import UsageError
from cellrim.prediction.workers.cluster import local_count, open_cluster

T = TypeVar("T")
R = TypeVar("R")


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
    if cluster is not None:
        if count is not None:
            raise UsageError("Expected --workers or --cluster, but got both.")
        with open_cluster(cluster) as team:
            yield team
    elif count is not None and count > 1:
        # What starts processes takes 10 ms to import, and most images are segmented alone.
        from cellrim.prediction.workers.processes import Processes

        yield Processes(count)
    else:
        yield Alone()


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
        count = local_count(cluster)
    return None if count is None else max(1, cpus // count)
