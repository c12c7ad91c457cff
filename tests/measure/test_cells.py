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


def test_micrometres(cells, picture):
    table = measure_cells(cells, image_from_array(picture, pixel_size=0.5)).columns
    np.testing.assert_allclose(table["area_um2"], table["area"] / 4)
    np.testing.assert_allclose(table["feret_max_um"], table["feret_max"] / 2)
    assert "area_um2" not in measure_cells(cells, image_from_array(picture)).columns


def test_narrowest_slit_is_found_by_turning():
    rng = np.random.default_rng(2)
    smooth = ndimage.gaussian_filter(rng.random((120, 120)), 5)
    labels = ndimage.label(smooth > smooth.mean())[0].astype(np.int32)
    table = measure_cells(labels, image_from_array(np.zeros(labels.shape, np.uint8))).columns
    angles = np.radians(np.arange(0, 180, 0.05))
    middles = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
    for prop, narrowest in zip(regionprops(labels), table["feret_min"], strict=True):
        points = np.argwhere(prop.image_convex)[:, np.newaxis] + middles
        across = points.reshape(-1, 2) @ np.stack([np.sin(angles), np.cos(angles)])
        turned = np.ptp(across, axis=0).min()
        assert narrowest == pytest.approx(turned, rel=2e-3)
        assert narrowest <= turned + 1e-9


def test_neighbours_and_the_frame(cells, picture):
    table = measure_cells(cells, image_from_array(picture)).columns
    assert table["neighbours"].tolist() == [1, 1, 0, 0]
    assert table["nearest_id"].tolist() == [2, 1, 2, 1]
    assert table["touches_border"].tolist() == [False, False, False, True]
    centres = np.stack([table["centroid_y"], table["centroid_x"]], axis=1)
    between = np.linalg.norm(centres[0] - centres[1])
    np.testing.assert_allclose(table["neighbour_distance"], [between, between, np.nan, np.nan])
    np.testing.assert_allclose(table["nearest_distance"][:2], between)


def test_the_background_is_taken_off_and_nan_left_out():
    labels = np.zeros((4, 5), np.int32)
    labels[1, 1:3] = 1
    pixels = np.full((4, 5), 3, np.float32)
    pixels[1, 1:3] = 10, np.nan
    pixels[0, 0] = np.nan
    table = measure_cells(labels, image_from_array(pixels))
    assert table.background == {"grey": 3}
    cell = {name: values[0] for name, values in table.columns.items()}
    assert (cell["mean_grey"], cell["integrated_grey"], cell["sd_grey"]) == (10, 10, 0)
    assert cell["corrected_mean_grey"] == 7
    full = measure_cells(np.ones((4, 5), np.int32), image_from_array(pixels))
    assert np.isnan(full.columns["corrected_mean_grey"][0])


def test_nucleus_against_cytoplasm():
    cells = np.array([[1, 1, 1, 2, 2], [1, 1, 1, 2, 2]], np.int32)
    nuclei = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.int32)
    pixels = np.array([[2, 8, 10, 5, 5], [2, 4, 4, 5, 5]], np.uint8)
    columns = measure_cells(cells, image_from_array(pixels), nuclei=nuclei).columns
    assert columns["nucleus_area"].tolist() == [2, 0]
    assert columns["cytoplasm_area"].tolist() == [4, 4]
    np.testing.assert_allclose(columns["nucleus_mean_grey"], [9, np.nan])
    np.testing.assert_allclose(columns["nucleus_cytoplasm_ratio_grey"], [3, np.nan])
    with pytest.raises(InputError, match="no cell has id 7"):
        measure_cells(cells, image_from_array(pixels), nuclei=nuclei * 7)


def test_chunks_change_nothing(monkeypatch, cells, picture):
    whole = measure_cells(cells, image_from_array(picture)).columns
    monkeypatch.setattr("cellrim.measure.intensity._CHUNK_PIXELS", 600)
    for name, values in measure_cells(cells, image_from_array(picture)).columns.items():
        np.testing.assert_array_equal(values, whole[name])
