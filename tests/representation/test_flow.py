from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from skimage.draw import disk, ellipse

from cellrim.evaluation import count_image, scores
from cellrim.io.labels import read_labels
from cellrim.representation import encode as encoding
from cellrim.representation import flow
from cellrim.representation.encode import encode
from cellrim.representation.flow import DecodeOptions, decode, decode_with_confidence

KEEP_ALL = DecodeOptions(min_area=1)


def discs(shape, *circles):
    labels = np.zeros(shape, np.int32)
    for i, (y, x, r) in enumerate(circles, 1):
        labels[disk((y, x), r, shape=shape)] = i
    return labels


def follow_plainly(maps, labels):
    """Oracle: walk pixel by pixel down the flow and see where each walk ends."""
    ends = {}
    height, width = labels.shape
    for y, x in zip(*np.nonzero(labels), strict=True):
        at = (y, x)
        for _ in range(512):
            v = maps[1:3, at[0], at[1]]
            length = float(np.hypot(*v))
            if length == 0:
                break
            step = np.rint(v / length * flow._STEP).astype(int)
            to = (
                int(np.clip(at[0] + step[0], 0, height - 1)),
                int(np.clip(at[1] + step[1], 0, width - 1)),
            )
            if not labels[to] or to == at:
                break
            at = to
        ends[y, x] = at
    return ends


def test_touching_discs_come_back_exactly():
    labels = discs((80, 90), (20, 20, 15), (20, 48, 13), (50, 30, 18), (60, 70, 9))
    assert_same_instances(decode(encode(labels, 24.0)), labels)


def test_shapes_that_are_not_convex_come_back_exactly():
    labels = np.zeros((100, 120), np.int32)
    labels[10:90, 10:22] = 1  # a horseshoe around ...
    labels[78:90, 22:70] = 1
    labels[10:90, 58:70] = 1
    labels[30:60, 30:50] = 2  # ... another cell
    labels[ellipse(50, 95, 40, 8)] = 3
    labels[5, 75:118] = 4  # one pixel wide
    for i in range(20):
        labels[70 + i, 95 + i] = 5  # connected by corners only
    assert_same_instances(decode(encode(labels, 24.0), KEEP_ALL), labels)


def test_tiny_cells_come_back():
    labels = np.zeros((30, 30), np.int32)
    labels[2, 2] = 1
    labels[5:7, 5:7] = 2
    labels[10:13, 10:13] = 3
    labels[10:13, 13:16] = 4
    labels[20:24, 3] = 5
    assert_same_instances(
        decode(encode(labels, 24.0), DecodeOptions(min_area=1, sink_radius=0)), labels
    )


def apart(labels, maps):
    """Whether no two cells have their centres side by side: such slivers are one to the decoder."""
    centres = np.where((labels > 0) & (np.hypot(maps[1], maps[2]) == 0), labels, 0)
    highest = ndimage.maximum_filter(centres, 3)
    lowest = ndimage.minimum_filter(np.where(centres > 0, centres, labels.size), 3)
    at = centres > 0
    return bool((highest[at] == lowest[at]).all())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_cells_come_back(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((64, 72), np.int32)
    for i in range(1, int(rng.integers(2, 12))):
        y, x = rng.integers(0, 64), rng.integers(0, 72)
        rr, cc = ellipse(
            y, x, *rng.uniform(4, 12, 2), shape=labels.shape, rotation=rng.uniform(0, 3)
        )
        labels[rr, cc] = i
    maps = encode(labels, 24.0)
    whole = np.where(maps[0] > 0, labels, 0)  # slips of the pen are left out
    assume(apart(whole, maps))
    again = decode(maps, DecodeOptions(min_area=1, sink_radius=0))
    # Every decoded instance lies in one cell, and each connected cell is one instance.
    for i in range(1, again.max() + 1):
        assert len(np.unique(whole[again == i])) == 1
    assert ((again > 0) == (whole > 0)).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_few_ends_and_many_are_grouped_alike(seed, radius):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40, 2))
    places = np.flatnonzero(rng.random(shape) < rng.random() ** 2)
    one = flow._join_few(places, shape, radius)
    other = flow._join_many(places, shape, radius)
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)


def test_decoding_goes_where_walking_goes():
    labels = discs((40, 60), (18, 18, 12), (20, 40, 11))
    maps = encode(labels, 24.0)
    nodes = np.flatnonzero(labels)
    ends = flow.follow(flow.next_node(maps, labels > 0, nodes))
    width = labels.shape[1]
    plain = follow_plainly(maps, labels)
    for node, end in zip(nodes, nodes[ends], strict=True):
        assert divmod(int(end), width) == plain[divmod(int(node), width)]


