import threading

import pytest

from cellrim.errors import ModelError
from cellrim.server import models as module
from cellrim.server.models import Models


def test_get_loads_once_and_shares(tiny_model):
    models = Models((tiny_model,))
    found = []
    threads = [threading.Thread(target=lambda: found.append(models.get("tiny"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(segmenter) for segmenter in found}) == 1


@pytest.mark.parametrize("name", ["none", "", "../tiny", "/", "models/tiny"])
def test_names_are_never_paths(tiny_model, monkeypatch, name):
    monkeypatch.chdir(tiny_model.parent)
    with pytest.raises(ModelError, match="Expected one of the models general, tiny"):
        Models((tiny_model,)).get(name)


def test_the_least_used_is_let_go(tmp_path, make_tiny_model, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOADED", 2)
    models = Models()
    for name in ("a", "b", "c"):
        make_tiny_model(tmp_path / name, name=name)
        models.add(tmp_path / name)
    a, b = models.get("a"), models.get("b")
    assert models.get("a") is a
    models.get("c")
    assert models.get("a") is a
    assert models.get("b") is not b


def test_a_new_model_of_the_same_name_is_used_from_now_on(tmp_path, make_tiny_model):
    make_tiny_model(tmp_path / "1")
    make_tiny_model(tmp_path / "2", version="2")
    models = Models((tmp_path / "1",))
    before = models.get("tiny")
    assert models.add(tmp_path / "2").version == "2"
    assert models.get("tiny") is not before
    assert models.cards()["tiny"].version == "2"


def test_a_removed_model_is_gone(tiny_model):
    models = Models((tiny_model,))
    models.get("tiny")
    for _ in range(2):
        models.remove("tiny")
        assert "tiny" not in models.cards()
    with pytest.raises(ModelError, match="Expected one of the models general, but"):
        models.get("tiny")


def test_models_run_where_they_are_asked_to(tiny_model, monkeypatch):
    asked = []
    real = module.load_model

    def load_model(folder, **more):
        asked.append(more)
        return real(folder, threads=1, device="cpu")

    monkeypatch.setattr(module, "load_model", load_model)
    models = Models((tiny_model,), threads=3, device="cuda:1", precision="float32")
    assert models.device is None
    models.get("tiny")
    assert asked == [{"threads": 3, "device": "cuda:1", "precision": "float32"}]
    assert models.device == "cpu"  # where it runs, not where it was to run


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError):
        Models((tmp_path,))
