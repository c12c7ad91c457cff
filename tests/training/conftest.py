from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from skimage.draw import disk

from cellrim.training.loop import Limits
from cellrim.training.places import Places
from cellrim.training.progress import Progress
from cellrim.training.recipe import Recipe
from cellrim.training.run import train

ALONE = Limits(device="cpu", workers=0)
QUIET = Progress(say=lambda _: None)


def field_of_discs(seed, shape=(96, 112)):
    """A grey image of bright discs on a dark ground, and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for _ in range(40):
        radius = int(rng.integers(7, 12))
        y, x = rng.integers(12, shape[0] - 12), rng.integers(12, shape[1] - 12)
        spot = disk((y, x), radius, shape=shape)
        if not labels[spot].any():
            labels[spot] = labels.max() + 1
    noise = rng.normal(0, 4, shape)
    image = np.clip(30 + 150 * (labels > 0) + noise, 0, 255).astype(np.uint8)
    return image, labels


@pytest.fixture(scope="session")
def discs(tmp_path_factory):
    """A data root with one data set of folder pairs, ``discs``."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("images", "labels"):
        (root / "discs" / folder).mkdir(parents=True)
    for i in range(6):
        image, labels = field_of_discs(i)
        tifffile.imwrite(root / "discs" / "images" / f"field{i}.tif", image)
        tifffile.imwrite(root / "discs" / "labels" / f"field{i}.tif", labels.astype(np.uint16))
    return root


@pytest.fixture
def recipe():
    return tiny_recipe()


def tiny_recipe():
    """A recipe that trains in seconds."""
    return Recipe.model_validate(
        {
            "name": "tiny",
            "data": [{"path": "discs"}],
            "model": {"widths": [8, 12], "rim": 8, "canonical_diameter": 18.0},
            "training": {"patches": 96, "patch_size": 64, "batch": 4, "warmup": 16},
            "validation": {"every": 48, "images_per_set": 1},
        }
    )


@pytest.fixture(scope="session")
def trained(discs, tmp_path_factory):
    """One small training from start to end: its places, model folder and what it printed."""
    places = Places(run=tmp_path_factory.mktemp("trained") / "run", data=discs)
    lines = []
    folder = train(tiny_recipe(), places, limits=ALONE, progress=Progress(say=lines.append))
    assert folder is not None
    return places, folder, lines


@pytest.fixture
def copied(trained, tmp_path):
    """The places of a training, with a model folder of its own."""
    places, folder, _ = trained
    shutil.copytree(folder, tmp_path / "model")
    return replace(places, run=tmp_path, packed=places.packed_folder), tmp_path / "model"
