from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import msgspec
import pytest
import tifffile
import torch
from click.testing import CliRunner

from cellrim.cli.main import app
from cellrim.errors import RecipeError, UsageError
from cellrim.models.card import read_card
from cellrim.models.registry import ModelFolder, find_model
from cellrim.prediction import load_model
from cellrim.training import finetune
from cellrim.training.checkpoint import blend, read_checkpoint
from cellrim.training.finetune import fine_tuning_recipe, model_name
from cellrim.training.recipe import DecodePart

_TOY = ("--patches", "32", "--device", "cpu", "--workers", "0")


def test_the_recipe_goes_on_from_the_model(trained):
    _, folder, _ = trained
    base = find_model(folder)
    recipe = fine_tuning_recipe(Path("somewhere/My Cells"), base)
    assert recipe.name == "my-cells"
    assert recipe.model.widths == tuple(base.card.architecture["widths"])
    assert recipe.model.canonical_diameter == base.card.canonical_diameter
    assert recipe.decode.options == base.card.decode
    assert not recipe.decode.search
    assert recipe.training.learning_rate < 1e-3


def test_a_card_without_its_network_is_refused(trained):
    _, folder, _ = trained
    card = msgspec.structs.replace(read_card(folder / "card.json"), architecture={"depth": 3})
    with pytest.raises(RecipeError, match="widths and the rim"):
        fine_tuning_recipe(Path("cells"), ModelFolder(folder, card))


def test_a_folder_that_gives_no_name_is_refused():
    with pytest.raises(RecipeError, match="rename it"):
        model_name(Path("細胞"))


def test_one_command_fits_a_model_to_a_folder(trained, discs, tmp_path, monkeypatch):
    """The start is judged too, and what comes out is never worse on the held-back images."""
    monkeypatch.setattr(finetune, "DecodePart", partial(DecodePart, int8_steps=2))
    _, base, _ = trained
    run = tmp_path / "run"
    arguments = ["train", str(discs / "discs"), "--from", str(base), "-o", str(run)]
    done = CliRunner().invoke(app, [*arguments, *_TOY])
    assert done.exit_code == 0, done.output
    assert "epoch 0:" in done.output
    for share in (25, 50, 75):
        assert f"{share}% of the way from the start: score" in done.output
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["epoch"] == "0"
    assert rows[0]["loss"] == ""
    state = read_checkpoint(run / "checkpoint.pt")
    assert any((state.start[name] != value).any() for name, value in state.average.items())
    card = read_card(run / "model" / "card.json")
    assert card.name == "discs"
    assert card.started_from == read_card(base / "card.json").sha256
    assert card.decode == read_card(base / "card.json").decode
    before, after = float(rows[0]["score"]), card.validation["discs"]
    assert (after["ap50"] + after["map"]) / 2 >= before - 0.02
    image = tifffile.imread(discs / "discs" / "images" / "field0.tif")
    count = load_model(base, threads=1).segment(image, axes="YX").count
    assert count == 0 or load_model(run / "model", threads=1).segment(image, axes="YX").count > 0


def test_a_blend_lies_between_its_ends():
    first = {"weight": torch.zeros(3), "count": torch.tensor(1)}
    second = {"weight": torch.full((3,), 4.0), "count": torch.tensor(7)}
    mixed = blend(first, second, 0.25)
    assert mixed["weight"].tolist() == [1.0, 1.0, 1.0]
    assert mixed["count"] == 7
    assert blend(first, second, 1.0)["weight"].tolist() == [4.0] * 3


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["train", str(tmp_path / "empty"), "-o", str(tmp_path / "run")])
    assert done.exit_code != 0
    assert "layout of none of" in str(done.output) + str(done.exception)


def test_a_recipe_has_its_own_length(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.touch()
    done = CliRunner().invoke(app, ["train", str(recipe), "--patches", "5"])
    assert isinstance(done.exception, UsageError)
