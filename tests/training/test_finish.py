from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count

import pytest

from cellrim.models.card import CARD_NAME, INT8_NAME, read_card, sha256_of
from cellrim.models.precision import INT8
from cellrim.prediction import load_model
from cellrim.training import finish
from cellrim.training.finish import add_int8_twin
from cellrim.training.loop import CHECKPOINT
from cellrim.training.progress import Progress
from cellrim.training.store import read_index


@pytest.fixture
def copied(trained, tmp_path):
    """The places of a training, with a model folder of its own."""
    places, folder, _ = trained
    shutil.copytree(folder, tmp_path / "model")
    return replace(places, run=tmp_path, packed=places.packed_folder), tmp_path / "model"


def test_a_training_ends_with_a_twin(trained):
    _, folder, lines = trained
    assert read_card(folder / CARD_NAME).int8_sha256 == sha256_of((folder / INT8_NAME).read_bytes())
    assert load_model(folder, precision=INT8).backend.precision == INT8
    assert "score in float32" in "\n".join(lines)


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


def test_of_several_twins_the_one_that_scores_highest_is_kept(copied, recipe, monkeypatch):
    places, folder = copied
    made = []

    def score(segmenter, *_):
        made.append((folder / INT8_NAME).read_bytes())
        return {1: 0.7, 2: 0.9, 3: 0.8}[len(made)]

    monkeypatch.setattr(finish, "_score", score)
    decoding = recipe.decode.model_copy(update={"int8_patches": 2, "int8_draws": 3})
    drawn = recipe.model_copy(update={"decode": decoding})
    lines = []
    index = read_index(places.packed_folder)
    card = add_int8_twin(folder, drawn, places, index, score=0.9, say=lines.append)
    assert len(lines) == len(set(made)) == 3  # each has ranges of its own
    assert (folder / INT8_NAME).read_bytes() == made[1]
    assert card.int8_sha256 == sha256_of(made[1])
    assert load_model(folder, precision=INT8).backend.precision == INT8


def test_a_twin_that_loses_accuracy_is_not_kept(copied, recipe, monkeypatch):
    places, folder = copied
    monkeypatch.setattr(finish, "LARGEST_INT8_LOSS", -1.0)  # everything loses more than that
    lines = []
    index = read_index(places.packed_folder)
    card = add_int8_twin(folder, recipe, places, index, say=lines.append)
    assert card == read_card(folder / CARD_NAME)
    assert card.int8_sha256 is None
    assert not (folder / INT8_NAME).exists()
    assert "no model.int8.onnx" in lines[-1]
