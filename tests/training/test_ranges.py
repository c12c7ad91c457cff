from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
import torch

from cellrim.models.card import CARD_NAME, INT8_NAME, ONNX_NAME, read_card, sha256_of
from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.precision import FLOAT32, INT8
from cellrim.models.registry import find_model
from cellrim.models.restore import biases_of, restore
from cellrim.models.twin.quantise import quantise
from cellrim.models.twin.ranges import Fitted, ranges_of
from cellrim.training.crops import Crops
from cellrim.training.ranges import LearntRounding, _astray, _shares, activations_of, fit_twin
from cellrim.training.recipe import TrainingPart
from cellrim.training.store import read_index
from cellrim.training.twins import batch_of

STEPS = 60


@pytest.fixture
def crops(copied, recipe):
    places, _ = copied
    return Crops(recipe, places.packed_folder, read_index(places.packed_folder))


def quantised(folder, crops, fitted=None):
    """The twin's ranges, as measured on one patch, or as given."""
    card = read_card(folder / CARD_NAME)
    quantise(folder, [crops[0][np.newaxis]], stride=card.stride, fitted=fitted)
    return ranges_of(onnx.load(folder / INT8_NAME))


def drawn(folder, images, precision):
    digest = sha256_of((folder / INT8_NAME).read_bytes())
    card = msgspec.structs.replace(read_card(folder / CARD_NAME), int8_sha256=digest)
    return OnnxBackend(folder, card, precision=precision).predict(images.numpy())


def rms(difference):
    return float(np.sqrt(np.square(difference).mean()))


def test_a_twin_that_learns_comes_closer_to_its_network(copied, recipe, crops):
    _, folder = copied
    network = (folder / ONNX_NAME).read_bytes()
    measured = quantised(folder, crops)
    narrow = {name: (0.3 * low, 0.3 * high) for name, (low, high) in measured.items()}
    biases = [bias.detach().numpy() for bias in biases_of(restore(find_model(folder)))]
    images = batch_of(crops, 900)
    exact = drawn(folder, images, FLOAT32)
    lost = []
    for steps in (1, STEPS):
        before = quantised(folder, crops, Fitted(narrow, biases))
        batches = (batch_of(crops, number) for number in range(steps))
        fitted = fit_twin(folder, batches, steps, recipe.training)
        after = quantised(folder, crops, fitted)
        lost.append(rms(drawn(folder, images, INT8) - exact))
    assert lost[1] < 0.8 * lost[0]
    assert (folder / ONNX_NAME).read_bytes() == network
    assert after.keys() == before.keys()
    # What cannot be negative stays so.
    assert all((after[name][0] == 0) == (before[name][0] == 0) for name in before)
    for name, ends in fitted.ranges.items():
        assert after[name] == pytest.approx(ends, rel=1e-5)


def test_crops_that_are_further_off_count_more_and_cells_count_alone():
    taught = torch.full((2, 4, 32, 32), 0.5)
    taught[:, 0] = -20
    taught[:, 0, :8, :8] = 20
    drawn = taught.clone()
    drawn[0, 1, :8, :8] += 1
    drawn[1, 1, :8, :8] += 2
    drawn[:, 1:, 16:] += 9  # no cells there
    astray = _astray(drawn, taught, TrainingPart())
    assert astray[1] == pytest.approx(4 * astray[0].item(), rel=1e-3)
    assert _shares(astray).tolist() == pytest.approx([0.2, 0.8], rel=1e-3)
    assert _astray(taught, taught, TrainingPart()).tolist() == [0, 0]


def test_learnt_rounding_rounds_as_the_twin_does(copied, crops):
    _, folder = copied
    network = onnx.load(folder / ONNX_NAME)
    ranges = quantised(folder, crops)
    model = restore(find_model(folder))
    names = activations_of(model, network)
    rounding = LearntRounding(model, {point: ranges[name] for point, name in names.items()})
    assert {names[p]: pytest.approx(ends) for p, ends in rounding.ranges().items()} == {
        name: ranges[name] for name in names.values()
    }
    model.training = rounding.on = True
    images = batch_of(crops, 900)
    with torch.no_grad(), rounding.weights():
        rounded = model(images).numpy()
    exact, twin = (drawn(folder, images, precision) for precision in (FLOAT32, INT8))
    assert rms(rounded - twin) < 0.5 * rms(twin - exact)
