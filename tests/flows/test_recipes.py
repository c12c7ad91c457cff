"""Every shipped recipe checks data, counts and estimates: on partial archives, in their formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellrim.errors import RecipeError
from cellrim.training.dryrun import dry_run
from cellrim.training.loop import Limits
from cellrim.training.places import Places
from cellrim.training.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
ALONE = Limits(device="cpu", workers=0)


def outlook_of(name, root, tmp_path):
    """Dry-run a shipped recipe, with patches small enough for a test."""
    recipe = load_recipe(RECIPES / f"{name}.toml")
    quick = recipe.training.model_copy(update={"patch_size": 64, "batch": 2})
    recipe = recipe.model_copy(update={"training": quick})
    return dry_run(recipe, Places(run=tmp_path / "run", data=root), limits=ALONE)


@pytest.mark.parametrize(
    ("name", "folder"), [("bbbc007", "BBBC007"), ("bbbc018", "BBBC018"), ("sartorius", "sartorius")]
)
def test_archives_in_their_format(tmp_path, write_archive, name, folder):
    write_archive(name, tmp_path / folder)
    outlook = outlook_of(name, tmp_path, tmp_path)
    assert outlook.images == {(name, "train"): 2, (name, "validation"): 1}
    assert sum(outlook.cells.values()) == 12


@pytest.mark.parametrize(
    ("name", "patterns", "count", "images", "cells"),
    [
        ("bbbc009", ("*_images/*/*.tif", "*_outlines/*/*.tif"), 4, 4, 175),
        ("bbbc030", ("images/*.png", "ground_truth/*.png"), 4, 4, 30),
        ("bbbc041", ("malaria/images/*.png", "malaria/*.json"), 2, 2, 100),
    ],
)
def test_partial_real_archives(
    real_data, link_some, tmp_path, name, patterns, count, images, cells
):
    source = real_data / "seed" / name.upper()
    link_some(source, tmp_path / name.upper(), patterns, count)
    outlook = outlook_of(name, tmp_path, tmp_path)
    assert sum(outlook.images.values()) == images
    assert sum(outlook.cells.values()) >= cells
    assert outlook.seconds > 0
    assert np.isfinite(outlook.memory)


def test_general_on_a_part_of_everything(real_data, link_some, tmp_path):
    root = tmp_path / "data"
    for name, patterns in {
        "BBBC009": ("*_images/*/*.tif", "*_outlines/*/*.tif"),
        "BBBC030": ("images/*.png", "ground_truth/*.png"),
        "BBBC041": ("malaria/images/*.png", "malaria/*.json"),
    }.items():
        link_some(real_data / "seed" / name, root / "seed" / name, patterns, 2)
    for folder in (real_data / "plain").iterdir():
        (root / "plain").mkdir(exist_ok=True)
        if folder.name != "dsb2018":
            (root / "plain" / folder.name).symlink_to(folder)
    # Of the large set enough to have every modality on both sides.
    patterns = ("images/*", "labels/*")
    link_some(real_data / "plain" / "dsb2018", root / "plain" / "dsb2018", patterns, 200)
    outlook = outlook_of("general", root, tmp_path)
    assert {d for d, _ in outlook.images} >= {"bbbc009", "kc167", "mixed", "usiigaci", "dsb2018"}
    assert not any(d == "deepcell" for d, _ in outlook.images)


def test_an_archive_without_annotations_is_refused(real_data, tmp_path):
    with pytest.raises(RecipeError, match="no image with an annotation"):
        outlook_of("bbbc007", real_data / "seed", tmp_path)
