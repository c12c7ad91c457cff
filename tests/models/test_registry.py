from pathlib import Path

import pytest

from cellrim.errors import ModelError
from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.registry import embedded_models, find_model


@pytest.fixture
def root(tmp_path, make_tiny_model):
    for name in ("nuclei", "general"):
        make_tiny_model(tmp_path / "embedded" / name, name=name)
    (tmp_path / "embedded" / "no-model").mkdir()
    return tmp_path / "embedded"


def test_embedded_models_are_listed_by_name(root):
    assert list(embedded_models(root)) == ["general", "nuclei"]
    assert embedded_models(root / "nowhere") == {}


def test_by_name(root):
    found = find_model("nuclei", root=root)
    assert found.card.name == "nuclei"
    assert found.path == root / "nuclei"
    assert found.network.is_file()


def test_by_folder(root):
    assert find_model(root / "general", root=root / "nowhere").card.name == "general"
    assert find_model(str(root / "general"), root=root / "nowhere").card.name == "general"


def test_a_name_wins_over_a_folder_and_a_path_does_not(root, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "general").mkdir()
    assert find_model("general", root=root).path == root / "general"
    for path in ("./general", Path("general")):
        with pytest.raises(ModelError):
            find_model(path, root=root)


@pytest.mark.parametrize("name", ["generall", "", "no-model", "nowhere/general"])
def test_the_choices_are_listed_and_nothing_else_is_used(root, name):
    with pytest.raises(ModelError, match="general, nuclei"):
        find_model(name, root=root)


def test_whatever_ships_is_whole():
    for name in embedded_models():
        found = find_model(name)
        assert found.card.name == name
        OnnxBackend(found.path, found.card, threads=1)  # checks the hash and the shapes
