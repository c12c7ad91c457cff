"""What 100,000 plate images and a 100,000 x 100,000 slide cost, from measured figures.

``python benchmarks/scale_plan.py --measure`` measures on this machine (leave it alone meanwhile)
and writes ``benchmarks/scale_figures.json``; without ``--measure`` the figures there are turned
into the tables of ``docs/scale.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tifffile
from shared import cost_of_process

HERE = Path(__file__).parent
FIGURES = HERE / "scale_figures.json"
PLATE_IMAGES, PLATE_EDGE = 100_000, 1080
SLIDE_EDGE = 100_000
CORES = (2, 16, 96)


def measure(images: int) -> dict[str, object]:
    """Measure a folder of plate images and one streamed image, both with the default model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plate = _measure_plate(folder, images)
        command = [sys.executable, HERE / "big_image.py", "--edge", "4096", "--model", "general"]
        done = subprocess.run(
            [*map(str, command), "--folder", str(folder / "big")],
            check=True,
            capture_output=True,
            text=True,
        )
        slide = json.loads(done.stdout)
    return {
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[2],
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "plate": plate,
        "slide": slide,
    }


def _measure_plate(folder: Path, images: int) -> dict[str, float]:
    from cellrim.samples.make import draw

    pixels, _ = draw()
    times = [-(-PLATE_EDGE // n) for n in pixels.shape]
    field = np.tile(pixels, times)[:PLATE_EDGE, :PLATE_EDGE]
    (folder / "in").mkdir()
    for number in range(images):
        tifffile.imwrite(folder / "in" / f"{number:04d}.tif", np.roll(field, number * 37, axis=1))
    output = ["-o", str(folder / "out"), "--save", "labels,cells"]
    cost = cost_of_process("segment", str(folder / "in"), *output)
    size = sum(p.stat().st_size for p in (folder / "out").iterdir())
    return {
        "images": images,
        "cpu_s_per_image": cost.cpu / images,
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "input_bytes": float((folder / "in" / "0000.tif").stat().st_size),
        "output_bytes": size / images,
    }


def plan(figures: dict[str, object]) -> str:
    """Turn figures into the tables."""
    plate, slide = figures["plate"], figures["slide"]
    assert isinstance(plate, dict)
    assert isinstance(slide, dict)
    pixels = SLIDE_EDGE**2
    per_megapixel = sum(slide["cpu_s_per_mpx"].values())
    jobs = {
        f"{PLATE_IMAGES:,} plate images of {PLATE_EDGE} x {PLATE_EDGE}": (
            PLATE_IMAGES * plate["cpu_s_per_image"] / 3600,
            plate["peak_mb"],
            PLATE_IMAGES * plate["input_bytes"],
            PLATE_IMAGES * plate["output_bytes"],
            0.0,
        ),
        f"one slide of {SLIDE_EDGE:,} x {SLIDE_EDGE:,}": (
            pixels / 1e6 * per_megapixel / 3600,
            slide["peak_mb"],
            pixels * slide["bytes_per_px"]["image"],
            pixels * slide["bytes_per_px"]["labels"],
            pixels * slide["bytes_per_px"]["unfinished"],
        ),
    }
    spread = " | ".join(f"on {n} cores" for n in CORES)
    lines = [
        f"Measured {figures['measured']} on {figures['machine']}, {figures['cpus']} CPUs, "
        f"load before {figures['load_before']:.1f}.",
        "",
        f"| job | core-hours | {spread} | MB a worker | image GB | results GB | meanwhile GB |",
        "|---|---|" + "---|" * len(CORES) + "---|---|---|---|",
    ]
    for name, (hours, memory, image, results, meanwhile) in jobs.items():
        each = " | ".join(f"{hours / n:.1f} h" for n in CORES)
        sizes = " | ".join(f"{size / 1e9:.1f}" for size in (image, results, meanwhile))
        total = f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}"
        lines.append(f"| {name} | {total} | {each} | {memory:.0f} | {sizes} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or print the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--images", type=int, default=16)
    asked = parser.parse_args()
    if asked.measure:
        FIGURES.write_text(json.dumps(measure(asked.images), indent=2) + "\n")
    if not FIGURES.exists():
        sys.exit(f"{FIGURES} is missing: run with --measure on a machine that does nothing else.")
    print(plan(json.loads(FIGURES.read_text())))


if __name__ == "__main__":
    main()
