from __future__ import annotations

import numpy as np
import pytest

from cellrim.datasets.base import Truth
from cellrim.representation.encode import encode
from cellrim.training import patches
from cellrim.training.patches import (
    PatchSource,
    bilinear,
    grid,
    nearest_maps,
    random_stretch,
    random_turn,
)
from cellrim.training.prepare import packed_maps, prepare
from cellrim.training.store import CELL, IGNORE


def quiet(_):
    pass


@pytest.fixture(scope="module")
def packed(discs, tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


def test_a_patch_depends_on_its_number_alone(discs, recipe, packed):
    index = prepare(recipe, discs, packed, progress=quiet)
    one, two = PatchSource(recipe, packed, index), PatchSource(recipe, packed, index)
    for _ in range(3):
        two[5]
    for number in (0, 7, 10**9):
        a, b = one[number], two[number]
        assert (a.image == b.image).all()
        assert (a.kind == b.kind).all()
        assert (a.maps == b.maps).all()
    assert (one[1].image != one[2].image).any()


def test_patches_have_the_right_form(discs, recipe, packed):
    index = prepare(recipe, discs, packed, progress=quiet)
    source = PatchSource(recipe, packed, index)
    kinds = set()
    for number in range(40):
        patch = source[number]
        assert patch.image.shape == (3, 64, 64)
        assert patch.image.dtype == np.float32
        assert np.isfinite(patch.image).all()
        length = np.hypot(patch.maps[0], patch.maps[1])
        assert np.allclose(length[patch.kind == CELL].round(1), 1) or length.min() == 0
        assert (length[patch.kind != CELL] < 1e-6).all()
        kinds |= set(np.unique(patch.kind))
    assert CELL in kinds


@pytest.mark.parametrize("seed", range(6))
def test_turning_maps_equals_encoding_turned_labels(seed):
    """Independent check: encode after turning by multiples of 90 degrees and mirroring."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((65, 65), np.int32)
    labels[20:41, 12:29] = 1
    labels[24:51, 33:52] = 2
    packed = packed_maps(Truth(labels), 1.0)
    turn = random_turn(rng)
    while not np.allclose(np.abs(turn).round(6) % 1, 0):
        turn = random_turn(rng)
    where = grid(65, turn, np.array([32.0, 32.0]))
    kind, maps = nearest_maps(packed, where, turn)
    y, x = np.rint(where).astype(int)
    direct = encode(labels[y, x], 1.0)
    assert ((kind == CELL) == (direct[0] > 0)).all()
    agree = (maps[0] * direct[1] + maps[1] * direct[2])[kind == CELL]
    assert np.mean(agree > 0.97) > 0.97


def test_flow_points_to_the_same_cell_after_any_turn_and_zoom():
    labels = np.zeros((80, 80), np.int32)
    labels[30:50, 30:50] = 1
    packed = packed_maps(Truth(labels), 1.0)
    rng = np.random.default_rng(0)
    for _ in range(10):
        turn, zoom = random_turn(rng), float(rng.uniform(0.5, 2))
        where = grid(96, turn / zoom, np.array([39.5, 39.5]))
        kind, maps = nearest_maps(packed, where, turn)
        y, x = np.nonzero(kind == CELL)
        to_centre = np.stack([47.5 - y, 47.5 - x])
        far = np.hypot(*to_centre) > 6
        cosine = (to_centre * maps[:2, y, x]).sum(0)[far] / np.hypot(*to_centre)[far]
        assert cosine.min() > 0.85


@pytest.mark.parametrize("seed", range(6))
def test_stretching_maps_equals_encoding_stretched_labels(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((97, 97), np.int32)
    labels[20:51, 12:39] = 1
    y, x = np.mgrid[:97, :97]
    labels[np.hypot(y - 55, x - 65) < 18] = 2
    packed = packed_maps(Truth(labels), 1.0)
    turn = random_turn(rng) @ random_stretch(rng, 0.2)
    assert abs(np.linalg.det(turn)) == pytest.approx(1)
    where = grid(121, turn, np.array([48.0, 48.0]))
    kind, maps = nearest_maps(packed, where, turn)
    cell = kind == CELL
    assert np.allclose(np.hypot(maps[0], maps[1])[cell].round(1) % 1, 0)  # 0 at centres
    y, x = np.clip(np.rint(where).astype(int), 0, 96)
    direct = encode(np.where(cell, labels[y, x], 0), 1.0)
    agree = (maps[0] * direct[1] + maps[1] * direct[2])[cell]
    assert np.mean(agree > 0.9) > 0.9
    assert np.median(agree) > 0.985


def test_stretches_lengthen_along_any_axis_as_much_as_they_are_asked_to():
    rng = np.random.default_rng(0)
    stretches = [random_stretch(rng, 0.1) for _ in range(400)]
    longest = np.log([np.linalg.svd(s)[1][0] for s in stretches])
    assert 0.09 < np.sqrt(np.mean(longest**2)) < 0.1
    assert longest.max() <= 0.2 + 1e-9
    axes = np.array([np.linalg.eigh(s)[1][0, -1] for s in stretches])
    assert 0.55 < np.abs(axes).mean() < 0.72  # 2 / pi where all are as likely


def test_beyond_the_frame_is_ignored_and_mirrored():
    packed = np.zeros((10, 10, 4), np.int8)
    where = grid(20, np.eye(2), np.array([4.5, 4.5]))
    kind, _ = nearest_maps(packed, where, np.eye(2))
    assert (kind == IGNORE).sum() == 300
    pixels = np.arange(100, dtype=np.float32).reshape(10, 10, 1)
    image = bilinear(pixels, where)
    assert (image[5:15, 5:15, 0] == pixels[:, :, 0]).all()
    assert image[4, 5, 0] == pixels[1, 0, 0]


def test_bilinear_agrees_with_scipy():
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(1)
    pixels = rng.random((30, 40, 2)).astype(np.float32)
    where = np.stack([rng.uniform(0, 29, (16, 16)), rng.uniform(0, 39, (16, 16))]).astype("f4")
    expected = np.stack(
        [map_coordinates(pixels[:, :, c], where, order=1) for c in range(2)], axis=2
    )
    assert np.allclose(bilinear(pixels, where), expected, atol=1e-5)


def test_place_stays_near_the_image():
    rng = np.random.default_rng(0)
    kinds = np.ones((50, 300), np.int8)
    for _ in range(50):
        y, x = patches._place(kinds, 100.0, rng)
        assert y == 25
        assert 30 <= x <= 270
