import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask

from cellrim.io.polygons import Polygons, fill_polygons, paint_runs, trace_labels

LABELS = arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)
)


def filled(rings, shape):
    return fill_polygons(Polygons.of((owner, ring, [len(ring)]) for owner, ring in rings), shape)


def as_shapely(outline):
    return shapely.MultiPolygon([(part[0], part[1:]) for part in outline.parts])


@given(LABELS)
@settings(deadline=None)
def test_round_trip_and_valid_polygons(labels):
    outlines = trace_labels(labels)
    assert [o.id for o in outlines] == [i for i in np.unique(labels).tolist() if i]
    back = filled([(o.id, ring) for o in outlines for ring in o.rings], labels.shape)
    np.testing.assert_array_equal(back, labels)
    for outline in outlines:
        shape = as_shapely(outline)
        assert all(part.is_valid for part in shape.geoms), shapely.is_valid_reason(shape)
        assert shape.area == np.count_nonzero(labels == outline.id)
        assert all(len(np.unique(part[0], axis=0)) == len(part[0]) for part in outline.parts)


def test_a_ring_has_corners_only_and_runs_clockwise():
    labels = np.zeros((5, 6), np.int32)
    labels[1:4, 2:5] = 7
    [outline] = trace_labels(labels)
    [[ring]] = outline.parts
    square = [[2, 1], [5, 1], [5, 4], [2, 4]]
    assert ring.tolist() in [np.roll(square, k, 0).tolist() for k in range(4)]


def test_holes_go_to_their_part():
    labels = np.zeros((5, 12), np.int32)
    labels[:, :5] = labels[:, 7:] = 2
    labels[2, 2] = labels[2, 9] = 0
    labels[1, 8] = 0
    [outline] = trace_labels(labels)
    assert [len(part) for part in outline.parts] == [2, 3]
    assert all(shapely.Polygon(p[0], p[1:]).is_valid for p in outline.parts)


def test_any_polygon_is_filled_where_its_inside_holds_the_centre():
    ring = np.array([[2.3, 1.1], [17.8, 4.2], [11.0, 18.7], [8.1, 9.9]])
    ours = filled([(5, ring)], (20, 21))
    theirs = polygon2mask((20, 21), ring[:, ::-1] - 0.5)
    np.testing.assert_array_equal(ours == 5, theirs)


def test_what_is_outside_is_cut_off_and_the_later_wins():
    square = np.array([[-3, -3], [4, -3], [4, 4], [-3, 4]])
    labels = filled([(1, square), (2, square + 4)], (5, 5))
    assert labels.tolist() == [[1, 1, 1, 1, 0], *[[1, 2, 2, 2, 2]] * 3, [0, 2, 2, 2, 2]]


def test_nothing():
    assert trace_labels(np.zeros((3, 4), np.int32)) == []
    assert filled([], (3, 4)).tolist() == np.zeros((3, 4)).tolist()


def test_rings_of_less_than_three_corners_hold_nothing():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]])
    labels = filled([(4, square[:0]), (3, square[:2]), (2, square), (1, square[:0])], (2, 3))
    assert labels.tolist() == [[2, 2, 0]] * 2


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_runs_may_overlap(order):
    labels = paint_runs(np.array([0, 2]), np.array([4, 4]), np.array(order), (2, 3))
    assert labels.ravel().tolist() == [order[0]] * 2 + [order[1]] * 4
