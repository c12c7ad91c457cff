"""Load on a real server: its speed against the bare predictor's, and its memory.

Usage: python benchmarks/serve.py [--clients 8] [--seconds 60] [--rounds 4] [--workers 2]
                                  [--threads 1] [--quick]
       python benchmarks/serve.py --memory [--clients 4] [--limit 80] [--workers 2] [--threads 1]
                                  [--quick]

Speed: 512x512 images, requests a second, p95. Both read the same PNG, segment it with the embedded
model, measure its cells and write the table, with the same number of workers and threads; the
predictor by function call in this process, the server through HTTP. They take turns in one run, so
that whatever else the machine does meets both; ``--seconds`` is how long each is measured, all
rounds together. The server's share of the predictor's throughput is what counts, since both change
with the machine; wanted: at least 85 %.

Memory (Linux): all clients at once send 16-bit colour images. Half of them ask for an answer, each
in another form; the others do what the page does: send the image, view it, take its labels and
measurements, correct it, download a result, and take nothing of an answer for a while. The server
is given no more memory than the least with which it starts for images of this size, so that its
bound is close. What the process had at most, with files mapped into memory, which the system takes
back when it likes, and without them, stands beside that bound. Three stages: the real network on
images of one whole tile, where its memory is largest, and a network of one layer on larger images
of two sizes, where everything else is largest. (The real network takes minutes for each of those,
and no more memory: it sees one tile after the other.) The one layer needs the package onnx, which
the ``train`` extra brings. A stage that is not done after ``--limit`` seconds is cut off, and its
row says so: the machine was too busy for it.

``--quick`` only shows that everything runs: small images, a few seconds, one round.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import numpy as np

from cellrim import load_model, read_image
from cellrim.io.overlay import write_png
from cellrim.models.card import CARD_NAME, ONNX_NAME, sha256_of, write_card
from cellrim.models.registry import find_model
from cellrim.prediction.segmenter import INT8_TILE
from cellrim.representation.flow import MAPS
from cellrim.samples import sample_images
from cellrim.server.forms import FORMS
from cellrim.server.memory import least_bytes
from cellrim.server.settings import MB, Settings

EDGE = 512
LARGE_EDGES = (2048, 4096)
QUICK_EDGE = 256
_LARGEST = ("overlay", "rois", "geojson", "label-png")
ORDER = (*_LARGEST, *(form for form in FORMS if form not in _LARGEST))
"""Forms in the order of the clients: first those that take most memory to write."""
PAUSE = 3.0  # seconds in which a client takes nothing of an answer
STOP_SECONDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--limit", type=float, default=80)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if asked.quick:
        asked.seconds, asked.rounds, asked.clients = 2.0, 1, asked.clients or 2
    if asked.memory:
        show_memory(asked)
    else:
        show_speed(asked)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --------------------------------------------------------------------------- speed


@dataclass
class Side:
    """The predictor or the server: how it is called, by how many at once, and what was measured."""

    name: str
    once: Callable[[int], None]
    callers: int
    times: list[float]
    seconds: float = 0.0

    def measure(self, seconds: float) -> None:
        """Call it again and again for so long; what has begun then is waited for."""
        begun = time.perf_counter()
        self.times += repeated(self.once, callers=self.callers, seconds=seconds)
        self.seconds += time.perf_counter() - begun

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.times) / self.seconds

    def row(self) -> str:
        """Write a row of the table."""
        times = self.times
        p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        return f"| {self.name} | {self.rate:.2f} | {statistics.median(times):.2f} | {p95:.2f} |"


def show_speed(asked: argparse.Namespace) -> None:
    clients = asked.clients or 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "image.png"
        write_png(image, tiled(EDGE, np.uint8))
        options = ("--workers", str(asked.workers), "--threads", str(asked.threads))
        with server(folder / "data", *options) as (_, address):
            bare = predictor(image, folder, threads=asked.threads)
            sides = [
                Side("predictor", bare, asked.workers, []),
                Side(f"server, {clients} clients", client(image, address), clients, []),
            ]
            take_turns(sides, rounds=asked.rounds, seconds=asked.seconds)
    what = f"{EDGE}x{EDGE}, {asked.workers} workers x {asked.threads} threads"
    print(f"| {what} | images/s | p50 s | p95 s |")
    print("|---|---|---|---|")
    for side in sides:
        print(side.row())
    print(f"\nThe server has {sides[1].rate / sides[0].rate:.0%} of the predictor's throughput.")


def take_turns(sides: list[Side], *, rounds: int, seconds: float) -> None:
    """Measure each side for so long in all, in rounds; who is first changes with each round."""
    for side in sides:  # everything is loaded before anything is timed
        repeated(side.once, callers=side.callers, seconds=0)
    for number in range(rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            side.measure(seconds / rounds)
            say(f"round {number + 1} of {rounds}: {side.name}, {side.rate:.2f} images/s so far")


def repeated(once: Callable[[int], None], *, callers: int, seconds: float) -> list[float]:
    """Call a function again and again in so many threads; returns the time of each call.

    Each thread calls it once at least.
    """
    until = time.perf_counter() + seconds

    def repeat(number: int) -> list[float]:
        times = []
        while not times or time.perf_counter() < until:
            begun = time.perf_counter()
            once(number)
            times.append(time.perf_counter() - begun)
        return times

    with ThreadPoolExecutor(callers) as pool:
        return [each for times in pool.map(repeat, range(callers)) for each in times]


def predictor(image: Path, folder: Path, *, threads: int) -> Callable[[int], None]:
    segmenter = load_model("general", threads=threads, device="cpu")

    def once(number: int) -> None:
        segmenter.segment(read_image(image)).save_cells(folder / f"{number}.csv")

    return once


def client(image: Path, address: str) -> Callable[[int], None]:
    data = image.read_bytes()
    session = httpx.Client(base_url=address, timeout=300)

    def once(_number: int) -> None:
        answer = session.post("/v1/segment?format=cells-csv", files={"image": ("a.png", data)})
        answer.raise_for_status()

    return once


# --------------------------------------------------------------------------- memory


@dataclass(frozen=True)
class Stage:
    """One load: the edge of the images, and whether the network is the one of one layer."""

    edge: int
    light: bool

    @property
    def name(self) -> str:
        """What the table calls it."""
        network = "one layer" if self.light else "the real network"
        return f"{self.edge}x{self.edge}, {network}"


@dataclass(frozen=True)
class Peak:
    """What a stage took, in bytes, and how many clients were done in time."""

    idle: int
    own: int
    resident: int
    bound: int
    done: int


def stages(*, quick: bool) -> list[Stage]:
    if quick:
        return [Stage(QUICK_EDGE, light=False), Stage(QUICK_EDGE, light=True)]
    return [
        Stage(INT8_TILE, light=False),
        *(Stage(edge, light=True) for edge in LARGE_EDGES),
    ]


def show_memory(asked: argparse.Namespace) -> None:
    clients = asked.clients or 4
    what = f"GB, {clients} clients, {asked.workers} workers"
    print(f"| {what} | idle | at most | with mapped files | bound | |")
    print("|---|---|---|---|---|---|")
    for stage in stages(quick=asked.quick):
        say(f"{stage.name}: at most {asked.limit:.0f} s")
        peak = peak_of(stage, asked, clients)
        sizes = [f"{n / 1e9:.2f}" for n in (peak.idle, peak.own, peak.resident, peak.bound)]
        cut = "" if peak.done == clients else f"cut off: {peak.done} of {clients} clients done"
        print(f"| {stage.name} | {' | '.join(sizes)} | {cut} |", flush=True)


def peak_of(stage: Stage, asked: argparse.Namespace, clients: int) -> Peak:
    """Run a stage, for no longer than the limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grey = tiled(stage.edge, np.uint16)
        image = folder / "image.png"
        write_png(image, np.stack([grey, grey // 2, grey // 3], axis=2))
        settings = Settings(data=folder / "data", workers=asked.workers, max_pixels=stage.edge**2)
        bound = -(-least_bytes(settings) // MB) * MB
        options = [
            *("--workers", str(asked.workers), "--threads", str(asked.threads)),
            *("--max-megapixels", str(stage.edge**2 / 1e6), "--memory-gb", str(bound / 1e9)),
        ]
        if stage.light:
            options += ["--model", str(light_model(folder / "light"))]
        with server(folder / "data", *options) as (pid, address):
            idle = own_bytes(pid)
            with watch(pid) as peak:
                work = partial(visit, address, image.read_bytes())
                done = all_at_once(work, clients, limit=asked.limit, pid=pid)
            return Peak(idle, peak[0], done.resident, bound, done.count)


@dataclass(frozen=True)
class Done:
    """How many clients were done in time, and the most memory that the process had by then."""

    count: int
    resident: int


def all_at_once(work: Callable[[int], None], clients: int, *, limit: float, pid: int) -> Done:
    """Let all clients work; who is not done in time loses the server, which is killed then.

    Raises
    ------
    httpx.HTTPError
        If a client fails before the limit.
    """
    begun = time.monotonic()
    count = 0
    with ThreadPoolExecutor(clients) as pool:
        futures: list[Future[None]] = [pool.submit(work, number) for number in range(clients)]
        try:
            with suppress(TimeoutError):
                for future in as_completed(futures, timeout=limit):
                    future.result()
                    count += 1
                    say(f"  {time.monotonic() - begun:.0f} s: {count} of {clients} clients done")
            return Done(count, status_bytes(pid, "VmHWM"))
        finally:
            if count < clients:  # those that still wait fail then, and their threads end
                os.kill(pid, signal.SIGKILL)


def light_model(folder: Path) -> Path:
    """Write a copy of the embedded model with a network of one layer: bright is foreground."""
    import onnx
    from onnx import TensorProto, helper

    card = find_model("general").card
    weight = np.zeros((len(MAPS), 3, 1, 1), np.float32)
    weight[0, 0] = 20
    bias = np.zeros(len(MAPS), np.float32)
    bias[0] = -10
    shape = ["b", 3, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["maps"])],
        "light",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["b", len(MAPS), "h", "w"])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel()),
            helper.make_tensor("b", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    data = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    folder.mkdir()
    (folder / ONNX_NAME).write_bytes(data)
    # It is sure of no cell, and all of them are to be given out.
    all_cells = replace(card.decode, min_confidence=0.0)
    changes = {
        "name": "light",
        "sha256": sha256_of(data),
        "int8_sha256": None,
        "decode": all_cells,
    }
    write_card(folder / CARD_NAME, msgspec.structs.replace(card, **changes))
    return folder


def visit(address: str, image: bytes, number: int) -> None:
    """Do what one client does."""
    form = ORDER[number % len(ORDER)]
    with httpx.Client(base_url=address, timeout=3600) as session:
        if number % 2:
            in_the_page(session, image, form)
        else:
            session.post(f"/v1/segment?format={form}", files={"image": image}).raise_for_status()


def in_the_page(session: httpx.Client, image: bytes, form: str) -> None:
    added = session.post("/v1/workspace/images", files={"image": ("a.png", image)})
    here = f"/v1/workspace/images/{added.raise_for_status().json()['id']}"
    while session.get(here).raise_for_status().json()["state"] in ("waiting", "working"):
        time.sleep(0.5)
    for path in ("view", "labels", "cells", f"result?format={form}"):
        session.get(f"{here}/{path}").raise_for_status()
    session.post(f"{here}/edits", json={"action": "delete", "cells": [1]}).raise_for_status()
    with session.stream("GET", f"{here}/view"):
        time.sleep(PAUSE)


@contextmanager
def watch(pid: int) -> Iterator[list[int]]:
    """Look at the memory of a process every few milliseconds, as long as it lives."""
    seen, ended = [own_bytes(pid)], threading.Event()

    def look() -> None:
        with suppress(OSError, ValueError):  # it was killed
            while not ended.wait(0.02):
                seen[0] = max(seen[0], own_bytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def own_bytes(pid: int) -> int:
    """Memory that a process has of its own: not of files."""
    return status_bytes(pid, "RssAnon", "RssShmem")


def status_bytes(pid: int, *names: str) -> int:
    """Add up numbers of what Linux tells of a process."""
    wanted = {f"{name}:" for name in names}
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.split()[0] in wanted]
    if len(sizes) < len(wanted):
        raise ValueError(f"Linux tells no {', '.join(names)} of process {pid}.")
    return sum(sizes) * 1024


# --------------------------------------------------------------------------- both


def tiled(edge: int, dtype: type[np.unsignedinteger[Any]]) -> np.ndarray[Any, Any]:
    """The sample image, repeated to the size and stretched to the range of the type."""
    pixels = read_image(sample_images()[0]).pixels[:, :, 0]
    stretched = (pixels.astype(float) / pixels.max() * np.iinfo(dtype).max).astype(dtype)
    repeats = [-(-edge // size) for size in stretched.shape]
    return np.tile(stretched, repeats)[:edge, :edge]


@contextmanager
def server(data: Path, *options: str) -> Iterator[tuple[int, str]]:
    """Start a server on the CPU; gives its process id and address."""
    command = [sys.executable, "-m", "cellrim", "serve", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(
        [*command, "--device", "cpu", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "CELLRIM_TOKEN"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("The server did not start; it said why above.")
        yield process.pid, line.split()[-1]
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
