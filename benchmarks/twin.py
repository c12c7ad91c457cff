"""What the rewriting of the int8 twin brings: time, memory, and that the numbers stay the same.

Usage: python benchmarks/twin.py [MODEL] [--edge 1280] [--threads 1,2] [--rounds 7]

The model's network is quantised three times, with ranges measured on a drawn field (times and
memory do not depend on them): as ONNX Runtime does it, with upsampling as moves of whole pixels,
and with the float layers at both ends in strips as well, as the product does it. CPU-seconds and
seconds per megapixel of a tile, medians of runs in turn, in ONNX Runtime; the most memory that a
process of each holds beyond what it holds with the network loaded; and the largest difference of
any number from the first. Extra ``train``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared import Table, interleaved, peak_memory
from synthetic import field

from cellrim.core.normalise import measure_range, normalise, to_network
from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.registry import find_model
from cellrim.models.twin.moves import move_whole_pixels
from cellrim.models.twin.quantise import Rewrite, quantise, rewritten

REWRITES: dict[str, Rewrite] = {
    "as ONNX Runtime makes it": lambda made, _: made,
    "whole pixels moved": lambda made, _: move_whole_pixels(made),
    "and ends in strips": rewritten,
}
PATCH, PATCHES = 192, 8

Batch = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--edge", type=int, default=1280)
    parser.add_argument("--threads", default="1,2", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(memory_of(options.memory_of, options.edge))
        return
    with tempfile.TemporaryDirectory() as scratch:
        twins = make_twins(options.model, Path(scratch))
        show(twins, options)


def show(twins: dict[str, Path], options: argparse.Namespace) -> None:
    image = drawn(options.edge)
    threads = [int(n) for n in options.threads.split(",")]
    costs = {}
    for count in threads:
        sessions = {name: session(path, count) for name, path in twins.items()}
        costs[count] = interleaved(
            {name: (lambda s=s: run(s, image)) for name, s in sessions.items()},
            rounds=options.rounds,
        )
    first, *_ = (run(s, image) for s in sessions.values())
    megapixels = options.edge**2 / 1e6
    times = [f"{n} thread{'s'[: n - 1]}: {what}/MP" for n in threads for what in ("CPU-s", "s")]
    table = Table("twin", *times, "MB/MP", "largest difference")
    for name, path in twins.items():
        spent = [x / megapixels for n in threads for x in (costs[n][name].cpu, costs[n][name].wall)]
        memory = memory_in_process(path, options.edge) / 1e6 / megapixels
        differs = float(np.abs(run(sessions[name], image) - first).max())
        table.row(name, *spent, round(memory), differs)


def make_twins(model: str, folder: Path) -> dict[str, Path]:
    found = find_model(model)
    patches = drawn(PATCH * PATCHES)
    twins = {}
    for name, rewrite in REWRITES.items():
        path = folder / name.replace(" ", "-") / INT8_NAME
        path.parent.mkdir()
        shutil.copyfile(found.network, path.with_name(ONNX_NAME))
        batches = [patches[:, :, :PATCH, i * PATCH : (i + 1) * PATCH] for i in range(PATCHES)]
        quantise(path.parent, batches, stride=found.card.stride, rewrite=rewrite)
        twins[name] = path
    return twins


def drawn(edge: int) -> Batch:
    """A field of nuclei as the network sees it."""
    pixels = field(edge)[0][:, :, np.newaxis]
    seen = to_network(normalise(pixels, measure_range(pixels)))
    return np.ascontiguousarray(np.moveaxis(seen, 2, 0)[np.newaxis], np.float32)


def session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(network: Any, image: Batch) -> Batch:
    return network.run(None, {"image": image})[0]


def memory_in_process(path: Path, edge: int) -> int:
    command = [sys.executable, __file__, "--memory-of", str(path), "--edge", str(edge)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory_of(path: Path, edge: int) -> int:
    """Bytes that this process takes for one tile beyond the image and the loaded network."""
    network, image = session(path, 1), np.zeros((1, 3, edge, edge), np.float32)
    run(network, image[:, :, :64, :64])
    before = peak_memory()
    run(network, image)
    return peak_memory() - before


if __name__ == "__main__":
    main()
