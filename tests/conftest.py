"""Fixtures that several rooms' tests share."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cellrim.models.card import ModelCard, sha256_of, write_card
from cellrim.representation.flow import encode


def make_card(**changes):
    values = {
        "name": "tiny",
        "version": "1",
        "created": "2026-01-01",
        "canonical_diameter": 16.0,
        "halo": 64,
        "sha256": "0" * 64,
    }
    return ModelCard.model_validate(values | changes)


def write_tiny_model(folder: Path, *, outputs: int = 4, name: str = "tiny", **changes) -> ModelCard:
    """Write a model folder whose network calls foreground what is brighter than half."""
    import onnx
    from onnx import TensorProto, helper

    weight = np.zeros((outputs, 3, 1, 1), np.float32)
    weight[0, 0] = 20
    bias = np.zeros(outputs, np.float32)
    bias[0] = -10
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["maps"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["b", outputs, "h", "w"])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel()),
            helper.make_tensor("b", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    card = make_card(name=name, sha256=sha256_of(data), **changes)
    write_card(folder / "card.json", card)
    return card


class OracleBackend:
    """Knows the truth: what is brighter than half is a cell, its maps are the encoded ones."""

    def __init__(self, canonical_diameter: float) -> None:
        self.canonical_diameter = canonical_diameter
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, batch):
        self.shapes.append(batch.shape)
        maps = []
        for pixels in batch:
            labels, _ = ndimage.label(pixels[0] > 0.5)
            maps.append(encode(labels.astype(np.int32), self.canonical_diameter))
        return np.stack(maps)


@pytest.fixture
def tiny_model(tmp_path) -> Path:
    """A model folder whose network calls foreground what is brighter than half."""
    folder = tmp_path / "models" / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture
def make_tiny_model():
    return write_tiny_model


@pytest.fixture
def card_with():
    return make_card


@pytest.fixture
def oracle():
    return OracleBackend


@pytest.fixture
def discs():
    """Make an image of bright discs on a dark ground: (shape, radius, spacing) to uint8."""

    def make(shape, radius, *, spacing=None, value=200, ground=10):
        spacing = spacing or 3 * radius
        y, x = np.mgrid[: shape[0], : shape[1]]
        dy = (y % spacing) - spacing / 2
        dx = (x % spacing) - spacing / 2
        inside = np.hypot(dy, dx) <= radius
        whole = (y // spacing < shape[0] // spacing) & (x // spacing < shape[1] // spacing)
        return np.where(inside & whole, value, ground).astype(np.uint8)

    return make
