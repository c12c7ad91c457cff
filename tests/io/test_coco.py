import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from scipy import ndimage

from cellrim.errors import DatasetError, InputError
from cellrim.io.coco import (
    decode_segmentation,
    encode_segmentation,
    fill_polygon,
    trace_polygons,
)

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20))
coordinates = st.floats(-8, 30, allow_nan=False, width=32) | st.integers(-4, 24).map(float)
polygons = st.lists(coordinates, min_size=3, max_size=12).flatmap(
    lambda xs: st.lists(coordinates, min_size=len(xs), max_size=len(xs)).map(
        lambda ys: [v for pair in zip(xs, ys, strict=True) for v in pair]
    )
)


def reference(segmentation, shape):
    """The mask that pycocotools makes of any segmentation."""
    height, width = shape
    is_compressed = isinstance(segmentation, dict) and isinstance(segmentation["counts"], str)
    rle = segmentation if is_compressed else coco.frPyObjects(segmentation, height, width)
    with warnings.catch_warnings():  # pycocotools is behind on numpy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        return coco.decode(coco.merge(rle) if isinstance(rle, list) else rle).astype(bool)


@given(polygons)
def test_polygons_are_filled_as_pycocotools_fills_them(polygon):
    shape = (17, 23)
    np.testing.assert_array_equal(fill_polygon(polygon, shape), reference([polygon], shape))


@pytest.mark.parametrize("seed", range(5))
def test_polygons_of_cell_shape_are_filled_as_pycocotools_fills_them(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(20, 70, 40)
    polygon = np.stack([60 + radius * np.cos(angle), 50 + radius * np.sin(angle)], 1).ravel()
    got = fill_polygon(polygon.tolist(), (100, 120))
    np.testing.assert_array_equal(got, reference([polygon.tolist()], (100, 120)))
    assert got.any()


def test_several_polygons_are_a_union():
    segmentation = [[1, 1, 6, 1, 6, 6, 1, 6], [4, 4, 9, 4, 9, 9, 4, 9]]
    got = decode_segmentation(segmentation, (12, 12))
    np.testing.assert_array_equal(got, reference(segmentation, (12, 12)))
    assert got.sum() == 25 + 25 - 4


@given(masks, st.booleans())
def test_run_lengths_come_back_and_are_as_pycocotools_reads_them(mask, compressed):
    segmentation = encode_segmentation(mask, compressed=compressed)
    np.testing.assert_array_equal(decode_segmentation(segmentation, mask.shape), mask)
    np.testing.assert_array_equal(reference(segmentation, mask.shape), mask)


@given(masks)
def test_traced_polygons_fill_to_the_same_mask(mask):
    filled = ndimage.binary_fill_holes(mask)  # 4-connected holes are what a polygon cannot have
    traced = trace_polygons(filled)
    assert len(traced) == ndimage.label(filled)[1]
    if traced:
        np.testing.assert_array_equal(decode_segmentation(traced, mask.shape), filled)
        np.testing.assert_array_equal(reference(traced, mask.shape), filled)


def test_a_rectangle_has_four_corners():
    mask = np.zeros((6, 8), bool)
    mask[2:5, 3:7] = True
    assert sorted(zip(*[iter(trace_polygons(mask)[0])] * 2, strict=True)) == [
        (3, 2),
        (3, 5),
        (7, 2),
        (7, 5),
    ]


def test_a_hole_has_no_polygon():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    with pytest.raises(InputError, match="holes"):
        trace_polygons(mask)
    with pytest.raises(InputError, match="bool mask"):
        trace_polygons(np.ones((3, 3)))


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "NoneType"),
        ([], "list"),
        ("text", "str"),
        ([[1, 2, 3, 4]], "three corners"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three corners"),
        ([[[1, 2], [3, 4], [5, 6]]], "three corners"),
        ([["a", 2, 3, 4, 5, 6]], "numbers"),
        ([[1, 2, [3], 4, 5, 6]], "numbers"),
        ([[1, 2, float("nan"), 4, 5, 6]], "NaN"),
        ([[1, 2, 1e12, 4, 5, 6]], "1e6"),
        ({"size": [4, 5], "counts": [20]}, "size"),
        ({"size": [5, 4]}, "NoneType"),
        ({"size": [5, 4], "counts": [19]}, "sum to 19"),
    ],
)
def test_malformed_segmentations_are_named(segmentation, words):
    with pytest.raises(DatasetError, match=words):
        decode_segmentation(segmentation, (5, 4))
