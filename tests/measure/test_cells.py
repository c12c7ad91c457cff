import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import regionprops

from cellrim.core.image import image_from_array
from cellrim.errors import InputError
from cellrim.measure.cells import measure_cells

# Names here and in skimage, where they differ.
SKIMAGE = {
    "area": "area",
    "diameter": "equivalent_diameter_area",
    "perimeter": "perimeter",
    "axis_major": "axis_major_length",
    "axis_minor": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "feret_max": "feret_diameter_max",
}
INTENSITIES = {"mean": "mean", "median": "median", "sd": "std", "min": "min", "max": "max"}


def assert_agrees_with_skimage(labels, image):
    table = measure_cells(labels, image)
    props = regionprops(labels, intensity_image=image.pixels.astype(np.float64))
    assert table.columns["id"].tolist() == [p.label for p in props]
    assert len(table) == len(props)
    for row, p in enumerate(props):
        cell = {name: values[row] for name, values in table.columns.items()}
        for name, theirs in SKIMAGE.items():
            assert cell[name] == pytest.approx(p[theirs], rel=1e-9, abs=2e-6), name
        assert (cell["centroid_y"], cell["centroid_x"]) == pytest.approx(p.centroid)
        assert tuple(cell[f"bbox_{k}"] for k in ("y0", "x0", "y1", "x1")) == p.bbox
        if cell["eccentricity"] > 0.01:  # else the direction is rounding
            turned = cell["orientation"] - np.degrees(p.orientation)
            assert (turned + 90) % 180 - 90 == pytest.approx(0, abs=1e-5)
        for name, theirs in INTENSITIES.items():
            values = [cell[f"{name}_{channel}"] for channel in image.channels]
            np.testing.assert_allclose(
                values, np.atleast_1d(p[f"intensity_{theirs}"]), rtol=1e-6, atol=1e-9
            )


@given(
    arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 5)),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_agrees_with_skimage_on_any_labels(labels, channels):
    pixels = np.random.default_rng(0).integers(0, 65535, (*labels.shape, channels))
    assert_agrees_with_skimage(labels, image_from_array(pixels.astype(np.uint16), axes="YXC"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_agrees_with_skimage_on_cells(dtype):
    rng = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(rng.random((300, 260)), 4)
    labels, count = ndimage.label(smooth > smooth.mean())
    labels = labels.astype(np.int32) * 3  # gaps
    assert count > 20
    pixels = (rng.random((300, 260)) * 255).astype(dtype)
    assert_agrees_with_skimage(labels, image_from_array(pixels))


def test_no_cells():
    image = image_from_array(np.zeros((5, 6), np.uint8))
    table = measure_cells(np.zeros((5, 6), np.int32), image, confidence=np.zeros(0, np.float32))
    assert len(table) == 0
    assert {len(v) for v in table.columns.values()} == {0}
    filled = measure_cells(np.ones((5, 6), np.int32), image, confidence=np.ones(1, np.float32))
    assert list(table.columns) == list(filled.columns)


def test_confidence_follows_the_ids():
    labels = np.array([[0, 9, 9], [4, 0, 0]], np.int32)
    image = image_from_array(np.arange(6, dtype=np.uint8).reshape(2, 3))
    table = measure_cells(labels, image, confidence=np.array([0.25, 0.75], np.float32))
    assert table.columns["id"].tolist() == [4, 9]
    assert table.columns["confidence"].tolist() == [0.25, 0.75]
    assert table.columns["mean_grey"].tolist() == [3, 1.5]


def test_channels_of_one_name_keep_apart():
    image = image_from_array(np.zeros((2, 2, 2), np.uint8), axes="YXC", channels=("dna", "dna"))
    assert {"mean_dna", "mean_dna_2"} <= set(
        measure_cells(np.ones((2, 2), np.int32), image).columns
    )


def test_huge_ids():
    labels = np.array([[0, 2**31 - 1], [5, 0]], np.int32)
    table = measure_cells(labels, image_from_array(np.ones((2, 2), np.uint8)))
    assert table.columns["id"].tolist() == [5, 2**31 - 1]


def test_errors():
    image = image_from_array(np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match=r"\(2, 3\).*\(3, 2\)"):
        measure_cells(np.zeros((3, 2), np.int32), image)
    with pytest.raises(InputError, match="1 confidences"):
        measure_cells(np.ones((2, 3), np.int32), image, confidence=np.zeros(2, np.float32))


def test_a_hundred_thousand_cells_take_seconds():
    cell = ndimage.binary_dilation(np.pad([[True]], 7), iterations=6).astype(np.int32)
    tiles = np.arange(1, 100_001, dtype=np.int32).reshape(250, 400)
    labels = np.kron(tiles, cell)
    image = image_from_array(np.ones(labels.shape, np.uint8))
    begin = time.process_time()
    table = measure_cells(labels, image)
    assert len(table) == 100_000
    assert time.process_time() - begin < 5
