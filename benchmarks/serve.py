"""Load on a real server: its speed against the bare predictor's, and its memory.

Usage: python benchmarks/serve.py [--clients 8] [--seconds 30] [--workers 2] [--threads 1]
       python benchmarks/serve.py --memory [--clients 8] [--edge 4096] [--workers 2] [--threads 1]

Speed: 512x512 images, requests a second, p95.

Both read the same PNG, segment it with the embedded model, measure its cells and write the table,
with the same number of workers and threads; the predictor by function call in one process, the
server through HTTP. Run it with nothing else on the machine. The server's share of the predictor's
throughput is what counts, since both change with the machine; wanted: at least 85 %.

Memory (Linux): all clients at once send colour images of the given edge, of 8 bits and of 16, and
ask for all that takes memory: each form of an answer, an image in the page with its views, labels,
measurements, a correction and downloads, and clients that take nothing of what they asked for. What
the process held at most is compared with what the server states (``memory_bound``). Speed does not
matter here, so the machine may be busy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import numpy as np

from cellrim import load_model, read_image
from cellrim.io.overlay import write_png
from cellrim.samples import sample_images

EDGE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--edge", type=int, default=4096)
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
        with server(Path(folder) / "data", asked.workers, asked.threads) as address:
            served = measure(client(image, address), workers=asked.clients, seconds=asked.seconds)
    what = f"{EDGE}x{EDGE}, {asked.workers} workers x {asked.threads} threads"
    print(f"| {what} | images/s | p50 s | p95 s |")
    print("|---|---|---|---|")
    print(row("predictor", bare, asked.seconds))
    print(row(f"server, {asked.clients} clients", served, asked.seconds))
    print(f"\nThe server has {len(served) / len(bare):.0%} of the predictor's throughput.")


def write_image(path: Path) -> None:
    """The sample image, repeated to the size."""
    pixels = read_image(sample_images()[0]).pixels[:, :, 0]
    stretched = (pixels.astype(float) / pixels.max() * 255).astype(np.uint8)
    repeats = [-(-EDGE // size) for size in stretched.shape]
    write_png(path, np.tile(stretched, repeats)[:EDGE, :EDGE])


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
def server(data: Path, workers: int, threads: int) -> Iterator[str]:
    command = [sys.executable, "-m", "cellrim", "serve", "--port", "0", "--data", str(data)]
    command += ["--workers", str(workers), "--threads", str(threads)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "CELLRIM_TOKEN"},
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def row(name: str, times: list[float], seconds: float) -> str:
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return f"| {name} | {len(times) / seconds:.2f} | {statistics.median(times):.2f} | {p95:.2f} |"


if __name__ == "__main__":
    main()
