"""No cell where there is none. benchmarks/false_alarms.py does the same on more images."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.datasets.base import Truth
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.models.registry import embedded_models
from cellrim.prediction import load_model
from cellrim.training.background import background_crops

pytestmark = pytest.mark.skipif(not embedded_models(), reason="no model is embedded yet")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "false_alarms.py"
MOST_PER_MEGAPIXEL = 1.0
HELD_BACK = ("cho07", "cho12", "cho16", "cho17")


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("false_alarms", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_images_that_hold_nothing(model, benchmark):
    for name, images in benchmark.synthetic(np.random.default_rng(7), edge=160).items():
        for image in images:
            assert model.segment(image).count == 0, name


@pytest.fixture
def background(model, real_data):
    """Cells found in, and megapixels of, the background of two images of packed cells."""
    plain = real_data / "plain"
    cells = pixels = 0
    for name in ("kc167/{}/096.{}", "kc167/{}/095.{}"):
        image = read_image(plain / name.format("images", "png"))
        labels = read_labels(plain / name.format("labels", "tif"))
        for crop in background_crops(image, Truth(labels)):
            cells += model.segment(crop).count
            pixels += crop.shape[0] * crop.shape[1]
    assert pixels > 30_000
    return cells, pixels / 1e6


def test_background_between_real_cells_gets_no_worse(background):
    """Small crops with a piece of debris here and there: docs/channels.md."""
    cells, _ = background
    assert cells <= 1


def test_fields_without_a_cell(model, real_data):
    """Background of the four held-back images of bbbc030, some 400 pixels wide."""
    listing = open_dataset(real_data / "seed" / "BBBC030", "bbbc030")
    cells = pixels = 0
    for sample in listing.samples:
        if sample.name in HELD_BACK:
            for crop in background_crops(sample.read_image(), sample.read_truth()):
                cells += model.segment(crop).count
                pixels += crop.shape[0] * crop.shape[1]
    assert pixels > 2_000_000
    assert cells <= MOST_PER_MEGAPIXEL * pixels / 1e6
