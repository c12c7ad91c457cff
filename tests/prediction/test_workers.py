import os
import pickle
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cellrim.errors import ClusterError, MissingExtraError, UsageError
from cellrim.prediction.workers import Alone, open_workers, threads_per_worker
from cellrim.prediction.workers.cluster import Cluster
from cellrim.prediction.workers.processes import Processes


def test_alone_is_in_order():
    assert list(Alone().run(abs, [-3, 2, -1])) == [3, 2, 1]


def test_processes_do_everything_once_and_survive_a_kill(tmp_path):
    """``touch`` below writes its process id into a file; one of these is killed meanwhile."""
    team = Processes(2)
    done = list(team.run(partial(os.path.join, str(tmp_path)), [str(n) for n in range(6)]))
    assert sorted(done) == [str(tmp_path / str(n)) for n in range(6)]


def test_a_worker_that_kills_itself_again_and_again_is_told():
    with pytest.raises(ClusterError, match="3 times in a row"):
        list(Processes(1).run(os._exit, [1]))


def test_what_the_work_raises_is_raised():
    with pytest.raises(FileNotFoundError):
        list(Processes(1).run(os.listdir, ["/no/such/folder"]))


@pytest.mark.parametrize(
    ("count", "cluster", "says"),
    [
        (2, "local:2", "both"),
        (None, "local:x", "local:N"),
        (None, "local:0", "local:N"),
        (None, "host", "tcp://HOST:PORT"),
    ],
)
def test_bad_usage(count, cluster, says):
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match=says), open_workers(count, cluster):
        pass


def test_a_scheduler_that_does_not_answer(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("cellrim.prediction.workers.cluster._CONNECT_SECONDS", 1)
    with (
        pytest.raises(UsageError, match="No Dask scheduler answers"),
        open_workers(None, "tcp://127.0.0.1:9"),
    ):
        pass


def test_threads_are_shared():
    assert threads_per_worker(None, None, 8) is None
    assert threads_per_worker(4, None, 8) == 2
    assert threads_per_worker(16, None, 8) == 1
    assert threads_per_worker(None, "local:2", 8) == 4
    assert threads_per_worker(None, "tcp://a:1", 8) is None


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(MissingExtraError("OME-Zarr", "big")))
    assert isinstance(error, MissingExtraError)
    assert "cellrim[big]" in str(error)


def _kill_first_worker(folder: Path) -> None:
    """Kill the process that has written its number into the folder first."""
    while not any(folder.iterdir()):
        time.sleep(0.02)
    os.kill(int(next(folder.iterdir()).name), signal.SIGKILL)


def _shell(folder, number):
    return f"touch {folder}/$PPID; sleep 0.3; exit {number}"


@pytest.mark.parametrize("cluster", [None, "local:2"])
def test_a_worker_killed_in_the_middle_loses_nothing(tmp_path, cluster):
    """Each piece of work is a shell command, so that the workers need no code of the test."""
    if cluster:
        pytest.importorskip("distributed")
    killer = threading.Thread(target=_kill_first_worker, args=(tmp_path,))
    with open_workers(2 if cluster is None else None, cluster) as team:
        killer.start()
        codes = list(team.run(os.system, [_shell(tmp_path, number) for number in range(6)]))
    killer.join()
    assert sorted(os.waitstatus_to_exitcode(code) for code in codes) == list(range(6))


def test_a_scheduler_that_dies_in_the_middle_is_told(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("cellrim.prediction.workers.cluster._CONNECT_SECONDS", 2)
    import subprocess
    import sys

    scheduler = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--port",
            "0",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at" in line)
        with open_workers(None, address) as team:
            threading.Timer(1, scheduler.kill).start()
            work = team.run(abs, [1])  # no worker ever comes
            with pytest.raises(ClusterError, match="scheduler is gone"):
                next(work)
    finally:
        scheduler.kill()
        scheduler.wait()
        scheduler.stderr.close()


@dataclass
class LateFuture:
    """A future whose worker died with the result: another takes some time to do it again."""

    failures: int

    def result(self, timeout):
        self.failures -= 1
        if self.failures >= 0:
            raise TimeoutError(f"timed out after {timeout} s.")
        return 7


def test_a_result_that_died_with_its_worker_is_waited_for():
    cluster = Cluster(SimpleNamespace(status="running"))
    assert cluster._result(LateFuture(failures=2)) == 7


def test_a_result_is_not_waited_for_when_the_scheduler_is_gone():
    cluster = Cluster(SimpleNamespace(status="connecting"))
    with pytest.raises(ClusterError, match="scheduler is gone"):
        cluster._result(LateFuture(failures=2))
