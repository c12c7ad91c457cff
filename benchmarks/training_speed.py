"""Training speed of networks of several sizes: patches a second, forward and backward, no data.

Usage: python benchmarks/training_speed.py

Run it with nothing else on the machine; the median of several steps of 16 patches of 192x192.
"""

from __future__ import annotations

import statistics
import time

import torch

from cellrim.models.unet import UNet, UNetShape
from cellrim.training.loop import half_precision

SHAPES = (
    UNetShape((32, 64, 128, 256)),
    UNetShape((32, 64, 128, 192, 256)),
    UNetShape((48, 96, 160, 224, 256)),
)
BATCH, SIZE, STEPS = 16, 192, 6


def main() -> None:
    half = half_precision(torch.device("cpu"))
    image = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    for shape in SHAPES:
        model = UNet(shape)
        optimiser = torch.optim.AdamW(model.parameters())
        times = []
        for _ in range(STEPS):
            begin = time.perf_counter()
            with torch.autocast("cpu", half, enabled=half is not None):
                maps = model(image)
            optimiser.zero_grad()
            torch.autograd.backward(maps.float().square().mean())
            optimiser.step()
            times.append(time.perf_counter() - begin)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        speed = BATCH / statistics.median(times)
        print(f"widths {shape.widths}: {millions:.2f} M parameters, {speed:.1f} patches/s")


if __name__ == "__main__":
    main()
