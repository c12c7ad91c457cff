import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from cellrim.core.tiles import plan_tiles
from cellrim.representation.blocks import decode_block, join_blocks
from cellrim.representation.encode import encode
from cellrim.representation.flow import DecodeOptions, decode, decode_with_confidence


def by_blocks(maps, size, options):
    """Decode block by block: labels of the whole and the joined sums."""
    shape = maps.shape[1:]
    tiles = plan_tiles(shape, size=size, halo=0, multiple=1)
    pieces, summaries, ways = [], [], []
    for tile in tiles:
        lows = [max(0, part.start - 1) for part in tile.core]
        highs = [min(n, part.stop + 1) for part, n in zip(tile.core, shape, strict=True)]
        window = tuple(slice(a, b) for a, b in zip(lows, highs, strict=True))
        core = tuple(
            slice(part.start - low, part.stop - low)
            for part, low in zip(tile.core, lows, strict=True)
        )
        image, summary, way = decode_block(
            maps[:, window[0], window[1]], core, origin=tuple(lows), options=options
        )
        pieces.append(image)
        summaries.append(summary)
        ways.append(way)
    joined = join_blocks(summaries, ways.__getitem__, width=shape[1], options=options)
    labels = np.zeros(shape, np.int32)
    for tile, image, table in zip(tiles, pieces, joined.tables, strict=True):
        labels[tile.core] = table[image]
    return labels, joined


def same_partition(a, b):
    pairs = {tuple(p) for p in np.stack([a.ravel(), b.ravel()], axis=1).tolist()}
    return len(pairs) == len({p[0] for p in pairs}) == len({p[1] for p in pairs})


def wild_maps(shape, seed, smooth):
    """Flow of every kind: sinks, saddles, and paths that go round and round."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(4, *shape))
    maps = np.stack([ndimage.gaussian_filter(m, smooth) for m in maps])
    maps /= maps.std(axis=(1, 2), keepdims=True) + 1e-9
    maps[0] += 0.7
    return maps.astype(np.float32)


def mean_confidence(maps, labels):
    """Of each instance, one by one."""
    probability, length = special.expit(maps[0]), np.minimum(np.hypot(*maps[1:3]), 1)
    cells = [labels == i for i in range(1, labels.max() + 1)]
    return [probability[cell].mean() * length[cell].mean() for cell in cells]


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 45),
    st.integers(0, 3),
    st.sampled_from([0.5, 2.0, 5.0]),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.4, 0.5]),
)
@example(30, 37, 24, 3, 2.0, 30, 0.0)  # an end as far from an exit as the radius allows
@example(24, 28, 3, 1, 2.0, 0, 0.0)  # paths that go round through several blocks
@settings(deadline=None, max_examples=80)
def test_blocks_change_nothing(height, width, size, radius, smooth, seed, surest):
    maps = wild_maps((height, width), seed, smooth)
    options = DecodeOptions(sink_radius=radius, min_area=5, min_confidence=0.2, min_surest=surest)
    expected, sure = decode_with_confidence(maps, options)
    np.testing.assert_allclose(sure, mean_confidence(maps, expected), atol=1e-5)
    labels, joined = by_blocks(maps, size, options)
    if radius > 0 or size >= max(height, width):
        assert same_partition(labels, expected)
    count = int(labels.max())
    assert joined.sums.shape == (5, count)
    np.testing.assert_array_equal(joined.sums[0], np.bincount(labels.ravel())[1 : count + 1])
    np.testing.assert_allclose(joined.confidence, mean_confidence(maps, labels), atol=1e-5)
    centres = ndimage.center_of_mass(np.ones_like(labels), labels, np.arange(1, count + 1))
    np.testing.assert_allclose(joined.sums[3:].T / joined.sums[:1].T, np.reshape(centres, (-1, 2)))


@pytest.mark.parametrize("size", [3, 7, 16, 33, 50, 128])
def test_cells_on_corners_and_larger_than_blocks(cells, size):
    shape = (140, 150)
    truth = np.zeros(shape, np.int32)
    truth[:70, :90] = cells
    y, x = np.mgrid[:140, :150]
    truth[np.hypot(y - 95, x - 90) < 40] = 9
    bean = (np.hypot(y - 40, x - 120) < 28) & (np.hypot(y - 40, x - 135) > 20)
    truth[bean & (truth == 0)] = 10
    maps = encode(truth, 24.0)
    labels, _ = by_blocks(maps, size, DecodeOptions())
    assert same_partition(labels, decode(maps))
    assert labels.max() == len(np.unique(truth)) - 1


def test_numbers_do_not_depend_on_the_blocks(cells):
    maps = encode(cells, 24.0)
    first, _ = by_blocks(maps, 20, DecodeOptions())
    second, _ = by_blocks(maps, 31, DecodeOptions())
    np.testing.assert_array_equal(first, second)


def test_a_seam_where_two_tiles_disagree_leaves_the_cell_whole(cells):
    """The last digits of a map may differ between tiles, so may the foreground at its edge."""
    maps = encode(cells, 24.0)
    options = DecodeOptions()
    left, a, way_a = decode_block(
        maps[:, :, :46], (slice(0, 70), slice(0, 45)), origin=(0, 0), options=options
    )
    other = maps.copy()
    other[0, ::3, 45] = -5  # background for the right block, foreground for the left
    right, b, way_b = decode_block(
        other[:, :, 44:], (slice(0, 70), slice(1, 46)), origin=(0, 44), options=options
    )
    joined = join_blocks([a, b], [way_a, way_b].__getitem__, width=90, options=options)
    labels = np.hstack([joined.tables[0][left], joined.tables[1][right]])
    assert labels.max() == 4


def test_nothing_in_any_block():
    maps = np.full((4, 20, 20), -5, np.float32)
    labels, joined = by_blocks(maps, 8, DecodeOptions())
    assert not labels.any()
    assert joined.sums.shape == (5, 0)
