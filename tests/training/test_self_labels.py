from __future__ import annotations

import numpy as np
import pytest
import tifffile
from skimage.draw import disk
from tests.training.conftest import field_of_discs, tiny_recipe

from cellrim.core.image import image_from_array
from cellrim.errors import ModelError, RecipeError
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.segmenter import Prediction
from cellrim.representation.encode import encode
from cellrim.training.prepare import find_samples, prepare
from cellrim.training.recipe import Recipe
from cellrim.training.self_labels import sure_truth, unannotated_samples
from cellrim.training.store import IGNORE, maps_file

SHAPE = (200, 220)
DIAMETER = 24.0


class Teacher(Segmenter):
    """A model that says what it is told to."""

    def __init__(self, maps, card, oracle):
        super().__init__(oracle(DIAMETER), card)
        self.maps = maps

    def predict(self, image, **_):
        return Prediction(self.maps, image.shape, DIAMETER)


@pytest.fixture
def teach(card_with, oracle):
    def make(maps):
        teacher = Teacher(maps, card_with(canonical_diameter=DIAMETER), oracle)
        return sure_truth(teacher, image_from_array(np.zeros(SHAPE, np.uint8)))

    return make


def cell(y, x, radius=12):
    mask = np.zeros(SHAPE, bool)
    mask[disk((y, x), radius, shape=SHAPE)] = True
    return mask


def test_a_sure_cell_is_one_and_an_unsure_one_is_left_open(teach):
    sure, unsure = cell(50, 50), cell(50, 150)
    maps = encode(sure * 1 + unsure * np.int32(2), DIAMETER)
    maps[0][unsure] = 0.3
    maps[1:3, unsure] *= 0.2
    truth = teach(maps)
    assert ((truth.labels > 0) == sure).all()
    assert (truth.ignore == unsure).all()


def test_what_may_be_a_cell_is_no_ground(teach):
    maps = encode(cell(50, 50) * np.int32(1), DIAMETER)
    faint = cell(140, 140, 20)
    maps[0][faint] = -2.0  # a chance of 0.12
    assert (teach(maps).ignore == faint).all()


def test_a_hole_in_a_sheet_of_cells_is_left_open_and_a_field_is_not(teach):
    maps = np.zeros((4, *SHAPE), np.float32)
    maps[0] = 0.3
    hole, field = cell(60, 60, 15), cell(100, 150, 50)
    maps[0][hole | field] = -10.0
    truth = teach(maps)
    assert not truth.labels.any()
    assert truth.ignore[hole].all()
    assert (truth.ignore == ~field).all()


def test_beside_a_sure_cell_the_ground_begins_where_the_model_rather_sees_ground(teach):
    inside, around = cell(80, 80), cell(80, 80, 20)
    maps = encode(inside * np.int32(1), DIAMETER)
    maps[0][around & ~inside] = -1.0
    truth = teach(maps)
    near = cell(80, 80, 14) & ~inside
    assert not truth.ignore[near].any()
    assert truth.ignore[cell(80, 80, 19) & ~cell(80, 80, 17)].all()


def test_images_that_nobody_annotated_are_trained_on_and_never_held_back(discs, tmp_path):
    folder = discs / "unannotated"
    (folder / "deeper").mkdir(parents=True, exist_ok=True)
    for name in ("a.tif", "deeper/b.tif"):
        tifffile.imwrite(folder / name, field_of_discs(7)[0])
    table = tiny_recipe().model_dump(mode="json")
    table["data"].append({"path": "unannotated", "labelled_by": "general", "licence": "CC0"})
    recipe = Recipe.model_validate(table)
    found, problems = find_samples(recipe, discs)
    assert problems == []
    own = [(part, s.name, s.licence) for source, part, s in found if source == 1]
    assert own == [("train", "a.tif", "CC0"), ("train", "deeper/b.tif", "CC0")]
    index = prepare(recipe, discs, tmp_path / "packed", progress=lambda _: None)
    packed = next(s for s in index.samples if s.source == 1)
    expected = load_model("general").segment(field_of_discs(7)[0]).count
    assert 0.7 * expected <= packed.cells <= expected + 1
    kinds = np.load(maps_file(tmp_path / "packed", packed.key))[..., 0]
    assert np.mean(kinds == IGNORE) < 0.3


def test_a_folder_without_images(tmp_path):
    with pytest.raises(RecipeError, match="to label, but there are none"):
        unannotated_samples(tmp_path, "general", dataset="x", licence="CC0")


def test_a_model_that_is_not_there_is_told_before_anything_is_packed(discs):
    with pytest.raises(ModelError, match="generall"):
        unannotated_samples(discs, "generall", dataset="x", licence="CC0")
