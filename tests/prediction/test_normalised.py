import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.core.normalise import measure_range, normalise
from cellrim.core.resize import resize
from cellrim.core.tiles import plan_tiles, read_tile
from cellrim.io.region_readers import ArrayRegions
from cellrim.prediction.normalised import NormalisedImage


@pytest.fixture(autouse=True)
def small_strips(monkeypatch):
    monkeypatch.setattr("cellrim.prediction.normalised._FLOAT_PIXELS", 900)


@pytest.fixture
def both(tmp_path):
    """An image of two channels part by part, and the same normalised in memory."""
    pixels = np.random.default_rng(0).integers(0, 60000, (83, 61, 3), np.uint16)
    chosen = pixels[..., [2, 0]]
    intensity = measure_range(chosen)
    regions = ArrayRegions(tmp_path, image_from_array(pixels, axes="YXC"))
    return NormalisedImage(regions, (2, 0), intensity), normalise(chosen, intensity)


@pytest.mark.parametrize("shape", [(83, 61), (40, 30), (130, 95), (9, 200)])
def test_tiles_are_those_of_the_image_in_memory(both, shape):
    large, whole = both
    resized = resize(whole, shape)
    for tile in plan_tiles(shape, size=64, halo=16, multiple=16):
        np.testing.assert_array_equal(
            large.window(tile.read, shape=shape), read_tile(resized, tile)
        )


@pytest.mark.parametrize("step", [1, 3, 7])
def test_thinned(both, step):
    large, whole = both
    part = slice(5, 80), slice(10, 61)
    np.testing.assert_array_equal(large.thinned(part, step=step), whole[part][::step, ::step])


@pytest.mark.parametrize("shape", [(75, 51), (20, 11), (90, 120)])
def test_a_part_brought_to_a_size(both, shape):
    large, whole = both
    part = slice(5, 80), slice(10, 61)
    np.testing.assert_array_equal(large.resized(part, shape=shape), resize(whole[part], shape))
