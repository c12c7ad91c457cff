"""The shipped model on a real image: the tiling changes nothing, in memory and streamed."""

import numpy as np
import pytest
import tifffile

from cellrim.io.images import read_image
from cellrim.prediction import load_model
from cellrim.prediction.large import segment_large


def worst_match(found, expected):
    """Smallest IoU over the instances of both, each with its best partner."""
    width = int(expected.max()) + 1
    pairs = np.bincount(
        found.ravel().astype(np.int64) * width + expected.ravel(),
        minlength=(int(found.max()) + 1) * width,
    ).reshape(-1, width)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    iou = pairs[1:, 1:] / np.maximum(union[1:, 1:], 1)
    return min(iou.max(1).min(), iou.max(0).min())


@pytest.fixture(scope="module")
def image(tmp_path_factory, request):
    import os
    from pathlib import Path

    folder = os.environ.get("CELLRIM_DATA")
    if not folder:
        pytest.skip("CELLRIM_DATA is not set: tests on real data are skipped")
    read = read_image(Path(folder) / "plain" / "kc167" / "images" / "102.png")
    path = tmp_path_factory.mktemp("big") / "a.tif"
    pixels = read.pixels if read.pixels.shape[2] == 3 else read.pixels[..., 0]
    tifffile.imwrite(path, pixels, tile=(128, 128), compression="zlib")
    return path


@pytest.fixture(scope="module")
def whole(image):
    return load_model(threads=1, tile_size=2048).segment(read_image(image), diameter=18.0)


@pytest.mark.parametrize("tile_size", [480, 576])
def test_tiles_of_any_size_give_the_same_cells(image, whole, tmp_path, tile_size):
    """About 600 x 600 pixels at the network's scale, in up to a hundred blocks."""
    model = load_model(threads=1, tile_size=tile_size)
    result = segment_large(image, tmp_path / "work", load=lambda: model, diameter=18.0)
    labels = result.levels[0].thinned(1)
    assert result.count == whole.count > 50
    assert worst_match(labels, whole.labels) >= 0.99
    if tile_size > 512:
        tiled = model.segment(read_image(image), diameter=18.0)
        assert tiled.count == whole.count
        assert worst_match(tiled.labels, whole.labels) >= 0.99