def test_distance_agrees_with_shortest_paths():
    """Independent reference: Dijkstra on the pixel graph with knight moves (within 3 %)."""
    labels = np.zeros((60, 60), np.int32)
    labels[5:55, 5:15] = 1
    labels[45:55, 5:55] = 1
    labels[5:55, 45:55] = 1
    nodes = np.flatnonzero(labels)
    index = -np.ones(labels.size, int)
    index[nodes] = np.arange(len(nodes))
    y, x = np.divmod(nodes, 60)
    edges = []
    moves = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if np.gcd(a, b) == 1]
    for dy, dx in moves:
        ty, tx = y + dy, x + dx
        ok = (ty >= 0) & (ty < 60) & (tx >= 0) & (tx < 60)
        target = np.where(ok, index[np.clip(ty, 0, 59) * 60 + np.clip(tx, 0, 59)], -1)
        here = np.flatnonzero(target >= 0)
        edges.append((here, target[here], np.full(len(here), np.hypot(dy, dx))))
    row, column, weight = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    graph = coo_array((weight, (row, column)), shape=(len(nodes),) * 2).tocsr()
    pieces = labels
    centre = encoding._centres(pieces, nodes)
    neighbours = encoding._same_piece_neighbours(pieces, nodes)
    mine = encoding._geodesic_distance(neighbours, centre)[:-1]
    reference = dijkstra(graph, indices=int(centre[0]))
    far = reference > 5
    assert np.abs(mine[far] / reference[far] - 1).max() < 0.04


def test_flow_has_unit_length_and_never_leaves_the_cell():
    labels = discs((60, 60), (20, 20, 14), (40, 42, 15))
    maps = encode(labels, 24.0)
    length = np.hypot(maps[1], maps[2])
    assert np.allclose(length[labels == 0], 0)
    still = (labels > 0) & (length == 0)
    assert still.sum() == 2  # the two centres
    assert np.allclose(length[(labels > 0) & ~still], 1, atol=1e-5)


def test_diameter_map():
    labels = discs((80, 80), (40, 40, 24))
    maps = encode(labels, 24.0)
    assert maps[3][40, 40] == pytest.approx(1.0, abs=0.02)
    assert maps[3][0, 0] == 0


def test_specks_of_a_label_are_left_out():
    labels = discs((60, 60), (25, 25, 15))
    labels[50:53, 50:53] = 1
    assert decode(encode(labels, 24.0), KEEP_ALL).max() == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 2)])
def test_small_shapes(shape):
    labels = np.ones(shape, np.int32)
    assert (decode(encode(labels, 24.0), KEEP_ALL) == 1).all()
    nothing = np.zeros(shape, np.int32)
    assert (decode(encode(nothing, 24.0)) == 0).all()


def test_small_and_doubtful_instances_are_dropped():
    labels = discs((60, 60), (15, 15, 10), (45, 45, 3))
    maps = encode(labels, 24.0)
    assert decode(maps, DecodeOptions(min_area=50)).max() == 1
    maps[1:3][:, labels == 1] *= 0.2
    _, sure = decode_with_confidence(maps, KEEP_ALL)
    assert sure[0] < 0.25 < 0.9 < sure[1]
    kept = decode(maps, DecodeOptions(min_confidence=0.5))
    assert kept.max() == 1
    assert kept[45, 45] == 1


@pytest.mark.parametrize(("min_surest", "count"), [(0.0, 2), (0.5, 2), (0.95, 2), (0.999, 0)])
def test_without_a_sure_instance_there_is_none(min_surest, count):
    labels = discs((60, 60), (15, 15, 10), (45, 45, 10))
    maps = encode(labels, 24.0)
    maps[1:3][:, labels == 1] *= 0.2
    found, sure = decode_with_confidence(maps, DecodeOptions(min_surest=min_surest))
    assert found.max() == len(sure) == count


def test_an_instance_that_is_dropped_does_not_vouch_for_others():
    labels = discs((60, 60), (15, 15, 10), (45, 45, 3))
    maps = encode(labels, 24.0)
    maps[1:3][:, labels == 1] *= 0.5  # the small one is sure
    assert decode(maps, DecodeOptions(min_surest=0.9)).max() == 2
    assert decode(maps, DecodeOptions(min_surest=0.9, min_area=50)).max() == 0


@pytest.mark.skipif("CELLRIM_DATA" not in os.environ, reason="CELLRIM_DATA is not set")
@pytest.mark.parametrize(
    "dataset", ["kc167", "mixed", "usiigaci", "bacteria", "yeast", "deepcell", "dsb2018"]
)
def test_real_labels_come_back(dataset):
    root = Path(os.environ["CELLRIM_DATA"]) / "plain"
    with (root / "index.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["dataset"] == dataset]
    rows = rows[:: max(1, len(rows) // 5)]
    total = None
    for row in rows:
        labels = read_labels(root / row["labels"])
        counts = count_image(decode(encode(labels, 24.0)), labels)
        total = counts if total is None else total + counts
    assert scores(total).ap90 >= 0.985


def assert_same_instances(one, other):
    """Equal but for the numbering."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    assert len(pairs[0]) == len(np.unique(one)) == len(np.unique(other))
