"""Load on a real server: its speed against the bare predictor's, and its memory.

Usage: python benchmarks/serve.py [--clients 8] [--seconds 30] [--workers 2] [--threads 1]
       python benchmarks/serve.py --memory [--clients 8] [--edge 4096] [--workers 2] [--light]

Speed: 512x512 images, requests a second, p95. Both read the same PNG, segment it with the embedded
model, measure its cells and write the table, with the same number of workers and threads; the
predictor by function call in one process, the server through HTTP. Run it with nothing else on the
machine. The server's share of the predictor's throughput is what counts, since both change with the
machine; wanted: at least 85 %.

Memory (Linux): all clients at once send 16-bit colour images of the given edge. Half of them ask
for an answer, each in another form; the others do what the page does: send the image, view it, take
its labels and measurements, correct it, download a result, and take nothing of an answer for a
while. What the process had at most, with files mapped into memory, which the system takes back when
it likes, and without them, is compared with the bound that the server holds. Speed does not matter
here, so the machine may be busy; ``--light`` puts a network of one layer in the place of the real
one, which shows the memory of the pixels alone and takes minutes where the real one takes an hour.
Needs the ``train`` extra then.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from cellrim import load_model, read_image
from cellrim.io.overlay import write_png
from cellrim.models.card import CARD_NAME, ONNX_NAME, sha256_of, write_card
from cellrim.models.registry import find_model
from cellrim.representation.flow import MAPS
from cellrim.samples import sample_images
from cellrim.server.forms import FORMS
from cellrim.server.settings import Settings

EDGE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--light", action="store_true")
    asked = parser.parse_args()
    if asked.memory:
        show_memory(asked)
    else:
        show_speed(asked)


def show_speed(asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        write_image(image)
        bare = measure(
            predictor(image, Path(folder), threads=asked.threads),
            workers=asked.workers,
            seconds=asked.seconds,
        )
        with server(Path(folder) / "data", asked.workers, asked.threads) as (_, address):
            served = measure(client(image, address), workers=asked.clients, seconds=asked.seconds)
    what = f"{EDGE}x{EDGE}, {asked.workers} workers x {asked.threads} threads"
    print(f"| {what} | images/s | p50 s | p95 s |")
    print("|---|---|---|---|")
    print(row("predictor", bare, asked.seconds))
    print(row(f"server, {asked.clients} clients", served, asked.seconds))
    print(f"\nThe server has {len(served) / len(bare):.0%} of the predictor's throughput.")


def show_memory(asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "image.png"
        grey = tiled(asked.edge, np.uint16)
        write_png(image, np.stack([grey, grey // 2, grey // 3], axis=2))
        model = ["--model", str(light_model(folder / "light"))] if asked.light else []
        with server(folder / "data", asked.workers, asked.threads, *model) as (pid, address):
            idle = own_bytes(pid)
            with watch(pid) as peak, ThreadPoolExecutor(asked.clients) as pool:
                list(pool.map(partial(visit, address, image.read_bytes()), range(asked.clients)))
            resident = status_bytes(pid, "VmHWM")
    bound = Settings(data=folder, workers=asked.workers).max_memory_bytes
    print(f"| {asked.clients} clients, {asked.edge}x{asked.edge}, {asked.workers} workers | GB |")
    print("|---|---|")
    shown = {
        "idle": idle,
        "at most, without mapped files": peak[0],
        "at most, with them": resident,
        "bound": bound,
    }
    for title, size in shown.items():
        print(f"| {title} | {size / 1e9:.2f} |")


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
    changes = {"name": "light", "sha256": sha256_of(data)}
    write_card(folder / CARD_NAME, card.model_copy(update=changes))
    return folder


def visit(address: str, image: bytes, number: int) -> None:
    """Do what one client does."""
    forms = list(FORMS)
    form = forms[number % len(forms)]
    with httpx.Client(base_url=address, timeout=3600) as session:
        if number % 2:
            in_the_page(session, image, form)
        else:
            session.post(f"/v1/segment?format={form}", files={"image": image}).raise_for_status()


def in_the_page(session: httpx.Client, image: bytes, form: str) -> None:
    added = session.post("/v1/workspace/images", files={"image": ("a.png", image)})
    here = f"/v1/workspace/images/{added.raise_for_status().json()['id']}"
    while session.get(here).json()["state"] in ("waiting", "working"):
        time.sleep(1)
    for path in ("view", "labels", "cells", f"result?format={form}"):
        session.get(f"{here}/{path}").raise_for_status()
    session.post(f"{here}/edits", json={"action": "delete", "cells": [1]}).raise_for_status()
    with session.stream("GET", f"{here}/view"):
        time.sleep(10)


@contextmanager
def watch(pid: int) -> Iterator[list[int]]:
    """Look at the memory of a process every few milliseconds."""
    seen, ended = [own_bytes(pid)], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            seen.append(max(seen.pop(), own_bytes(pid)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def own_bytes(pid: int) -> int:
    """Memory that a process has of its own: not of files."""
    return status_bytes(pid, "RssAnon") + status_bytes(pid, "RssShmem")


def status_bytes(pid: int, name: str) -> int:
    """Read one number of what Linux tells of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (size,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(size) * 1024


def tiled(edge: int, dtype: type[np.unsignedinteger[Any]]) -> np.ndarray[Any, Any]:
    """The sample image, repeated to the size and stretched to the range of the type."""
    pixels = read_image(sample_images()[0]).pixels[:, :, 0]
    stretched = (pixels.astype(float) / pixels.max() * np.iinfo(dtype).max).astype(dtype)
    repeats = [-(-edge // size) for size in stretched.shape]
    return np.tile(stretched, repeats)[:edge, :edge]


def write_image(path: Path) -> None:
    write_png(path, tiled(EDGE, np.uint8))


def predictor(image: Path, folder: Path, *, threads: int) -> Callable[[int], None]:
    segmenter = load_model("general", threads=threads)

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


def measure(once: Callable[[int], None], *, workers: int, seconds: float) -> list[float]:
    """Call a function again and again in so many threads; returns the time of each call."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(once, range(workers)))  # everything is loaded
        until = time.perf_counter() + seconds

        def repeat(number: int) -> list[float]:
            times = []
            while (begun := time.perf_counter()) < until:
                once(number)
                times.append(time.perf_counter() - begun)
            return times

        return [each for times in pool.map(repeat, range(workers)) for each in times]


@contextmanager
def server(data: Path, workers: int, threads: int, *more: str) -> Iterator[tuple[int, str]]:
    """Start a server; gives its process id and address."""
    command = [sys.executable, "-m", "cellrim", "serve", "--port", "0", "--data", str(data)]
    command += ["--workers", str(workers), "--threads", str(threads), *more]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "CELLRIM_TOKEN"},
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def row(name: str, times: list[float], seconds: float) -> str:
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return f"| {name} | {len(times) / seconds:.2f} | {statistics.median(times):.2f} | {p95:.2f} |"


if __name__ == "__main__":
    main()
