import numpy as np
import pytest

from cellrim.prediction.scale import (
    LARGEST_SCALE,
    MAX_PASSES,
    SMALLEST_SCALE,
    VIEW_PIXELS,
    estimate_scale,
    log2_diameter,
    view,
    weighted_median,
)
from cellrim.representation.flow import encode


class Network:
    """Says what a function of the shape says, and counts its calls."""

    def __init__(self, answer):
        self.answer, self.calls = answer, 0

    def __call__(self, image):
        self.calls += 1
        maps = np.zeros((4, *image.shape[:2]), np.float32)
        octaves = self.answer(self.calls)
        maps[0] = -9 if octaves is None else 9
        maps[3] = octaves or 0
        return maps


IMAGE = np.random.default_rng(0).random((80, 80, 1)).astype(np.float32)


def test_settled_at_once():
    network = Network(lambda call: 0.1)
    assert estimate_scale(IMAGE, network) == pytest.approx(2**-0.1)
    assert network.calls == 1


def test_without_any_cell_the_scale_is_one():
    network = Network(lambda call: None)
    assert estimate_scale(IMAGE, network) == 1
    assert network.calls == MAX_PASSES


@pytest.mark.parametrize(("octaves", "limit"), [(3.0, SMALLEST_SCALE), (-3.0, LARGEST_SCALE)])
def test_limits(octaves, limit):
    assert estimate_scale(IMAGE, Network(lambda call: octaves)) == limit


def test_an_estimate_survives_a_view_without_cells():
    network = Network(lambda call: 1.0 if call == 1 else None)
    assert estimate_scale(IMAGE, network) == 0.5


def test_each_cell_counts_once_whatever_its_size():
    labels = np.zeros((100, 100), np.int32)
    for k in range(5):
        labels[2:10, 4 + 12 * k : 12 + 12 * k] = k + 1  # five small
    labels[20:70, 10:60] = 9  # one large
    expected = np.log2(np.sqrt(64 * 4 / np.pi) / 16)
    assert log2_diameter(encode(labels, 16)) == pytest.approx(expected, abs=0.01)


def test_specks_are_no_evidence():
    maps = np.full((4, 50, 50), -9, np.float32)
    maps[0, 3, 3:9] = 9
    assert log2_diameter(maps) is None


@pytest.mark.parametrize("shape", [(1, 1), (5000, 3), (2, 4000), (3000, 2000), (100, 100)])
@pytest.mark.parametrize("scale", [1 / 16, 0.3, 1.0, 8.0])
def test_views_are_bounded(shape, scale):
    image = np.zeros((*shape, 1), np.float32)
    got = view(image, scale)
    assert got.shape[2] == 1
    assert got.shape[0] * got.shape[1] <= 1.1 * VIEW_PIXELS + 5000 * scale + 100


def test_a_view_goes_where_something_is():
    image = np.zeros((1200, 1200, 1), np.float32)
    image[1000:1100:4, 50:200] = 1
    assert view(image, 1.0).max() == 1


def test_weighted_median_of_equal_weights_is_the_lower_median():
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert weighted_median(values, np.ones(4)) == 2
