from __future__ import annotations

from pathlib import Path

import pytest

from cellrim.errors import RecipeError
from cellrim.training.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_are_valid(path):
    assert load_recipe(path).name == path.stem


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match="Cannot read the recipe"):
        load_recipe(tmp_path / "no.toml")


def test_not_toml(tmp_path):
    with pytest.raises(RecipeError, match="Expected TOML"):
        load_recipe(write(tmp_path, "name = "))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "My cells"\ndata = [{path = "a"}]', "name"),
        ('name = "x"', "data"),
        ('name = "x"\ndata = []', "data"),
        ('name = "x"\ndata = [{path = "a", wieght = 2}]', "wieght"),
        ('name = "x"\ndata = [{path = "a"}]\ntraining = {patch_size = 100}', "multiple of 32"),
        ('name = "x"\ndata = [{path = "a"}]\ntraining = {batch = 0}', "training.batch"),
    ],
)
def test_recipes_that_cannot_work(tmp_path, text, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe(write(tmp_path, text))


def test_the_data_key_follows_the_data_only(tmp_path):
    text = 'name = "x"\ndata = [{path = "a"}]\n'
    base = load_recipe(write(tmp_path, text))
    other = load_recipe(write(tmp_path, text + "training = {patches = 7}"))
    assert base.data_key() == other.data_key()
    third = load_recipe(write(tmp_path, text + "model = {canonical_diameter = 30.0}"))
    assert base.data_key() != third.data_key()
