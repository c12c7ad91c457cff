"""The load on a server: who is called when, and what happens when there is no time left."""

import argparse
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import serve
from serve import (
    ORDER,
    Side,
    Stage,
    all_at_once,
    peak_of,
    repeated,
    stages,
    status_bytes,
    take_turns,
)

from cellrim.server.forms import FORMS

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def process():
    """A process that does nothing, in the place of a server."""
    with subprocess.Popen(SLEEPS) as started:
        yield started
        started.kill()


def test_sides_take_turns_and_the_first_changes():
    calls = []
    sides = [Side(name, lambda _, name=name: calls.append(name), 1, []) for name in "ab"]
    take_turns(sides, rounds=3, seconds=0)
    assert calls == [*"ab", *"ab", *"ba", *"ab"]  # once unmeasured, then the rounds
    assert [len(side.times) for side in sides] == [3, 3]
    assert all(side.rate > 0 for side in sides)
    assert sides[0].row().count("|") == 5


def test_calls_go_on_for_the_time_that_is_given():
    times = repeated(lambda _: time.sleep(0.01), callers=2, seconds=0.1)
    assert 2 <= len(times) <= 22
    assert min(times) >= 0.01
    assert len(repeated(lambda _: None, callers=3, seconds=0)) == 3


def test_every_form_has_its_turn_and_there_is_time_for_all_stages():
    assert sorted(ORDER) == sorted(FORMS)
    assert len(stages(quick=False)) * 80 < 5 * 60
    assert max(stage.edge for stage in stages(quick=True)) <= 256


@LINUX
def test_a_stage_ends_at_its_limit(process):
    def work(number):
        if number:
            process.wait()  # as a client waits for its answer
            raise ConnectionError

    done = all_at_once(work, 3, limit=0.5, pid=process.pid)
    assert done.count == 1
    assert done.resident > 0
    assert process.wait(10) == -9


@LINUX
def test_a_client_that_fails_ends_the_stage(process):
    def work(number):
        if number:
            process.wait()
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError, match="refused"):
        all_at_once(work, 2, limit=60, pid=process.pid)


@LINUX
def test_the_server_has_the_least_memory_that_does(process, monkeypatch):
    asked = argparse.Namespace(workers=2, threads=1, limit=5)
    given = []

    @contextmanager
    def server(_data, *options):
        given.extend(options)
        yield process.pid, "http://nowhere"

    monkeypatch.setattr(serve, "server", server)
    monkeypatch.setattr(serve, "visit", lambda *_: None)
    peak = peak_of(Stage(64, light=False), asked, 2)
    assert peak.done == 2
    assert 0 < peak.idle <= peak.resident
    options = dict(zip(given[::2], given[1::2], strict=True))
    assert float(options["--memory-gb"]) == peak.bound / 1e9
    assert int(float(options["--max-megapixels"]) * 1e6) >= 64 * 64


@LINUX
def test_numbers_of_a_process(process):
    assert status_bytes(process.pid, "VmRSS") >= status_bytes(process.pid, "RssAnon") > 0
    with pytest.raises(ValueError, match="tells no Nothing"):
        status_bytes(process.pid, "Nothing")
