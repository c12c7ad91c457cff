from __future__ import annotations

import onnxruntime
import pytest
import torch

from cellrim.models.card import ONNX_NAME
from cellrim.models.export import export_onnx
from cellrim.models.unet import UNet, UNetShape


@pytest.fixture(scope="session")
def run():
    """Compute the maps of an image with a network: its path, or its bytes."""

    def compute(network, image):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": image})[0]

    return compute


@pytest.fixture(scope="session")
def export():
    """Write a small network with random weights to a folder; returns it."""

    def write(folder):
        torch.manual_seed(1)
        model = UNet(UNetShape((32, 48), 8))
        model(torch.randn(4, 3, 64, 64))  # batch statistics that are not the initial ones
        export_onnx(model.eval(), folder / ONNX_NAME)
        return model

    return write
