from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy import ndimage

from cellrim.evaluation import count_image, scores
from cellrim.training.patches import grid, nearest

KINDS = {"flow": "Flow", "watershed": "Watershed", "star": "Star", "combined": "Combined"}
QUARTERS = [
    np.array(m, float)
    for m in ([[1, 0], [0, 1]], [[0, -1], [1, 0]], [[0, 1], [1, 0]], [[-1, 0], [0, 1]])
]


def make(name):
    if name == "star":
        pytest.importorskip("stardist", reason="the star-convex benchmark needs the bench extra")
    return getattr(importlib.import_module(f"representations.{name}"), KINDS[name])()


@pytest.fixture(scope="module")
def labels():
    """Ellipses, two of which touch, one of which is cut by the frame; 97 x 97."""
    y, x = np.indices((97, 97))
    out = np.zeros((97, 97), np.int32)
    places = [(20, 22, 9, 12), (20, 45, 9, 11), (60, 30, 14, 9), (70, 70, 11, 13), (30, 96, 10, 10)]
    for k, (cy, cx, ry, rx) in enumerate(places, start=1):
        out[np.hypot((y - cy) / ry, (x - cx) / rx) < 1] = k
    return out


@pytest.mark.parametrize("name", KINDS)
def test_round_trip(name, labels):
    kind = make(name)
    maps = kind.encode(labels)
    assert maps.shape == (kind.outputs, *labels.shape)
    again = kind.decode(maps, kind.defaults)
    assert scores(count_image(again, labels, boundaries=False)).map > 0.95


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("turn", QUARTERS)
def test_turned_maps_are_the_maps_of_the_turned_labels(name, labels, turn):
    kind = make(name)
    where = grid(97, turn, np.array([48.0, 48.0]))
    described = np.moveaxis(kind.describe(labels), 0, 2)
    picked = np.moveaxis(nearest(described, where)[0], 2, 0)
    turned_labels = nearest(labels[..., np.newaxis], where)[0][..., 0]
    got = kind.target(picked, turn, zoom=1.0)
    expected = kind.target(kind.describe(turned_labels), np.eye(2), zoom=1.0)
    # Where two ways to a centre are equally long, and at pixels beside it, either is right.
    inside = ndimage.binary_erosion(turned_labels > 0, iterations=2)
    off = np.abs(got - expected)[:, inside]
    assert np.mean(off > 0.35) < 0.02
    assert np.median(off) < 0.02


def test_no_foreground_decodes_to_nothing():
    for name in ("flow", "watershed", "combined"):
        kind = make(name)
        maps = kind.encode(np.zeros((40, 40), np.int32))
        assert kind.decode(maps, kind.defaults).max() == 0


def test_rays_are_as_long_as_the_zoom_says(labels):
    kind = make("star")
    described = kind.describe(labels)
    one, double = (kind.target(described, np.eye(2), zoom=z) for z in (1.0, 2.0))
    np.testing.assert_allclose(double[1:], 2 * one[1:], rtol=1e-6)
    np.testing.assert_array_equal(double[0], one[0])
