"""The product as a user meets it: the embedded model, real images, the README's own code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cellrim
from cellrim.datasets import open_dataset
from cellrim.datasets.splits import split
from cellrim.evaluation import count_boxes, count_image, scores
from cellrim.samples import make

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def model():
    return cellrim.load_model("general")


def test_the_python_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    assert (tmp_path / "labels.tif").is_file()
    assert (tmp_path / "overlay.png").is_file()


def test_the_sample_is_segmented_well(model):
    pixels, truth = make.draw()
    labels = model.segment(pixels, axes="YX").labels
    assert scores(count_image(labels, truth)).ap50 > 0.85


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((200, 300), np.uint8),
        np.full((200, 300), 255, np.uint8),
        np.full((64, 64, 3), 17, np.uint16),
        np.full((80, 80), np.nan, np.float32),
        np.random.default_rng(0).integers(0, 256, (300, 300)).astype(np.uint8),
        np.random.default_rng(1).normal(1000, 5, (256, 256)).astype(np.uint16),
        np.random.default_rng(2).random((150, 200, 3)).astype(np.float32),
    ],
    ids=["black", "saturated", "constant colour", "NaN", "noise", "16-bit noise", "colour noise"],
)
def test_there_is_no_cell_where_there_is_none(model, pixels):
    axes = "YX" if pixels.ndim == 2 else "YXC"
    assert model.segment(pixels, axes=axes).count == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (31, 33)])
def test_small_images_go_through(model, shape):
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert model.segment(pixels, axes="YX").labels.shape == shape


# Far below what the model card says, so that a new model passes; a broken pipeline does not.
FLOORS = {
    "seed/BBBC009": 0.75,
    "seed/BBBC030": 0.5,
    "plain/kc167": 0.5,
    "plain/usiigaci": 0.25,
    "plain/dsb2018": 0.5,
}


@pytest.mark.parametrize("path", FLOORS)
def test_held_back_real_images(model, real_data, path):
    _, held_back = split(open_dataset(real_data / path).samples)
    total = None
    for sample in held_back[:3]:
        truth = sample.read_truth()
        labels = model.segment(sample.read_image()).labels
        counts = count_image(labels, truth.labels, ignore=truth.ignore, boundaries=False)
        total = counts if total is None else total + counts
    assert scores(total).ap50 > FLOORS[path]


def test_held_back_boxes(model, real_data):
    _, held_back = split(open_dataset(real_data / "seed" / "BBBC041").samples)
    truth = held_back[0].read_truth()
    labels = model.segment(held_back[0].read_image()).labels
    counts = count_boxes(labels, truth.boxes, ignore=truth.ignore, ignore_border=True)
    assert scores(counts).f1 > 0.7


def test_a_folder_of_everything_with_one_broken_file(real_data, tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    chosen = [
        *sorted((real_data / "unlabelled" / "livecell").iterdir())[:2],
        *sorted((real_data / "unlabelled" / "corrupt").iterdir())[:1],
        *sorted((real_data / "seed").rglob("*_D_1UL.tif"))[:1],
        *sorted((real_data / "seed" / "sartorius" / "test").iterdir())[:1],
    ]
    for file in chosen:
        shutil.copyfile(file, images / file.name)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cellrim", "segment", str(images), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1, done.stderr
    broken = chosen[2].name
    assert broken in done.stderr + done.stdout
    record = json.loads((out / "run.json").read_text())
    assert record
    assert len(list(out.glob("*_labels.tif"))) == len(chosen) - 1
    assert len(list(out.glob("*_overlay.png"))) == len(chosen) - 1
    assert len(list(out.glob("*_cells.csv"))) == len(chosen) - 1
