from __future__ import annotations

from dataclasses import replace

import pytest

from cellrim.models.card import CARD_NAME, INT8_NAME, read_card, sha256_of
from cellrim.models.precision import INT8
from cellrim.prediction import load_model
from cellrim.training import twins
from cellrim.training.store import read_index
from cellrim.training.twins import add_int8_twin
from cellrim.training.validate import SetScore


def reached(*values):
    """Sets a, b, ... of these mAPs."""
    return [
        SetScore(name, 1, {"ap50": v, "map": v, "dice": v, "iou": v}, boxes=False)
        for name, v in zip("abc", values, strict=False)
    ]


@pytest.mark.parametrize(
    ("draws", "made", "kept"),
    [
        # The second has the higher mean, the third the smaller worst loss.
        ([reached(0.8, 0.5), reached(0.9, 0.68), reached(0.81, 0.69)], 3, 2),
        # The second loses little anywhere: no more are made.
        ([reached(0.8, 0.5), reached(0.796, 0.7), reached(0.8, 0.7)], 2, 1),
    ],
)
def test_the_twin_that_loses_least_where_it_loses_most_is_kept(
    copied, recipe, monkeypatch, draws, made, kept
):
    places, folder = copied
    seen = []

    def score(*_):
        seen.append((folder / INT8_NAME).read_bytes())
        return iter(draws[len(seen) - 1])

    monkeypatch.setattr(twins, "_reached", score)
    decoding = recipe.decode.model_copy(update={"int8_patches": 2, "int8_draws": 3})
    drawn = recipe.model_copy(update={"decode": decoding})
    lines = []
    index = read_index(places.packed_folder)
    card = add_int8_twin(folder, drawn, places, index, sets=reached(0.8, 0.7), say=lines.append)
    assert len(lines) == 2 * made
    assert len(set(seen)) == made  # each has ranges of its own
    assert lines[1].endswith("at most 0.2000 of the mAP of a set")
    assert (folder / INT8_NAME).read_bytes() == seen[kept]
    assert card.int8_sha256 == sha256_of(seen[kept])
    assert load_model(folder, precision=INT8).backend.precision == INT8


def test_a_twin_is_judged_for_as_long_as_it_may_be_the_best(copied, recipe, monkeypatch):
    places, folder = copied
    judged = []

    def score(*_):
        for number, value in enumerate((0.8, 0.5, 0.7) if not judged else (0.5, 0.7, 0.7)):
            judged.append("abc"[number])
            yield SetScore("abc"[number], 1, {"ap50": 0.7, "map": value}, boxes=False)

    monkeypatch.setattr(twins, "_reached", score)
    monkeypatch.setattr(twins, "overall", lambda _: {"score": 0.7})
    decoding = recipe.decode.model_copy(update={"int8_patches": 2, "int8_draws": 2})
    index = read_index(places.packed_folder)
    lines = []
    add_int8_twin(
        folder,
        recipe.model_copy(update={"decode": decoding}),
        places,
        index,
        sets=reached(0.8, 0.7, 0.7),
        say=lines.append,
    )
    assert "".join(judged) == "abc" + "a"
    assert lines[-1] == "  loses 0.3000 of the mAP of a: not the best"


def test_a_twin_that_loses_accuracy_is_not_kept(copied, recipe):
    places, folder = copied
    index = read_index(places.packed_folder)
    lines = []
    sets = [
        replace(s, values={**s.values, "ap50": 9.0})
        for s in twins._reached(load_model(folder), places, index)
    ]
    card = add_int8_twin(folder, recipe, places, index, sets=sets, say=lines.append)
    assert card == read_card(folder / CARD_NAME)
    assert card.int8_sha256 is None
    assert not (folder / INT8_NAME).exists()
    assert "no model.int8.onnx" in lines[-1]
