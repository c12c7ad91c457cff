import numpy as np
import pytest

from cellrim.prediction.scale import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    VIEW_PIXELS,
    Look,
    canonical_scale,
    conviction,
    estimate_scale,
    log2_diameter,
    view,
    weighted_median,
)
from cellrim.representation.encode import encode
from cellrim.representation.flow import DecodeOptions


class Network:
    """Sees the same grid of cells at every scale; what it says of their size is up to the test.

    ``answer`` takes the scale and returns octaves (None: no cells) and how sure it is. ``edge``
    takes the scale and returns the edge of the square cells it sees.
    """

    def __init__(self, answer, edge=lambda scale: EDGE):
        self.answer, self.edge, self.scales = answer, edge, []

    def __call__(self, image):
        scale = image.shape[0] / IMAGE.shape[0]
        self.scales.append(scale)
        octaves, sure = self.answer(scale)
        maps = np.zeros((4, *image.shape[:2]), np.float32)
        maps[0] = -9
        if octaves is None:
            return maps
        edge = self.edge(scale)
        y, x = (n % (edge + 4) for n in np.mgrid[: image.shape[0], : image.shape[1]])
        maps[0][(y < edge) & (x < edge)] = 9
        maps[1] = np.where(y < edge / 2, sure, -sure)
        maps[3] = octaves
        return maps


IMAGE = np.zeros((320, 320, 1), np.float32)
EDGE = 12
CANONICAL = EDGE * np.sqrt(4 / np.pi)


def estimate(network):
    return estimate_scale(IMAGE, network, canonical_diameter=CANONICAL)


def test_sure_and_settled_at_once():
    network = Network(lambda scale: (0.0, 0.9))
    assert estimate(network) == 1
    assert network.scales == [1.0]


@pytest.mark.parametrize("answer", [1.0, 0.6, 0.4])
@pytest.mark.parametrize("true", [0.25, 0.4, 0.6, 0.9])
def test_the_answer_is_followed_even_if_the_network_says_too_little(answer, true):
    network = Network(
        lambda scale: (answer * np.log2(scale / true), 0.9),
        edge=lambda scale: max(2, round(EDGE * scale / true)),
    )
    assert estimate(network) == pytest.approx(true, rel=0.1)
    assert len(network.scales) <= 4


def test_near_the_right_scale_the_cells_that_are_found_are_measured():
    """The map calls them canonical, but they are a quarter larger."""
    network = Network(lambda scale: (0.0, 0.9), edge=lambda scale: 15)
    assert estimate(network) == pytest.approx(12 / 15, rel=0.05)
    clumps = Network(lambda scale: (0.0, 0.9), edge=lambda scale: 40)
    assert estimate(clumps) == 1


def test_without_any_cell_the_scale_is_one():
    network = Network(lambda scale: (None, 0.0))
    assert estimate(network) == 1


def test_where_it_is_not_sure_other_scales_are_tried():
    """Any size is called right, but the instances convince at a quarter of the size only."""
    network = Network(lambda scale: (0.0, 0.9 if abs(np.log2(scale) + 2) < 0.6 else 0.2))
    assert estimate(network) == 0.25
    assert len(network.scales) <= 9


@pytest.mark.parametrize(("octaves", "limit"), [(3.0, SMALLEST_SCALE), (-3.0, LARGEST_SCALE)])
def test_limits(octaves, limit):
    look = Look(-octaves, octaves, 1.0)
    assert 2.0 ** canonical_scale(look, [look]) == pytest.approx(limit)


def test_between_two_looks_the_next_is_enclosed():
    large, small = Look(0.0, 1.0, 0.5), Look(-2.0, -0.5, 0.5)
    assert -2 < canonical_scale(large, [large, small]) < 0
    other_way = canonical_scale(small, [large, small])
    assert canonical_scale(large, [large, small]) == pytest.approx(other_way)


def test_between_equals_the_likelier_size_wins():
    near, far = Look(-1.0, 0.0, 0.5), Look(-4.0, 0.0, 0.5)
    assert near.evidence > far.evidence


def test_conviction_is_a_share_of_the_foreground():
    maps = np.zeros((4, 60, 60), np.float32)
    maps[0] = -9
    assert conviction(maps, DecodeOptions()) == 0
    labels = np.zeros((60, 60), np.int32)
    for k in range(4):
        labels[5:17, 3 + 14 * k : 15 + 14 * k] = k + 1
    maps = encode(labels, 12)
    sure = conviction(maps, DecodeOptions())
    assert 0.7 < sure <= 0.8  # four instances count as four fifths
    maps[0, 40:52] = 9  # as much foreground again without an instance: no flow, no confidence
    assert conviction(maps, DecodeOptions(min_confidence=0.5)) < 0.6 * sure


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
