import threading

import numpy as np
import pytest

from cellrim.errors import ModelError
from cellrim.models.backend import CPU, OnnxBackend, available_providers, default_threads
from cellrim.models.card import ONNX_NAME, read_card, sha256_of


@pytest.fixture
def backend(tiny_model):
    return OnnxBackend(tiny_model, read_card(tiny_model / "card.json"), threads=1)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 96), (2, 32, 320)])
def test_predicts_any_multiple_of_the_stride(backend, shape):
    count, height, width = shape
    batch = np.random.default_rng(0).random((count, 3, height, width)).astype(np.float32)
    maps = backend.predict(batch)
    assert maps.shape == (count, 4, height, width)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps[:, 0], 20 * batch[:, 0] - 10, atol=1e-4)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 32, 32)),
        np.zeros((1, 1, 32, 32), np.float32),
        np.zeros((3, 32, 32), np.float32),
        np.zeros((1, 3, 33, 32), np.float32),
    ],
)
def test_batches_that_do_not_fit(backend, batch):
    with pytest.raises(ModelError, match="Expected"):
        backend.predict(batch)


def test_not_a_number_is_an_error(backend):
    with pytest.raises(ModelError, match="NaN"):
        backend.predict(np.full((1, 3, 32, 32), np.nan, np.float32))


def test_a_changed_network_is_refused(tiny_model):
    card = read_card(tiny_model / "card.json")
    path = tiny_model / ONNX_NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="sha256"):
        OnnxBackend(tiny_model, card)
    path.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx"):
        OnnxBackend(tiny_model, card)


def test_a_file_that_is_no_network(tiny_model):
    card = read_card(tiny_model / "card.json")
    (tiny_model / ONNX_NAME).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no network"):
        OnnxBackend(tiny_model, card.model_copy(update={"sha256": sha256_of(b"nothing")}))


def test_a_network_with_other_maps(tmp_path, make_tiny_model):
    card = make_tiny_model(tmp_path / "m", outputs=3)
    with pytest.raises(ModelError, match=r"maps.*\(B, 4, H, W\)"):
        OnnxBackend(tmp_path / "m", card)


def test_providers(tiny_model):
    card = read_card(tiny_model / "card.json")
    assert CPU in available_providers()
    assert OnnxBackend(tiny_model, card).providers == (CPU,)
    with pytest.raises(ModelError, match="NoSuchProvider"):
        OnnxBackend(tiny_model, card, providers=("NoSuchProvider", CPU))


def test_threads(tiny_model, monkeypatch):
    card = read_card(tiny_model / "card.json")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert OnnxBackend(tiny_model, card).threads == 3
    assert OnnxBackend(tiny_model, card, threads=1).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert default_threads() >= 1
    with pytest.raises(ModelError, match="thread"):
        OnnxBackend(tiny_model, card, threads=0)


def test_one_thread_starts_no_others(tiny_model):
    before = threading.active_count()
    backend = OnnxBackend(tiny_model, read_card(tiny_model / "card.json"), threads=1)
    backend.predict(np.zeros((1, 3, 32, 32), np.float32))
    assert threading.active_count() == before
