"""The whole way from an image file to a label file: cellrim, StarDist, U-Net with watershed.

Usage: python benchmarks/peers.py [--edge 2048] [--rounds 3] [--only cellrim,stardist]

Side by side in one run, each in a process of its own, in turn: a 16-bit synthetic field of about
1,500 nuclei (2048 x 2048) of 24 px; CPU-seconds (user and system) per megapixel, peak memory,
both with one thread; and for a 1024 x 1024 file, with the threads that each takes by itself, the
seconds from the start of the process until the label file is there, and until the process has
ended (cellrim then has measured the cells and written its report).

- ``cellrim``: the command line, labels and report, everything estimated.
- ``cellrim labels alone``: the same without a report, as the others write none.
- ``cellrim labels of ten``: ten copies of the image in a folder, so that the start of the process
  counts a tenth.
- ``stardist``: the true network and decoding of StarDist 0.9.2 in its default configuration with
  random weights. Random maps decode to nothing true, so its decoding gets the maps of the truth
  (StarDist's own ``edt_prob`` and ``star_dist``, made beforehand and not counted).
  ``stardist grid 2`` is the same at half resolution, as its published models are.
- ``watershed``: a textbook U-Net of about as many parameters as cellrim's in ONNX Runtime, random
  weights, then the usual distance transform, peaks and watershed of scikit-image on the true mask.

Extras ``bench`` and ``train``. Peers that are not installed are left out with a message.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from shared import Table, as_installed, cpu_seconds
from synthetic import DIAMETER, field

EDGE, FIRST_EDGE = 2048, 1024
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
# Published StarDist models normalise from the first percentile to this one.
_HIGH = 99.8
# Widths of a textbook U-Net with about the parameters of the embedded network (printed).
WIDTHS = (16, 32, 64, 128, 256)


def main() -> None:
    options = arguments()
    if options.run:
        # One process of one peer, started by the lines below.
        RUNNERS[options.run](*options.files)
        print(_excluded[0])
        return
    names = [n for n in options.only.split(",") if n] or [*COMMANDS, *RUNNERS]
    names = [n for n in names if present(n)]
    with tempfile.TemporaryDirectory() as scratch:
        compare(names, Path(scratch), options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--edge", type=int, default=EDGE)
    parser.add_argument("--first", type=int, default=FIRST_EDGE, help="edge of the small image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def present(name: str) -> bool:
    needed = {"stardist": ("stardist", "tensorflow"), "watershed": ("torch",)}
    missing = [m for m in needed.get(name.split()[0], ()) if find_spec(m) is None]
    if missing:
        print(f"left out: {name} needs {', '.join(missing)} (extras bench and train)")
    return not missing


# ------------------------------------------------------------------ measure


def compare(names: list[str], scratch: Path, options: argparse.Namespace) -> None:
    edge, first = options.edge, options.first
    large, small = (
        make_files(scratch / which, e, names) for which, e in (("large", edge), ("first", first))
    )
    seen: dict[str, list[tuple[float, ...]]] = {n: [] for n in names}
    for _ in range(options.rounds):
        for name in names:
            one = start(name, large, ONE_THREAD)
            own = start(name, small, {})
            megapixels = IMAGES.get(name, 1) * edge**2 / 1e6
            seen[name].append((one.cpu / megapixels, one.memory / 2**20, own.first, own.end))
    times = f"s to the labels of {first} x {first}"
    table = Table("tool", "CPU-s/MP", "MB at most", times, "s to the end", "CPU of cellrim")
    middle = {n: [statistics.median(v) for v in zip(*s, strict=True)] for n, s in seen.items()}
    for name, (cpu, memory, wall, end) in middle.items():
        ratio = f"{cpu / middle['cellrim'][0]:.1f}" if "cellrim" in middle else ""
        table.row(name, cpu, round(memory), wall, end, ratio)


def make_files(folder: Path, edge: int, names: list[str]) -> Path:
    """Write an image and what the peers' decoding gets; return the image's path."""
    folder.mkdir(parents=True)
    pixels, labels = field(edge)
    print(f"{edge} x {edge}: {labels.max()} nuclei", flush=True)
    tifffile.imwrite(folder / "image.tif", pixels)
    np.save(folder / "mask.npy", labels > 0)
    for name, count in IMAGES.items():
        if name in names:
            copies = folder / f"{count} images"
            copies.mkdir()
            for number in range(count):  # the first is called as the image is
                copy = copies / f"image{number or ''}.tif"
                copy.hardlink_to(folder / "image.tif")
    for name, grid in GRIDS.items():
        if name in names:
            from stardist.geometry import star_dist
            from stardist.utils import edt_prob

            prob = edt_prob(labels)[::grid, ::grid]
            dist = star_dist(labels, 32, grid=(grid, grid))
            np.savez(folder / f"{name}.npz", prob=prob, dist=dist)
    if "watershed" in names:
        from networks import TextbookUNet

        from cellrim.models.export import export_onnx

        model = TextbookUNet(WIDTHS, 3)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        print(f"textbook U-Net: {millions:.2f} M parameters", flush=True)
        export_onnx(model, folder / "unet.onnx")
    return folder / "image.tif"


# Between this process and the peer: memory is counted from what the starting process takes.
_METER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
sys.exit(code)
"""


