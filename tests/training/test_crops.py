from __future__ import annotations

import numpy as np
import pytest

from cellrim.errors import RecipeError
from cellrim.training.crops import Crops
from cellrim.training.store import read_index


@pytest.fixture
def index(trained):
    return read_index(trained[0].packed_folder)


def test_a_crop_depends_on_its_number_alone(trained, recipe, index):
    first, second = (Crops(recipe, trained[0].packed_folder, index) for _ in range(2))
    crop = first[3]
    assert crop.shape == (3, 64, 64)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, second[3])
    assert not np.array_equal(crop, first[4])


def test_crops_are_at_the_scale_of_prediction(trained, recipe, index):
    """Of an image shown at twice the scale, crops show half as many edges along a line."""
    model = recipe.model.model_copy(update={"canonical_diameter": 36.0})
    larger = recipe.model_copy(update={"model": model})
    lengths = [
        np.mean([np.abs(np.diff(crops[i][0])).mean() for i in range(40)])
        for crops in (Crops(r, trained[0].packed_folder, index) for r in (recipe, larger))
    ]
    assert 0.35 < lengths[1] / lengths[0] < 0.75


def test_images_smaller_than_a_crop_are_mirrored(trained, recipe, index):
    training = recipe.training.model_copy(update={"patch_size": 160})
    large = recipe.model_copy(update={"training": training})
    assert all(
        np.isfinite(Crops(large, trained[0].packed_folder, index)[i]).all() for i in range(4)
    )
    assert Crops(large, trained[0].packed_folder, index)[0].shape == (3, 160, 160)


def test_a_set_without_training_images(trained, recipe, index):
    part = recipe.data[0].model_copy(update={"path": "nothing"})
    more = recipe.model_copy(update={"data": (*recipe.data, part)})
    with pytest.raises(RecipeError, match="No training image of 'nothing'"):
        Crops(more, trained[0].packed_folder, index)
