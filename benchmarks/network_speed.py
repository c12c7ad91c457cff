"""Ways to run the network: ONNX Runtime or OpenVINO, fp32, bf16 or int8; time and accuracy.

Usage: CELLRIM_DATA=path/to/data python benchmarks/network_speed.py [--model general] [--diameter]
           [--calibration 48] [--per-set N] [--rounds 9] [--keep FOLDER] [--only NAMES] [--quick]

CPU-seconds (user and system, one thread) per megapixel of network input, medians of runs in turn;
then mAP on every validation set through the whole predictor, and the largest loss against fp32,
which may be 0.005. "int8" is the model's own twin, whose outermost layers stay in float32; other
twins spare more or less (SPARED; ranges from real training images at the canonical scale). Those of
OpenVINO are as they were quantised, without the rewriting that is for ONNX Runtime.
``--quick`` only shows that everything runs: small tiles, one round, one image of two sets; its
numbers mean nothing. Extras ``bench`` and ``train``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from shared import Table, by_set, interleaved, recipe_samples, score_set, truth_of

from cellrim.core.labels import median_diameter
from cellrim.core.normalise import measure_range, normalise, to_network
from cellrim.core.resize import resize, scaled_shape
from cellrim.datasets.base import Sample
from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.registry import ModelFolder, find_model
from cellrim.models.twin.quantise import OUTERMOST, float_weights, quantise, rewritten
from cellrim.prediction import Segmenter
from cellrim.prediction.segmenter import DEFAULT_TILE

EDGE = 512
MOST_LOST = 0.005
SEED = 0
_TILE = 256
# Name of a twin to the beginnings of the names of the nodes that stay in float32 in it.
SPARED = {
    "int8": OUTERMOST,
    "int8 but the finest layers": (
        *("/rim/", "/stem/", "/down.0/"),
        *("/to_rim/", "/shuffle/", "/Add_4", "/refine/", "/head/"),
    ),
    "int8 but the first and last layer": ("/rim/", "/head/"),
    "int8 everywhere": (),
}

Batch = NDArray[np.float32]


class Backend(Protocol):
    def predict(self, batch: Batch) -> Batch: ...


def main() -> None:
    options = arguments()
    folder = find_model(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        keep = options.keep or Path(scratch)
        backends = make_backends(folder, keep, options)
        print(processor())
        speed(backends, options)
        accuracy(backends, folder, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="general")
    parser.add_argument("--diameter", action="store_true", help="give the true median diameter")
    parser.add_argument("--calibration", type=int, default=48, help="training images for int8")
    parser.add_argument("--per-set", type=int, help="validation images of each set; all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep", type=Path, help="folder to keep the networks in")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    options = parser.parse_args()
    options.edge, options.sets = EDGE, None
    if options.quick:
        options.edge, options.rounds, options.calibration = 128, 1, 3
        options.sets, options.per_set, options.diameter = 2, 1, True
    return options


def make_backends(
    folder: ModelFolder, keep: Path, options: argparse.Namespace
) -> dict[str, Backend]:
    plain = keep / "fp32.onnx"
    if not plain.is_file():
        keep.mkdir(parents=True, exist_ok=True)
        onnx.save(float_weights(onnx.load(folder.network)), plain)
    makers: dict[str, Any] = {
        "ONNX Runtime fp32": lambda: Onnx(folder.network),
        "ONNX Runtime int8": lambda: Onnx(folder.path / INT8_NAME),
        "OpenVINO fp32": lambda: OpenVino(plain, "f32"),
        "OpenVINO bf16": lambda: OpenVino(plain, "bf16"),
    }
    twin = partial(twin_of, folder, keep, calibration=options.calibration)
    for name in [n for n in SPARED if n != "int8"]:
        makers[f"ONNX Runtime {name}"] = partial(onnx_twin, twin, name)
    for name in ("int8", "int8 everywhere"):
        makers[f"OpenVINO {name}"] = partial(openvino_twin, twin, name)
    wanted = [n for n in options.only.split(",") if n] or list(makers)
    backends: dict[str, Backend] = {}
    for name in wanted:
        try:
            backends[name] = makers[name]()
        except (ImportError, NotHereError) as error:
            print(f"left out: {name}: {error}")
    return backends


# ------------------------------------------------------------------ calibrate


def twin_of(
    folder: ModelFolder, keep: Path, name: str, *, calibration: int, plain: bool = False
) -> Path:
    """Make a twin, unless it is there; return its file. A plain one is as it was quantised."""
    path = keep / f"{name}{' plain' * plain}".replace(" ", "-") / INT8_NAME
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder.network, path.with_name(ONNX_NAME))
        batches = calibration_batches(folder, calibration)
        quantise(
            path.parent,
            batches,
            stride=folder.card.stride,
            spared=SPARED[name],
            rewrite=(lambda made, _: made) if plain else rewritten,
        )
    return path


def onnx_twin(twin: Callable[..., Path], name: str) -> Onnx:
    return Onnx(twin(name))


def openvino_twin(twin: Callable[..., Path], name: str) -> OpenVino:
    return OpenVino(twin(name, plain=True), "f32")


def calibration_batches(folder: ModelFolder, count: int) -> Iterator[Batch]:
    """Training images, drawn evenly over the sets, at the canonical scale: one tile of each."""
    rng = np.random.default_rng(SEED)
    groups = list(by_set(recipe_samples("train")).values())
    for number in range(count):
        group = groups[number % len(groups)]
        yield one_tile(group[int(rng.integers(len(group)))], folder, rng)


def one_tile(sample: Sample, folder: ModelFolder, rng: np.random.Generator) -> Batch:
    pixels = sample.read_image().pixels
    diameter = median_diameter(truth_of(sample).labels)
    factor = folder.card.canonical_diameter / diameter if diameter > 0 else 1.0
    size = scaled_shape((pixels.shape[0], pixels.shape[1]), factor)
    small = to_network(resize(normalise(pixels, measure_range(pixels)), size))
    pad = [(0, max(0, _TILE - n)) for n in size]
    small = np.pad(small, (*pad, (0, 0)), mode="symmetric")
    y, x = (int(rng.integers(n - _TILE + 1)) for n in small.shape[:2])
    tile = small[y : y + _TILE, x : x + _TILE]
    return np.ascontiguousarray(np.moveaxis(tile, 2, 0)[np.newaxis], dtype=np.float32)


# ------------------------------------------------------------------ backends


class NotHereError(Exception):
    """This machine cannot run it."""


class Onnx:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, batch: Batch) -> Batch:
        return self._session.run(None, {"image": batch})[0]


class OpenVino:
    def __init__(self, path: Path, precision: str) -> None:
        import openvino

        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in able:
            raise NotHereError(f"this processor has no fast bf16, only {', '.join(able)}")
        self._model = core.compile_model(
            core.read_model(path),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": 1,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": precision,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )

    def predict(self, batch: Batch) -> Batch:
        return np.array(self._model(batch)[0], np.float32)


# ------------------------------------------------------------------ measure


def processor() -> str:
    """What OpenVINO calls this processor, and the arithmetic it is fast at."""
    try:
        import openvino
    except ImportError:
        return "OpenVINO is not installed"
    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return f"{core.get_property('CPU', 'FULL_DEVICE_NAME')}, {', '.join(able)}"


def speed(backends: dict[str, Backend], options: argparse.Namespace) -> None:
    batch = np.random.default_rng(SEED).random((1, 3, options.edge, options.edge), np.float32)
    works = {name: (lambda b=b: b.predict(batch)) for name, b in backends.items()}
    spent = interleaved(works, rounds=options.rounds)
    slowest = next(iter(spent.values()))
    table = Table("network", "CPU-s/MP", "s/MP", "times as fast as the first")
    for name, cost in spent.items():
        megapixels = options.edge**2 / 1e6
        table.row(name, cost.cpu / megapixels, cost.wall / megapixels, slowest.cpu / cost.cpu)
    print()


def accuracy(
    backends: dict[str, Backend], folder: ModelFolder, options: argparse.Namespace
) -> None:
    segmenters = {n: Segmenter(b, folder.card, tile_size=DEFAULT_TILE) for n, b in backends.items()}
    table = Table("set", "images", *segmenters)
    lost = dict.fromkeys(segmenters, 0.0)
    sets = list(by_set(recipe_samples("validation")).items())[: options.sets]
    for name, members in sets:
        members = members[: options.per_set]
        reached = {
            title: score_set(segmenter, members, told=options.diameter).map
            for title, segmenter in segmenters.items()
        }
        first = next(iter(reached.values()))
        lost = {n: max(lost[n], first - reached[n]) for n in lost}
        table.row(name, len(members), *reached.values())
    table.row("most lost", "", *lost.values())
    table.row(
        f"at most {MOST_LOST}", "", *("yes" if v <= MOST_LOST else "no" for v in lost.values())
    )


if __name__ == "__main__":
    main()
