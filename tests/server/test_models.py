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


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError):
        Models((tmp_path,))
