import sys
import threading
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from cellrim.errors import MissingExtraError, ModelError, UsageError
from cellrim.models.backend import default_threads
from cellrim.models.card import ONNX_NAME, read_card, sha256_of
from cellrim.models.onnx_runtime import OnnxBackend, available_providers
from cellrim.models.runtimes import open_backend


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
        OnnxBackend(tiny_model, msgspec.structs.replace(card, sha256=sha256_of(b"nothing")))


def test_a_network_with_other_maps(tmp_path, make_tiny_model):
    card = make_tiny_model(tmp_path / "m", outputs=3)
    with pytest.raises(ModelError, match=r"maps.*\(B, 4, H, W\)"):
        OnnxBackend(tmp_path / "m", card)


class FakeSession:
    """Keeps what it was asked for, and can use only some providers."""

    broken: tuple[str, ...] = ()
    raising: tuple[str, ...] = ()

    def __init__(self, data, options, *, providers):
        self.asked = providers
        names = [name for name, _ in providers]
        if set(names) & set(self.raising):
            raise RuntimeError("no driver")
        self._used = [name for name in names if name not in self.broken]

    def get_providers(self):
        return self._used

    def get_inputs(self):
        return [SimpleNamespace(name="x", type="tensor(float)", shape=["b", 3, "h", "w"])]

    def get_outputs(self):
        return [SimpleNamespace(name="maps", type="tensor(float)", shape=["b", 4, "h", "w"])]

    def run(self, _names, _feed):
        raise RuntimeError("out of memory")


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DML, COREML = "DmlExecutionProvider", "CoreMLExecutionProvider"


@pytest.fixture
def on(tiny_model, monkeypatch):
    """Open the tiny model on a machine whose ONNX Runtime has these providers."""
    import onnxruntime

    def opened(device, *available, broken=(), raising=()):
        session = type("Session", (FakeSession,), {"broken": broken, "raising": raising})
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(available))
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        return OnnxBackend(tiny_model, read_card(tiny_model / "card.json"), device=device)

    return opened


@pytest.mark.parametrize(
    ("device", "available", "expected", "provider"),
    [
        ("auto", (CPU,), "cpu", CPU),
        ("auto", (CUDA, CPU), "cuda:0", CUDA),
        ("auto", (DML, CPU), "directml:0", DML),
        ("auto", (COREML, CPU), "cpu", CPU),
        ("cpu", (CUDA, DML, CPU), "cpu", CPU),
        ("cuda", (CUDA, CPU), "cuda:0", CUDA),
        ("cuda:3", (CUDA, CPU), "cuda:3", CUDA),
        ("directml:1", (DML, CPU), "directml:1", DML),
        ("coreml", (COREML, CPU), "coreml", COREML),
    ],
)
def test_the_device_that_is_asked_for(on, device, available, expected, provider):
    backend = on(device, *available)
    assert backend.device == expected
    (name, options), *rest = backend._session.asked
    assert name == provider
    assert options.get("device_id") == (expected.partition(":")[2] or None)
    assert rest == ([] if provider == CPU else [(CPU, {})])


def test_a_device_that_does_not_work(on):
    for failing in ({"broken": (CUDA,)}, {"raising": (CUDA,)}):
        assert on("auto", CUDA, CPU, **failing).device == "cpu"
        assert on("auto", CUDA, DML, CPU, **failing).device == "directml:0"
    with pytest.raises(ModelError, match=r"cuda:0 to work.*NVIDIA GPU.*onnxruntime-gpu.*cpu"):
        on("cuda", CUDA, CPU, broken=(CUDA,))
    with pytest.raises(ModelError, match=r"on cuda:1: no driver"):
        on("cuda:1", CUDA, CPU, raising=(CUDA,))
    with pytest.raises(ModelError, match="out of memory"):
        on("directml", DML, CPU).predict(np.zeros((1, 3, 32, 32), np.float32))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", r"can use \(cpu, coreml\), but got cuda, which needs an NVIDIA GPU"),
        ("directml", "onnxruntime-directml"),
        (
            "gpu",
            r"auto, cpu, cuda or cuda:N, directml or directml:N, coreml, openvino, but got 'gpu'",
        ),
        ("cuda:", "cuda:N"),
        ("cuda:one", "cuda:N"),
        ("cpu:0", "but got 'cpu:0'"),
    ],
)
def test_devices_that_are_not_there(on, device, message):
    with pytest.raises(UsageError, match=message):
        on(device, COREML, CPU)


def test_openvino_in_its_place(tiny_model):
    pytest.importorskip("openvino")
    card = read_card(tiny_model / "card.json")
    backend = open_backend(tiny_model, card, threads=1, device="openvino")
    reference = open_backend(tiny_model, card, threads=1, device="cpu")
    assert isinstance(reference, OnnxBackend)
    assert (backend.threads, backend.precision in ("bf16", "f32")) == (1, True)
    assert (backend.device, reference.device) == ("openvino", "cpu")
    for shape in ((1, 3, 32, 64), (2, 3, 64, 32)):
        batch = np.random.default_rng(0).random(shape).astype(np.float32)
        expected = reference.predict(batch)
        for maps in (backend.predict(batch), _in_a_thread(backend, batch)):
            assert maps.dtype == np.float32
            np.testing.assert_allclose(maps, expected, atol=0.2)
    with pytest.raises(ModelError, match="Expected"):
        backend.predict(np.zeros((1, 3, 33, 32), np.float32))
    with pytest.raises(ModelError, match="thread"):
        open_backend(tiny_model, card, threads=0, device="openvino")
    broken = msgspec.structs.replace(card, sha256=sha256_of(b"nothing"))
    (tiny_model / ONNX_NAME).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no network that OpenVINO can run"):
        open_backend(tiny_model, broken, device="openvino")


def _in_a_thread(backend, batch):
    found = []
    thread = threading.Thread(target=lambda: found.append(backend.predict(batch)))
    thread.start()
    thread.join()
    return found[0]


def test_openvino_is_asked_for_where_it_is_not_installed(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"cellrim\[openvino\]"):
        open_backend(tiny_model, read_card(tiny_model / "card.json"), device="openvino")


def test_the_cpu_is_always_there(tiny_model):
    assert CPU in available_providers()
    card = read_card(tiny_model / "card.json")
    assert OnnxBackend(tiny_model, card, device="cpu").device == "cpu"


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
