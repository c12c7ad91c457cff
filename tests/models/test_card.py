import json

import msgspec
import numpy as np
import pytest

from cellrim.errors import ModelError, OutputError
from cellrim.models.card import ModelCard, Replaced, TrainingSet, read_card, write_card
from cellrim.representation.flow import DecodeOptions


def test_round_trip(tmp_path, card_with):
    card = card_with(
        architecture={"base_width": 32, "levels": 4},
        decode=DecodeOptions(foreground_threshold=0.4, min_area=20),
        training_sets=(TrainingSet(name="bbbc009", licence="CC BY 3.0", images=3, cells=120),),
        validation={"bbbc009": {"AP50": 0.9}},
        limitations=("Not for bacteria.",),
        replaced=Replaced(
            sha256="0" * 64,
            views=8,
            score_before=0.73,
            score=0.74,
            standard_error=0.001,
            unseen_before=0.62,
            unseen=0.63,
        ),
    )
    write_card(tmp_path / "card.json", card)
    assert read_card(tmp_path / "card.json") == card


def test_a_card_cannot_be_changed(card_with):
    with pytest.raises(AttributeError):
        card_with().name = "other"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"canonical_diameter": 0}, "canonical_diameter"),
        ({"sha256": "abc"}, "sha256"),
        ({"surprise": 1}, "surprise"),
        ({"name": "../evil"}, "name"),
        ({"halo": -1}, "halo"),
        ({"channels": 4}, "channels"),
        ({"representation": "stars"}, "representation"),
        ({"format": 2}, "format"),
        ({"replaced": {"sha256": "0" * 64, "views": 1}}, "replaced.views"),
        ({"decode": {"foreground_threshold": "high"}}, "decode.foreground_threshold"),
    ],
)
def test_the_wrong_field_is_named(tmp_path, card_with, changes, field):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(msgspec.to_builtins(card_with()) | changes))
    with pytest.raises(ModelError, match=field):
        read_card(path)


def test_missing_and_broken(tmp_path):
    with pytest.raises(ModelError, match=r"none\.json"):
        read_card(tmp_path / "none.json")
    (tmp_path / "card.json").write_text('{"name":')
    with pytest.raises(ModelError, match=r"card\.json does not fit"):
        read_card(tmp_path / "card.json")


def test_unwritable(tmp_path, card_with):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_card(tmp_path / "file" / "card.json", card_with())


def test_fields_are_documented():
    for field in ModelCard.__struct_fields__:
        assert field == "format" or field in ModelCard.__doc__


def test_confidence_is_calibrated_and_asked_for_as_users_see_it(card_with):
    card = card_with(decode={"min_confidence": 0.45}, calibration={"slope": 2.0, "offset": 0.7})
    raw = np.array([0.2, 0.45, 0.9], np.float32)
    chance = card.calibrated(raw)
    assert chance.dtype == np.float32
    assert (np.diff(chance) > 0).all()
    assert card.least_confidence == pytest.approx(chance[1], abs=1e-6)
    asked = card.decode_options(float(chance[2]))
    assert asked.min_confidence == pytest.approx(0.9, abs=1e-5)
    assert card.decode_options(0.0).min_confidence == 0
    assert card.decode_options(None) == card.decode


def test_without_a_sure_cell_none_counts_unless_asked(card_with):
    card = card_with(
        decode={"min_confidence": 0.4, "min_surest": 0.6}, calibration={"slope": 2, "offset": 0.5}
    )
    low, least, high = card.calibrated(np.array([0.4, 0.6, 0.61], np.float32)).tolist()
    assert card.least_surest == pytest.approx(least, abs=1e-6)
    assert card.least_shown(np.array([low, high], np.float32)) == pytest.approx(low, abs=1e-6)
    for unsure in ([], [low]):
        assert card.least_shown(np.array(unsure, np.float32)) == card.least_surest
    assert card.decode_options().min_surest == 0.6
    assert card.decode_options(0.3).min_surest == 0


def test_without_calibration_confidence_is_what_the_network_says(card_with):
    raw = np.array([0.25, 0.5], np.float32)
    np.testing.assert_allclose(card_with().calibrated(raw), raw, atol=1e-6)