class Run(NamedTuple):
    """What one process took: CPU-seconds, bytes at most, seconds to its label file and its end."""

    cpu: float
    memory: float
    first: float
    end: float


def start(name: str, image: Path, settings: dict[str, str]) -> Run:
    output = image.parent / "results" / f"{image.stem}_labels.tif"
    shutil.rmtree(output.parent, ignore_errors=True)
    output.parent.mkdir()
    command = [sys.executable, "-c", _METER, *command_of(name, image, output)]
    begin = time.perf_counter()
    first = math.nan
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=out, stderr=errors, env={**as_installed(), **settings}
        )
        while process.poll() is None:
            if math.isnan(first) and output.is_file():
                first = time.perf_counter() - begin
            time.sleep(0.005)
        end = time.perf_counter() - begin
        for file in (out, errors):
            file.seek(0)
        if process.returncode or not output.is_file():
            raise SystemExit(f"{name} failed:\n{errors.read()[-2000:]}")
        *lines, figures = out.read().splitlines()
    cpu, memory = map(float, figures.split())
    return Run(cpu - (0.0 if name in COMMANDS else float(lines[-1])), memory, first, end)


def command_of(name: str, image: Path, output: Path) -> list[str]:
    if name not in COMMANDS:
        return [sys.executable, __file__, "--run", name, str(image), str(output)]
    count = IMAGES.get(name, 1)
    images = image if count == 1 else image.parent / f"{count} images"
    command = [sys.executable, "-m", "cellrim", "segment", str(images)]
    return [*command, "-o", str(output.parent), *COMMANDS[name]]


# ------------------------------------------------------------------ the peers, one process each

_excluded = [0.0]
"""CPU-seconds of this process that are no work of the peer."""


def run_stardist(image: Path, output: Path, *, grid: int = 1) -> None:
    from stardist.models import Config2D, StarDist2D

    pixels = tifffile.imread(image)
    low, high = np.percentile(pixels, (1, _HIGH))
    normalised = ((pixels - low) / (high - low)).astype(np.float32)
    model = StarDist2D(Config2D(grid=(grid, grid)), name=None, basedir=None)
    prob, dist = model.predict(normalised)[:2]
    del prob, dist
    with unpaid(), np.load(image.with_name(f"{NAMES[grid]}.npz")) as arrays:
        truth = arrays["prob"], arrays["dist"]
    labels, _ = model._instances_from_prediction(
        pixels.shape, *truth, prob_thresh=0.5, nms_thresh=0.4
    )
    write(output, labels)


def run_watershed(image: Path, output: Path) -> None:
    import onnxruntime
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    pixels = tifffile.imread(image)
    low, high = np.percentile(pixels, (1, _HIGH))
    batch = np.broadcast_to((pixels - low) / (high - low), (1, 3, *pixels.shape))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(image.with_name("unet.onnx")), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, {"image": np.ascontiguousarray(batch, dtype=np.float32)})
    with unpaid():
        mask = np.load(image.with_name("mask.npy"))
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    peaks = peak_local_max(distance, min_distance=int(DIAMETER / 3), labels=mask.astype(int))
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    write(output, watershed(-distance, seeds, mask=mask))


class unpaid:  # noqa: N801
    """A block whose CPU time is not the peer's."""

    def __enter__(self) -> None:
        self._begin = cpu_seconds()

    def __exit__(self, *_: object) -> None:
        _excluded[0] += cpu_seconds() - self._begin


def write(path: Path, labels: NDArray[np.integer]) -> None:
    partial = path.with_suffix(".partial")
    tifffile.imwrite(partial, labels.astype(np.uint16), compression="zlib")
    partial.rename(path)


COMMANDS = {
    "cellrim": ("--save", "labels"),
    "cellrim labels alone": ("--save", "labels", "--no-report"),
    "cellrim labels of ten": ("--save", "labels", "--no-report"),
}
IMAGES = {"cellrim labels of ten": 10}
"""How many images there are, where there are several."""
GRIDS = {"stardist": 1, "stardist grid 2": 2}
NAMES = {grid: name for name, grid in GRIDS.items()}
RUNNERS: dict[str, Callable[[Path, Path], None]] = {
    "stardist": run_stardist,
    "stardist grid 2": lambda image, output: run_stardist(image, output, grid=2),
    "watershed": run_watershed,
}


if __name__ == "__main__":
    main()
