from __future__ import annotations

from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
import torch

from cellrim.errors import ModelError
from cellrim.models.card import CARD_NAME, ONNX_NAME, ModelCard, sha256_of, write_card
from cellrim.models.export import export_onnx
from cellrim.models.registry import find_model
from cellrim.models.restore import measure_statistics, restore
from cellrim.models.unet import TorchBackend, UNet, UNetShape

ARCHITECTURE = {"widths": [8, 12], "rim": 8}


@pytest.fixture(params=product((False, True), repeat=3), ids=str)
def shape(request):
    return UNetShape((8, 12), 8, *request.param)


@pytest.fixture
def model(shape):
    """A network whose normalisations have seen something."""
    torch.manual_seed(0)
    network = UNet(shape)
    for _ in range(5):
        network(torch.rand(4, 3, 32, 32) * 3)
    return network.eval()


@pytest.fixture
def save(model, tmp_path):
    """Write a model folder, with the architecture that the card is to state."""

    def write(architecture):
        export_onnx(model, tmp_path / ONNX_NAME)
        digest = sha256_of((tmp_path / ONNX_NAME).read_bytes())
        card = ModelCard(
            name="x",
            version="1",
            created="2026-01-01",
            architecture=architecture,
            canonical_diameter=24,
            stride=4,
            halo=16,
            sha256=digest,
        )
        write_card(tmp_path / CARD_NAME, card)
        return find_model(tmp_path)

    return write


def of(shape):
    return asdict(shape) | {"widths": list(shape.widths)}


def test_export_and_back(model, save):
    batch = np.random.default_rng(0).random((2, 3, 32, 40), np.float32)
    expected = TorchBackend(model).predict(batch)
    restored = restore(save(of(model.shape)))
    assert restored.shape == model.shape
    np.testing.assert_allclose(TorchBackend(restored).predict(batch), expected, atol=5e-3)


def test_statistics_change_nothing_but_what_training_sees(model, save):
    restored = restore(save(of(model.shape)))
    batches = [torch.rand(8, 3, 32, 32) for _ in range(4)]
    with torch.no_grad():
        before = restored(batches[0])
        measure_statistics(restored, batches)
        torch.testing.assert_close(restored.eval()(batches[0]), before, atol=1e-4, rtol=1e-3)
        # In training, a batch normalises itself: about the same as long as the statistics fit.
        for layer in restored.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 0.0
        seen = restored.train()(torch.cat(batches))
        mean = restored.eval()(torch.cat(batches))
    assert (seen - mean).abs().max() < 1e-2


def test_a_card_that_says_nothing_of_the_ends_means_full_ones(save, shape):
    if shape != UNetShape((8, 12), 8):
        with pytest.raises(ModelError, match=r"network of 13 convolutions|a kernel of"):
            restore(save(ARCHITECTURE))
    else:
        assert restore(save(ARCHITECTURE)).shape == shape


@pytest.mark.parametrize("shape", [UNetShape((8, 12), 8)], ids=["full ends"])
@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({}, "widths and the rim"),
        ({"widths": "many", "rim": 8}, "widths and the rim"),
        ({"widths": [8, 16], "rim": 8}, "Expected a kernel of"),
        ({"widths": [8, 12, 16], "rim": 8}, "convolutions"),
    ],
)
def test_a_card_that_does_not_fit_its_network(save, architecture, message):
    with pytest.raises(ModelError, match=message):
        restore(save(architecture))


def test_a_network_that_is_no_onnx(save):
    folder = save(ARCHITECTURE)
    folder.network.write_bytes(b"no network")
    with pytest.raises(ModelError, match="cannot be read"):
        restore(folder)
