"""What a command costs before there is work to do: CPU-seconds and seconds of whole processes.

Usage: python benchmarks/startup.py [--rounds 7]

Medians over processes in turn: the help text, and images of 128 x 128 pixels with some cells, of
one channel and of two, labels alone and with the report. One thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from shared import Table, cost_of_process
from synthetic import field

EDGE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        commands = make_commands(Path(scratch))
        seen = [{name: cost_of_process(*c) for name, c in commands.items()} for _ in range(rounds)]
    table = Table("command", "CPU-s", "s")
    for name in commands:
        costs = [costs[name] for costs in seen]
        table.row(
            name, statistics.median(c.cpu for c in costs), statistics.median(c.wall for c in costs)
        )


def make_commands(folder: Path) -> dict[str, list[str]]:
    pixels, _ = field(EDGE)
    tifffile.imwrite(folder / "one.tif", pixels)
    tifffile.imwrite(folder / "two.tif", np.stack([pixels, pixels.T]), metadata={"axes": "CYX"})
    commands = {"--help": ["--help"]}
    for count in ("one", "two"):
        segment = ["segment", str(folder / f"{count}.tif"), "-o", str(folder / count)]
        segment += ["--save", "labels", "--overwrite"]
        commands[f"segment, channels: {count}, labels alone"] = [*segment, "--no-report"]
        commands[f"segment, channels: {count}"] = segment
    return commands


if __name__ == "__main__":
    main()
