from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest

from cellrim.errors import ModelError, UsageError
from cellrim.models.card import CARD_NAME, INT8_NAME, ONNX_NAME, ModelCard, sha256_of, write_card
from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.precision import AUTO, FLOAT32, INT8
from cellrim.models.twin.quantise import quantise


def batches(count, seed):
    random = np.random.default_rng(seed)
    return [random.random((1, 3, 64, 64), np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def made(tmp_path_factory, export):
    """A folder with a network and its twin, and its card."""
    folder = tmp_path_factory.mktemp("model")
    model = export(folder)
    digest = quantise(folder, batches(8, seed=0), stride=model.shape.stride)
    card = ModelCard(
        name="made",
        version="1",
        created="",
        canonical_diameter=24,
        stride=model.shape.stride,
        halo=model.shape.halo,
        sha256=sha256_of((folder / ONNX_NAME).read_bytes()),
        int8_sha256=digest,
    )
    write_card(folder / CARD_NAME, card)
    return folder, card


def test_the_twin_computes_nearly_the_same(made):
    folder, card = made
    plain = OnnxBackend(folder, card, precision=FLOAT32)
    twin = OnnxBackend(folder, card, precision=INT8)
    assert (plain.precision, twin.precision) == (FLOAT32, INT8)
    for batch in batches(2, seed=7):
        a, b = plain.predict(batch), twin.predict(batch)
        assert not np.array_equal(a, b)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


def test_the_twin_holds_the_weights_of_its_network_rounded(made):
    folder, _ = made
    twin, network = (onnx.load(folder / name) for name in (INT8_NAME, ONNX_NAME))
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in twin.graph.initializer}
    halves = {w.name: onnx.numpy_helper.to_array(w) for w in network.graph.initializer}
    rounded = {
        name: weight
        for name, weight in constants.items()
        if name.endswith("_quantized") and weight.dtype == np.int8
    }
    assert len(rounded) > 5
    for name, weight in rounded.items():
        name = name.removesuffix("_quantized")
        step = constants[f"{name}_scale"].reshape(-1, 1, 1, 1)
        exact = halves[f"{name}_half"].astype(np.float32)
        assert np.all(np.abs(weight * step - exact) <= 0.501 * step)


def test_the_twin_is_only_taken_where_it_is_fast(made, monkeypatch):
    folder, card = made
    for fast, expected in ((True, INT8), (False, FLOAT32)):
        monkeypatch.setattr("cellrim.models.onnx_runtime.fast_at_int8", lambda fast=fast: fast)
        assert OnnxBackend(folder, card, precision=AUTO).precision == expected
        assert OnnxBackend(folder, card, precision=FLOAT32).precision == FLOAT32
        assert OnnxBackend(folder, card, precision=INT8).precision == INT8


def test_a_model_without_a_twin(made, monkeypatch):
    folder, card = made
    monkeypatch.setattr("cellrim.models.onnx_runtime.fast_at_int8", lambda: True)
    alone = msgspec.structs.replace(card, int8_sha256=None)
    assert OnnxBackend(folder, alone, precision=AUTO).precision == FLOAT32
    with pytest.raises(ModelError, match=r"Expected a model with model\.int8\.onnx"):
        OnnxBackend(folder, alone, precision=INT8)


def test_a_twin_that_is_another_one_is_refused(made):
    folder, card = made
    other = msgspec.structs.replace(card, int8_sha256="0" * 64)
    with pytest.raises(ModelError, match=r"model\.int8\.onnx.*sha256"):
        OnnxBackend(folder, other, precision=INT8)


def test_a_runtime_that_cannot_read_the_twin_takes_the_network(made, tmp_path, monkeypatch):
    folder, card = made
    monkeypatch.setattr("cellrim.models.onnx_runtime.fast_at_int8", lambda: True)
    (tmp_path / ONNX_NAME).write_bytes((folder / ONNX_NAME).read_bytes())
    (tmp_path / INT8_NAME).write_bytes(b"of the future")
    changed = msgspec.structs.replace(card, int8_sha256=sha256_of(b"of the future"))
    assert OnnxBackend(tmp_path, changed, precision=AUTO).precision == FLOAT32
    with pytest.raises(ModelError, match="no network"):
        OnnxBackend(tmp_path, changed, precision=INT8)


def test_an_unknown_precision(made):
    folder, card = made
    with pytest.raises(UsageError, match="auto, float32, int8, but got 'int4'"):
        OnnxBackend(folder, card, precision="int4")


def test_a_twin_may_have_its_weights_from_a_file_beside_it(made, tmp_path):
    folder, card = made
    (tmp_path / ONNX_NAME).write_bytes((folder / ONNX_NAME).read_bytes())
    twin = onnx.load(folder / INT8_NAME)
    path = tmp_path / INT8_NAME
    onnx.save(twin, path, save_as_external_data=True, location="weights", size_threshold=1024)
    assert (tmp_path / "weights").stat().st_size > path.stat().st_size
    changed = msgspec.structs.replace(card, int8_sha256=sha256_of(path.read_bytes()))
    parted = OnnxBackend(tmp_path, changed, precision=INT8)
    (batch,) = batches(1, seed=7)
    whole = OnnxBackend(folder, card, precision=INT8)
    np.testing.assert_array_equal(parted.predict(batch), whole.predict(batch))
