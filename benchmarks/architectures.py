"""Architectures compared: cost (counted and timed) against accuracy after the same training.

Usage, with CELLRIM_DATA set (``train`` extra):

    python benchmarks/architectures.py --packed FOLDER --out FOLDER [--patches 8000] [--only base]
    python benchmarks/architectures.py --cost

The first trains each variant of benchmarks/networks.py in the product's loop, on the same patches,
and scores it on the held-back images at their true diameter with the card's decode options. It
goes on where it was stopped and writes OUT/table.md.
The second only counts and times. TFLOP (two for a multiply-add) and CPU-seconds (ONNX Runtime,
one thread, variants in turn, in float32 and as the twin in 8-bit integers) are per megapixel at the
canonical scale; the cap is 0.35 TFLOP.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trial
from networks import VARIANTS, Supervised
from numpy.typing import NDArray
from shared import Table, interleaved
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.export import export_onnx
from cellrim.models.twin.quantise import quantise
from cellrim.training.loop import Trainer
from cellrim.training.losses import Losses, map_loss

CAP = 0.35
EDGE, PATCH = 512, 128
ROUNDS = 5
# Weight of the loss of each coarser level, as the level above it (Lee et al., AISTATS 2015).
SIDE_WEIGHT = 0.5
TFLOP, CPU, MILLIONS = "TFLOP/MP", "CPU-s/MP", "M parameters"
INT8 = "int8 CPU-s/MP"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    if "--cost" in sys.argv:
        parser.add_argument("--cost", action="store_true")
        parser.add_argument("--only", default="")
        show_costs(trial.chosen(VARIANTS, parser.parse_args().only))
        return
    trial.add_arguments(parser)
    options = parser.parse_args()
    names = trial.chosen(VARIANTS, options.only)
    results = {name: compare(name, options) for name in names}
    cost = costs(names)
    table = Table("variant", MILLIONS, TFLOP, CPU, INT8, "AP50", "AP75", "AP90", "mAP", "patches")
    for name, result in results.items():
        mean = result.sets["mean"]
        table.row(name, *cost[name].values(), *(mean[m] for m in trial.METRICS), result.patches)
    print()
    by_set = trial.table_by_set(results, ())
    trial.write_table(table, options.out / "table.md")
    trial.write_table(by_set, options.out / "by_set.md")


class VariantTrainer(Trainer):
    """The product's loop with another network."""

    def __init__(self, name: str, *arguments: Any, **options: Any) -> None:
        self._name = name
        super().__init__(*arguments, **options)

    def _make_network(self) -> Any:
        return VARIANTS[self._name]()

    def _losses(self, maps: Tensor, kind: Tensor, target: Tensor) -> Losses:
        losses = super()._losses(maps, kind, target)
        if not isinstance(self.model, Supervised):
            return losses
        total = losses.total
        for level, side in enumerate(sorted(self.model.side, key=lambda s: -s.shape[2]), start=1):
            step = maps.shape[2] // side.shape[2]
            part = slice(step // 2, None, step)
            coarse = map_loss(
                side, kind[:, part, part], target[:, :, part, part], self.recipe.training
            )
            total = total + SIDE_WEIGHT**level * coarse.total
        return Losses(total, losses.foreground, losses.flow, losses.diameter)


def compare(name: str, options: Any) -> trial.Scored:
    """Train and score one variant, or read its result."""
    limits = trial.limits_of(options)
    return trial.compare(
        name,
        options,
        lambda recipe, index: VariantTrainer(name, recipe, options.packed, index, limits=limits),
    )


# ------------------------------------------------------------------ cost


def show_costs(names: dict[str, Any]) -> None:
    table = Table("variant", MILLIONS, TFLOP, CPU, INT8, f"within {CAP}")
    for name, cost in costs(names).items():
        table.row(name, *cost.values(), "yes" if cost[TFLOP] <= CAP else "no")


def costs(names: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Parameters, arithmetic and CPU time of each variant."""
    works: dict[tuple[str, str], Any] = {}
    batch = np.random.default_rng(0).random((1, 3, EDGE, EDGE), np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            network = VARIANTS[name]()
            export_onnx(network, folder / ONNX_NAME)
            # Ranges of noise: times do not depend on them.
            quantise(folder, [batch[..., :PATCH, :PATCH]], stride=network.shape.stride)
            works[name, CPU] = runner(folder / ONNX_NAME, batch)
            works[name, INT8] = runner(folder / INT8_NAME, batch)
        spent = interleaved(works, rounds=ROUNDS)
    megapixels = EDGE**2 / 1e6
    return {
        name: {
            MILLIONS: sum(p.numel() for p in VARIANTS[name]().parameters()) / 1e6,
            TFLOP: tflop(VARIANTS[name]()),
            **{kind: spent[name, kind].cpu / megapixels for kind in (CPU, INT8)},
        }
        for name in names
    }


def runner(path: Path, batch: NDArray[np.float32]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": batch})


def tflop(model: nn.Module) -> float:
    """Counted on shapes alone, without computing anything."""
    with torch.device("meta"):
        image = torch.empty(1, 3, EDGE, EDGE)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.to("meta").eval()(image)
    return counter.get_total_flops() / 1e12 / (EDGE**2 / 1e6)


if __name__ == "__main__":
    main()
