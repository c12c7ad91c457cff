from __future__ import annotations

import onnxruntime
import pytest


@pytest.fixture(scope="session")
def run():
    """Compute the maps of an image with a network: its path, or its bytes."""

    def compute(network, image):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": image})[0]

    return compute
