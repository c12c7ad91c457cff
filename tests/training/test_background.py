from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrim.core.image import image_from_array
from cellrim.datasets.base import Truth
from cellrim.training.background import LEAST_EDGE, MARGIN, background_crops, empty_squares
from cellrim.training.patches import PatchSource
from cellrim.training.prepare import prepare
from cellrim.training.store import CELL


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 299), st.integers(0, 249)), max_size=6))
def test_squares_are_free_apart_from_cells_and_from_each_other(cells):
    occupied = np.zeros((300, 250), bool)
    for y, x in cells:
        occupied[y, x] = True
    seen = np.zeros(occupied.shape, bool)
    for rows, columns in empty_squares(occupied):
        assert rows.stop - rows.start == columns.stop - columns.start >= LEAST_EDGE
        near = slice(max(rows.start - MARGIN, 0), rows.stop + MARGIN)
        beside = slice(max(columns.start - MARGIN, 0), columns.stop + MARGIN)
        assert not occupied[near, beside].any()
        assert not seen[rows, columns].any()
        seen[rows, columns] = True


def test_an_image_full_of_cells_has_no_square():
    occupied = np.zeros((200, 200), bool)
    occupied[::40, ::40] = True
    assert empty_squares(occupied) == []


def test_ignored_pixels_are_no_background():
    image = image_from_array(np.zeros((100, 100), np.uint8))
    nothing = np.zeros((100, 100), np.int32)
    assert [c.shape[0] for c in background_crops(image, Truth(nothing))] == [99]
    ignored = Truth(nothing, np.ones((100, 100), bool))
    assert list(background_crops(image, ignored)) == []


@pytest.fixture
def sparse(tmp_path):
    """A data root with one data set whose images have room between the cells."""
    for folder in ("images", "labels"):
        (tmp_path / "discs" / folder).mkdir(parents=True)
    for i in range(4):
        labels = np.zeros((220, 110), np.uint16)
        for k in range(8):
            y, x = 6 + 22 * (k // 4), 4 + 26 * (k % 4)
            labels[y : y + 18, x : x + 18 + i] = k + 1
        image = (30 + 150 * (labels > 0)).astype(np.uint8)
        tifffile.imwrite(tmp_path / "discs" / "images" / f"field{i}.tif", image)
        tifffile.imwrite(tmp_path / "discs" / "labels" / f"field{i}.tif", labels)
    return tmp_path


def test_background_is_packed_of_complete_sets_and_drawn(recipe, sparse, tmp_path):
    part = recipe.data[0].model_copy(update={"complete": True})
    augmentation = recipe.augmentation.model_copy(update={"background": 1.0, "empty": 0.0})
    complete = recipe.model_copy(update={"data": (part,), "augmentation": augmentation})
    assert complete.data_key() != recipe.data_key()
    index = prepare(complete, sparse, tmp_path / "packed", progress=lambda _: None)
    crops = index.part("background")
    assert crops
    assert {c.cells for c in crops} == {0}
    assert {c.key.rpartition("-")[0] for c in crops} <= {s.key for s in index.part("train")}
    source = PatchSource(complete, tmp_path / "packed", index)
    for number in range(10):
        patch = source[number]
        assert (patch.kind != CELL).all()
        assert (patch.maps == 0).all()
    plain = replace(index, samples=index.part("train"))
    assert any(
        (PatchSource(complete, tmp_path / "packed", plain)[i].kind == CELL).any() for i in range(10)
    )
