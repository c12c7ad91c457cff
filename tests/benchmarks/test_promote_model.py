from __future__ import annotations

import promote_model
import pytest

from cellrim.models.card import Replaced, read_card, write_card

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


def gains(monkeypatch, gain):
    found = Replaced(sha256=OLD, views=8, score_before=0.7, score=0.7 + gain, standard_error=0.001)
    monkeypatch.setattr(promote_model, "compared", lambda *_: found)
    return found


def test_a_better_model_takes_the_place_and_says_so(models, monkeypatch):
    embedded, new = models
    found = gains(monkeypatch, 0.01)
    assert promote_model.main() == 0
    assert read_card(embedded / "card.json").replaced == found
    for name in ("model.onnx", "model.int8.onnx"):
        assert (embedded / name).read_bytes() == (new / name).read_bytes()


@pytest.mark.parametrize("gain", [0.0, -0.001])
def test_another_one_does_not(models, monkeypatch, gain):
    embedded, _ = models
    gains(monkeypatch, gain)
    assert promote_model.main() == 1
    assert read_card(embedded / "card.json").sha256 == OLD
    assert not (embedded / "model.int8.onnx").exists()


def test_one_that_was_not_measured_on_all_sets_does_not(models, monkeypatch, card_with):
    embedded, new = models
    gains(monkeypatch, 0.01)
    write_card(new / "card.json", card_with(name="general", sha256=NEW, validation={"mixed": {}}))
    assert promote_model.main() == 1
    assert read_card(embedded / "card.json").sha256 == OLD
