from __future__ import annotations

import shutil
from itertools import count

import pytest

from cellrim.models.card import CARD_NAME, INT8_NAME, read_card, sha256_of
from cellrim.models.precision import INT8
from cellrim.prediction import load_model
from cellrim.training import finish
from cellrim.training.loop import CHECKPOINT
from cellrim.training.progress import Progress


def test_a_training_ends_with_a_twin(trained):
    _, folder, lines = trained
    assert read_card(folder / CARD_NAME).int8_sha256 == sha256_of((folder / INT8_NAME).read_bytes())
    assert load_model(folder, precision=INT8).backend.precision == INT8
    assert "int8, ranges of draw 1:" in lines


@pytest.mark.parametrize("loses", [False, True])
def test_what_the_surest_cell_must_have_costs_no_score(trained, copied, recipe, monkeypatch, loses):
    places, _ = copied
    shutil.copy(trained[0].run / CHECKPOINT, places.run)
    decoding = recipe.decode.model_copy(update={"surest": 0.75})
    if loses:  # every score is worse than the one before
        worse = count(9, -1)
        monkeypatch.setattr(finish, "overall", lambda _: {"score": next(worse)})
        monkeypatch.setattr(finish, "add_int8_twin", lambda *_, **__: None)
    lines = []
    folder = finish.finish(
        recipe.model_copy(update={"decode": decoding}), places, progress=Progress(say=lines.append)
    )
    assert any(line.startswith("no cells where none is surer than 0.75") for line in lines)
    card = read_card(folder / CARD_NAME)
    expected = 0 if loses else card.calibration.undo(0.75)
    assert card.decode.min_surest == pytest.approx(expected)
