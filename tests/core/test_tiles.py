import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellrim.core.tiles import plan_tiles, read_tile, stitch
from cellrim.errors import InputError


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([1, 4, 16, 32]),
    st.integers(0, 40),
    st.integers(0, 200),
)
@settings(deadline=None)
def test_cores_cover_each_pixel_once(height, width, multiple, halo, extra):
    rounded = -(-halo // multiple) * multiple
    size = 2 * rounded + multiple + extra
    count = np.zeros((height, width), int)
    for tile in plan_tiles((height, width), size=size, halo=halo, multiple=multiple):
        count[tile.core] += 1
        assert math.prod(r.stop - r.start for r in tile.read) <= size**2
        for read, core, inner, length in zip(
            tile.read, tile.core, tile.inner, (height, width), strict=True
        ):
            assert read.start % multiple == 0
            assert (read.stop - read.start) % multiple == 0
            assert read.stop > read.start
            assert read.start + inner.start == core.start
            assert read.start <= max(0, core.start - halo)
            assert read.stop >= min(length, core.stop + halo)
    assert (count == 1).all()


@pytest.mark.parametrize("size", [48, 64, 100, 400])
@pytest.mark.parametrize("shape", [(1, 1), (5, 130), (97, 61), (200, 33)])
def test_a_local_function_sees_no_seams(shape, size):
    image = np.random.default_rng(1).random((*shape, 2)).astype(np.float32)

    def blur(pixels):
        return np.moveaxis(ndimage.uniform_filter(pixels, (9, 9, 0)), 2, 0)

    tiles = plan_tiles(shape, size=size, halo=4, multiple=16)
    one = plan_tiles(shape, size=1024, halo=4, multiple=16)
    result = stitch(image, tiles, channels=2, run=blur)
    np.testing.assert_array_equal(result, stitch(image, one, channels=2, run=blur))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 40)])
def test_reflection_is_that_of_numpy(shape):
    image = np.arange(shape[0] * shape[1]).reshape(shape)
    [tile] = plan_tiles(shape, size=64, halo=0, multiple=64)
    padding = [(0, 64 - n) for n in shape]
    np.testing.assert_array_equal(read_tile(image, tile), np.pad(image, padding, mode="reflect"))


def test_the_cut_that_reads_least_is_taken():
    tiles = plan_tiles((2048, 2048), size=1568, halo=160, multiple=32)
    assert sorted(t.read for t in tiles) == [
        (slice(0, 2048), slice(0, 1184)),
        (slice(0, 2048), slice(864, 2048)),
    ]


def test_tiles_without_a_core_are_refused():
    with pytest.raises(InputError, match="at least 160"):
        plan_tiles((500, 500), size=128, halo=50, multiple=32)
    with pytest.raises(InputError, match="at least one pixel"):
        plan_tiles((0, 5), size=128, halo=0, multiple=32)
