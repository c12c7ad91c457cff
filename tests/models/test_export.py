from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from cellrim.models.export import export_onnx, largest_difference
from cellrim.models.unet import TorchBackend, UNet, UNetShape


class Session:
    def __init__(self, path):
        self._session = onnxruntime.InferenceSession(path)

    def predict(self, batch):
        return self._session.run(None, {"image": batch})[0]


@pytest.fixture
def model():
    torch.manual_seed(1)
    model = UNet(UNetShape((16, 24), 8))
    model(torch.randn(4, 3, 32, 32))  # batch statistics that are not the initial ones
    return model.eval()


def test_onnx_agrees_with_torch_for_any_size(model, tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    random = np.random.default_rng(0)
    batches = [random.random((b, 3, h, w), np.float32) for b, h, w in ((1, 32, 32), (3, 64, 20))]
    difference = largest_difference(TorchBackend(model), Session(path), batches)
    assert max(difference.values()) < 0.01


def test_weights_take_two_bytes(model, tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    parameters = sum(p.numel() for p in model.parameters())
    assert path.stat().st_size < 2.2 * parameters + 12_000


def test_a_difference_is_seen(model):
    class Shifted(TorchBackend):
        def predict(self, batch):
            return super().predict(batch) + 0.5

    batch = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    difference = largest_difference(TorchBackend(model), Shifted(model), [batch])
    assert difference["probability"] > 0.01
