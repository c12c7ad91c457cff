from __future__ import annotations

import numpy as np
import promote_model
import pytest
from orientations import Change
from promote_model import Scores

from cellrim.models.card import read_card, write_card

OLD, NEW = "0" * 64, "1" * 64


@pytest.fixture
def models(tmp_path, monkeypatch, card_with):
    """The folders of an embedded model and of a new one; the new one has an int8 twin."""
    embedded, new = tmp_path / "embedded" / "general", tmp_path / "new"
    for folder, sha256 in ((embedded, OLD), (new, NEW)):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_text(sha256)
        card = card_with(name="general", sha256=sha256, validation={"kc167": {"map": 0.5}})
        write_card(folder / "card.json", card)
    (new / "model.int8.onnx").write_text("twin")
    monkeypatch.setattr(promote_model, "EMBEDDED", embedded.parent)
    monkeypatch.setattr("sys.argv", ["promote_model.py", str(new)])
    return embedded, new


def changes(monkeypatch, gain, unseen=0.0):
    """Let the new model gain so much over all views, with a standard error of 0.001 each."""
    apart = 0.001 * np.sqrt(7) * np.array([1, -1] * 4)  # from view to view
    found = Scores(*(Change(np.full(8, 0.7), 0.7 + mean + apart) for mean in (gain, unseen)))
    assert found.held_back.gain == pytest.approx(gain)
    assert found.held_back.error == pytest.approx(0.001)
    monkeypatch.setattr(promote_model, "compare", lambda *_: found)


@pytest.mark.parametrize("unseen", [0.0, -0.0019, 0.01])
def test_a_better_model_takes_the_place_and_says_so(models, monkeypatch, unseen):
    embedded, new = models
    changes(monkeypatch, 0.0011, unseen)
    assert promote_model.main() == 0
    said = read_card(embedded / "card.json").replaced
    assert said.sha256 == OLD
    assert said.views == 8
    assert said.score - said.score_before == pytest.approx(0.0011)
    assert said.unseen - said.unseen_before == pytest.approx(unseen)
    for name in ("model.onnx", "model.int8.onnx"):
        assert (embedded / name).read_bytes() == (new / name).read_bytes()


@pytest.mark.parametrize(("gain", "unseen"), [(0.0009, 0.01), (-0.01, 0.01), (0.01, -0.0021)])
def test_another_one_does_not(models, monkeypatch, gain, unseen):
    embedded, _ = models
    changes(monkeypatch, gain, unseen)
    assert promote_model.main() == 1
    assert read_card(embedded / "card.json").sha256 == OLD
    assert not (embedded / "model.int8.onnx").exists()


def test_one_that_was_not_measured_on_all_sets_does_not(models, monkeypatch, card_with):
    embedded, new = models
    changes(monkeypatch, 0.01)
    write_card(new / "card.json", card_with(name="general", sha256=NEW, validation={"mixed": {}}))
    assert promote_model.main() == 1
    assert read_card(embedded / "card.json").sha256 == OLD


def test_another_card_of_the_same_network_need_not_gain(models, monkeypatch, card_with):
    embedded, new = models
    changes(monkeypatch, 0.0)
    card = card_with(
        name="general", sha256=OLD, validation={"kc167": {}}, limitations=("Said again.",)
    )
    write_card(new / "card.json", card)
    assert promote_model.main() == 0
    assert read_card(embedded / "card.json") == card
