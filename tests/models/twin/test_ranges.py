from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from cellrim.models.card import INT8_NAME, ONNX_NAME
from cellrim.models.twin.quantise import quantise
from cellrim.models.twin.ranges import (
    Fitted,
    activation_after,
    activation_into,
    ranges_of,
    with_moved,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, export):
    """A folder with a network and its twin."""
    folder = tmp_path_factory.mktemp("model")
    export(folder)
    quantise(folder, [patch()], stride=4)
    return folder


def patch():
    return np.random.default_rng(0).random((1, 3, 64, 64), np.float32)


def twin_in(folder):
    return onnx.load(folder / INT8_NAME)


def biases_in(folder):
    graph = onnx.load(folder / ONNX_NAME).graph
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
    return [constants[n.input[2]].astype(np.float32) for n in graph.node if n.op_type == "Conv"]


def test_a_twin_has_the_ranges_that_are_given(made):
    before = ranges_of(twin_in(made))
    narrower = {name: (0.5 * low, 0.5 * high) for name, (low, high) in before.items()}
    moved = [name for name in narrower if "Resize" in name or "DepthToSpace" in name]
    assert len(moved) == 2  # they follow from what they are made of
    given = {name: ends for name, ends in narrower.items() if name not in moved}
    quantise(made, [patch()], stride=4, fitted=Fitted(given, biases_in(made)))
    after = ranges_of(twin_in(made))
    assert after.keys() == before.keys()
    for name, ends in narrower.items():
        assert after[name] == pytest.approx(ends, rel=1e-5)


def test_a_twin_has_the_biases_that_are_given(made):
    biases = biases_in(made)
    others = [*biases[:-1], biases[-1] + np.float32(3)]
    maps = []
    for given in (biases, others):
        quantise(made, [patch()], stride=4, fitted=Fitted({}, given))
        maps.append(maps_of(made))
    np.testing.assert_allclose(maps[1], maps[0] + 3, atol=1e-4)


def maps_of(folder):
    session = onnxruntime.InferenceSession(folder / INT8_NAME, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": patch()})[0]


def test_activations_have_the_names_of_modules(made):
    network = onnx.load(made / ONNX_NAME)
    assert activation_after(network, "rim") == "/rim/rim.2/Relu_output_0"
    assert (
        activation_after(network, "down.1.shortcut") == "/down.1/shortcut/shortcut.0/Conv_output_0"
    )
    assert activation_after(network, "down.1") == "/down.1/Relu_output_0"
    assert activation_into(network, "up.0") == "/Add_output_0"


def test_what_is_moved_has_the_range_of_what_it_was():
    nodes = [
        helper.make_node("Conv", ["a"], ["b"]),
        helper.make_node("Resize", ["b"], ["c"]),
        helper.make_node("DepthToSpace", ["c"], ["d"]),
        helper.make_node("Resize", ["other"], ["e"]),
    ]
    ends = (-1.0, 2.0)
    assert with_moved(nodes, {"b": ends}) == {"b": ends, "c": ends, "d": ends}
