from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cellrim.models.card import CARD_NAME, INT8_NAME, read_card, sha256_of
from cellrim.models.precision import FLOAT32, INT8
from cellrim.prediction import load_model
from cellrim.prediction.views import PLAIN, make_views
from cellrim.training import twins
from cellrim.training.store import read_index
from cellrim.training.twins import add_int8_twin
from cellrim.training.validate import SetScore, by_set, choose


def reached(*values):
    """Sets a, b, ... of these mAPs."""
    return [
        SetScore(name, 1, {"ap50": v, "map": v, "dice": v, "iou": v}, boxes=False)
        for name, v in zip("abc", values, strict=False)
    ]


def with_decoding(recipe, **changes):
    decoding = recipe.decode.model_copy(update=changes)
    return recipe.model_copy(update={"decode": decoding})


@pytest.mark.parametrize(
    ("draws", "made", "kept"),
    [
        # The second has the higher mean, the third the smaller worst loss.
        ([reached(0.8, 0.5), reached(0.9, 0.68), reached(0.81, 0.69)], 3, 2),
        # The second loses little anywhere: no more are made.
        ([reached(0.8, 0.5), reached(0.798, 0.7), reached(0.8, 0.7)], 2, 1),
        # As much as it may, and more than is sure: the third is made, and is better.
        ([reached(0.8, 0.5), reached(0.796, 0.7), reached(0.8, 0.7)], 3, 2),
    ],
)
def test_the_twin_that_loses_least_where_it_loses_most_is_kept(
    copied, recipe, monkeypatch, draws, made, kept
):
    places, folder = copied
    seen = []

    def score(segmenter, *_):
        if segmenter.backend.precision == FLOAT32:
            return iter(reached(0.8, 0.7))
        seen.append((folder / INT8_NAME).read_bytes())
        return iter(draws[len(seen) - 1])

    monkeypatch.setattr(twins, "_reached", score)
    drawn = with_decoding(recipe, int8_patches=2, int8_steps=2, int8_draws=3)
    lines = []
    index = read_index(places.packed_folder)
    card = add_int8_twin(folder, drawn, places, index, say=lines.append)
    assert len(lines) == 2 * made
    assert len(set(seen)) == made  # each has ranges of its own
    assert lines[1].endswith("at most 0.2000 of the mAP of a set")
    assert (folder / INT8_NAME).read_bytes() == seen[kept]
    assert card.int8_sha256 == sha256_of(seen[kept])
    assert load_model(folder, precision=INT8).backend.precision == INT8


def test_a_twin_is_judged_for_as_long_as_it_may_be_the_best(copied, recipe, monkeypatch):
    places, folder = copied
    judged = []

    def score(segmenter, *_):
        if segmenter.backend.precision == FLOAT32:
            yield from reached(0.8, 0.7, 0.7)
            return
        for number, value in enumerate((0.8, 0.5, 0.7) if not judged else (0.5, 0.7, 0.7)):
            judged.append("abc"[number])
            yield SetScore("abc"[number], 1, {"ap50": 0.7, "map": value}, boxes=False)

    monkeypatch.setattr(twins, "_reached", score)
    monkeypatch.setattr(twins, "overall", lambda _: {"score": 0.7})
    drawn = with_decoding(recipe, int8_patches=2, int8_steps=0, int8_draws=2)
    index = read_index(places.packed_folder)
    lines = []
    add_int8_twin(folder, drawn, places, index, say=lines.append)
    assert "".join(judged) == "abc" + "a"
    assert lines[-1] == "  loses 0.3000 of the mAP of a: not the best"


def test_a_twin_that_loses_accuracy_is_not_kept(copied, recipe, monkeypatch):
    places, folder = copied
    index = read_index(places.packed_folder)
    lines = []

    def much_better(segmenter, *rest):
        sets = measure(segmenter, *rest)
        if segmenter.backend.precision == FLOAT32:
            sets = (replace(s, values={**s.values, "ap50": 9.0}) for s in sets)
        return sets

    measure = twins._reached
    monkeypatch.setattr(twins, "_reached", much_better)
    card = add_int8_twin(folder, recipe, places, index, say=lines.append)
    assert card == read_card(folder / CARD_NAME)
    assert card.int8_sha256 is None
    assert not (folder / INT8_NAME).exists()
    assert "no model.int8.onnx" in lines[-1]


def test_sets_of_few_images_are_seen_in_more_views(copied, monkeypatch):
    places, folder = copied
    index = read_index(places.packed_folder)
    seen = []

    def score(segmenter, packed, samples, *, view):
        seen.append(view)
        assert packed == places.packed_folder
        return score_all(segmenter, packed, samples, view=view)

    score_all = twins.score_all
    monkeypatch.setattr(twins, "score_all", score)
    images = len(index.part("validation"))
    (plain,) = twins._reached(load_model(folder), places, index, images)
    assert seen == [PLAIN]
    (mean,) = twins._reached(load_model(folder), places, index, 3 * images)
    assert seen[1:] == make_views(3)
    singles = [
        by_set(score_all(load_model(folder), places.packed_folder, choose(index, None), view=v))
        for v in make_views(3)
    ]
    assert singles[0][0].values == plain.values
    for name, value in mean.values.items():
        assert value == pytest.approx(np.mean([s.values[name] for (s,) in singles]))
