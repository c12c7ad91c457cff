"""Training speed of networks of several sizes: patches a second, forward and backward, no data.

Usage: python benchmarks/training_speed.py

Then the default network with rounded numbers (``[training] rounded``; rounding the weights anew for
each step takes no time that counts), and what a teacher adds (``[training] teacher``): the embedded
model's maps of the same patches, in torch and as ``training/teacher.py`` draws them. Run it with
nothing else on the machine; medians of several steps of 16 patches of 192x192.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from cellrim.models.registry import find_model
from cellrim.models.restore import restore
from cellrim.models.unet import UNet, UNetShape
from cellrim.training.loop import half_precision
from cellrim.training.rounding import Rounding
from cellrim.training.teacher import Teacher

SHAPES = (
    UNetShape((32, 64, 128, 256)),
    UNetShape((32, 64, 128, 192, 256)),
    UNetShape((32, 64, 128, 192, 256), half_out=True, first_block=False),
    UNetShape((48, 96, 160, 224, 256)),
)
BATCH, SIZE, STEPS = 16, 192, 6
CPU = torch.device("cpu")


def main() -> None:
    half = half_precision(CPU)
    image = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)

    def run(model: UNet) -> Tensor:
        with torch.autocast("cpu", half, enabled=half is not None):
            maps: Tensor = model(image)
        return maps

    for shape in SHAPES:
        model = UNet(shape)
        optimiser = torch.optim.AdamW(model.parameters())

        def step(model: UNet = model, optimiser: torch.optim.Optimizer = optimiser) -> None:
            optimiser.zero_grad()
            torch.autograd.backward(run(model).float().square().mean())
            optimiser.step()

        millions = sum(p.numel() for p in model.parameters()) / 1e6
        report(f"{shape}: {millions:.2f} M parameters", step)
        if shape == UNetShape():
            rounding = Rounding(model)
            rounding.on = True
            with rounding.weights():
                report("the same, rounded", step)
    network = restore(find_model("general")).requires_grad_(False)
    report("teacher, in torch", lambda: run(network))
    teacher = Teacher("general", CPU, half)
    report("teacher, as users run it", lambda: teacher.draw(image, 0))


def report(name: str, step: Callable[[], object]) -> None:
    """Print how many patches a second a step of a batch gets through."""
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    print(f"{name}, {BATCH / statistics.median(times):.1f} patches/s")


if __name__ == "__main__":
    main()
