import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrim.errors import InputError
from cellrim.measure.tracks import LinkOptions, Tracker, link, overlaps


def frame(*discs, shape=(60, 120)):
    """Label image of discs (y, x, radius), ids in their order."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for number, (cy, cx, radius) in enumerate(discs, 1):
        labels[np.hypot(y - cy, x - cx) <= radius] = number
    return labels


def track(frames):
    tracker = Tracker()
    ids = [tracker.add(labels).tolist() for labels in frames]
    return ids, tracker.tracks()


def rows(tracks):
    return [
        tuple(int(v) for v in row)
        for row in zip(tracks.begin, tracks.end, tracks.parent, strict=True)
    ]


def test_cells_that_move_keep_their_track_whatever_their_ids():
    ids, tracks = track(
        [
            frame((20, 20, 8), (40, 80, 8)),
            frame((38, 83, 8), (22, 24, 8)),  # the ids are swapped
            frame((24, 28, 8), (36, 86, 8)),
        ]
    )
    assert ids == [[0, 1, 2], [0, 2, 1], [0, 1, 2]]
    assert rows(tracks) == [(0, 2, 0), (0, 2, 0)]
    assert tracks.divisions == 0


def test_a_cell_that_appears_and_one_that_vanishes():
    ids, tracks = track(
        [
            frame((20, 20, 8)),
            frame((20, 20, 8), (40, 80, 8)),
            frame((40, 80, 8)),
            frame((40, 80, 8), (20, 20, 8)),  # back again: a track of its own
        ]
    )
    assert ids == [[0, 1], [0, 1, 2], [0, 2], [0, 2, 3]]
    assert rows(tracks) == [(0, 1, 0), (1, 3, 0), (3, 3, 0)]


def test_a_division_ends_the_mother_and_begins_two_daughters():
    ids, tracks = track(
        [
            frame((30, 60, 14), (30, 20, 8)),
            frame((30, 52, 8), (30, 20, 8), (30, 69, 8)),
            frame((30, 50, 8), (30, 20, 8), (30, 71, 8)),
        ]
    )
    assert ids == [[0, 1, 2], [0, 3, 2, 4], [0, 3, 2, 4]]
    assert rows(tracks) == [(0, 0, 0), (0, 2, 0), (1, 2, 1), (1, 2, 1)]
    assert tracks.divisions == 1


def test_a_speck_that_splits_off_is_no_daughter():
    _, tracks = track([frame((30, 60, 14)), frame((30, 57, 11), (30, 71, 2))])
    assert rows(tracks) == [(0, 1, 0), (1, 1, 0)]


def test_two_cells_that_merge_are_one_track_that_goes_on():
    ids, tracks = track([frame((30, 50, 9), (30, 68, 8)), frame((30, 58, 16))])
    assert ids[1] == [0, 1]
    assert rows(tracks) == [(0, 1, 0), (0, 0, 0)]


def test_a_neighbour_that_is_not_a_daughter_starts_without_parent():
    # Half of it lies outside of the cell before.
    _, tracks = track([frame((30, 40, 10)), frame((30, 40, 9), (30, 57, 8))])
    assert rows(tracks)[1] == (1, 1, 0)


def test_empty_frames_and_gaps_in_the_ids():
    labels = np.zeros((5, 5), np.int32)
    labels[2, 2] = 4
    ids, tracks = track([np.zeros((5, 5), np.int32), labels, np.zeros((5, 5), np.int32)])
    assert ids == [[0], [0, 0, 0, 0, 1], [0]]
    assert rows(tracks) == [(1, 1, 0)]
    assert rows(Tracker().tracks()) == []


def test_frames_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="one shape"):
        link(np.zeros((4, 4), np.int32), np.zeros((4, 5), np.int32))


@pytest.mark.parametrize("name", ["min_iou", "min_inside", "min_balance"])
def test_options_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=name):
        LinkOptions(**{name: 1.5})


def plain_links(before, after, min_iou):
    """Slow twin: all pairs, one after the other, best first."""
    pairs = []
    for a in np.unique(before[before > 0]):
        for b in np.unique(after[after > 0]):
            shared = np.count_nonzero((before == a) & (after == b))
            union = np.count_nonzero((before == a) | (after == b))
            if shared and shared / union >= min_iou:
                pairs.append((-shared / union, a, b))
    own, used = {}, set()
    for _, a, b in sorted(pairs):
        if a not in used and b not in own:
            own[int(b)] = int(a)
            used.add(a)
    return own


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_links_and_overlaps_are_those_of_a_plain_loop(seed, count):
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, count, (2, 7, 8)).astype(np.int32)
    a, b, shared = overlaps(before, after)
    for i, j, n in zip(a, b, shared, strict=True):
        assert n == np.count_nonzero((before == i) & (after == j))
    assert shared.sum() == np.count_nonzero((before > 0) & (after > 0))
    links = link(before, after, LinkOptions(min_inside=1, min_balance=1))
    expected = plain_links(before, after, 0.1)
    # A daughter has a mother in the place of its link.
    mothers = {int(k): int(v) for k, v in enumerate(links.mother) if v}
    for k, v in enumerate(links.before):
        if k not in mothers:
            assert expected.get(k, 0) == v
    assert all(list(mothers.values()).count(m) == 2 for m in mothers.values())
