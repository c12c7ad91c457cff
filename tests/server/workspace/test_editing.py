import numpy as np
import pytest

from cellrim.errors import InputError
from cellrim.server.workspace import editing
from cellrim.server.workspace.editing import Box


def apply(labels, change):
    result = labels.copy()
    result[change.box.slices] = change.labels
    return result


def test_delete_takes_only_these_cells(two):
    change = editing.delete(two, [2])
    after = apply(two, change)
    assert not (after == 2).any()
    np.testing.assert_array_equal(after[two != 2], two[two != 2])
    assert change.box == Box(10, 20, 20, 30)
    assert change.confidence == {2: None}


@pytest.mark.parametrize("ids", [[], [4], [0], [1, 9]])
def test_delete_of_what_is_not_there(two, ids):
    with pytest.raises(InputError):
        editing.delete(two, ids)


def test_merge_of_touching_cells_keeps_the_smallest_id(two):
    after = apply(two, editing.merge(two, [2, 1]))
    assert (after[10:20, 10:30] == 1).all()
    assert (after == 1).sum() == 200


def test_merge_fills_a_narrow_gap_and_nothing_else(two):
    two[:, 19:22] = 0
    after = apply(two, editing.merge(two, [1, 2]))
    assert (after[10:20, 10:30] == 1).all()
    assert (after > 0).sum() == 200 + 60


def test_merge_across_the_frame_gap(two):
    at_edge = two[10:, 10:]  # both cells are cut by the frame
    at_edge = at_edge.copy()
    at_edge[:, 9:11] = 0
    after = apply(at_edge, editing.merge(at_edge, [1, 2]))
    assert (after[:10, :20] == 1).all()


def test_merge_of_cells_apart_is_refused(two):
    with pytest.raises(InputError, match="lie apart"):
        editing.merge(two, [1, 3])
    with pytest.raises(InputError, match="two cells"):
        editing.merge(two, [1])


def test_merge_does_not_fill_a_third_cell(two):
    two[10:20, 19:22] = 0
    two[14:16, 19:22] = 7
    after = apply(two, editing.merge(two, [1, 2]))
    assert (after == 7).sum() == 6


@pytest.mark.parametrize(
    "line",
    [
        [(15.5, 5), (15.5, 25)],
        [(5, 12), (25, 17)],
        [(9, 9), (21, 21)],
        [(15, 12), (15, 18)],  # stops short on both sides: prolonged
        [(5, 15), (12, 13), (15, 17), (25, 15)],
    ],
)
def test_split_parts_the_pixels_of_one_cell(two, line):
    change = editing.split(two, line, cell=1)
    after = apply(two, change)
    pieces = set(np.unique(after[two == 1]).tolist())
    assert pieces == {1, 4}
    np.testing.assert_array_equal(after[two != 1], two[two != 1])
    assert (after == 1).sum() >= (after == 4).sum() >= editing._SMALLEST_CELL


def test_split_finds_the_cell_below_the_line(two):
    after = apply(two, editing.split(two, [(50, 28), (50, 38)]))
    # The column of the line itself goes to one of the sides.
    assert {(after == 4).sum(), (after == 3).sum()} == {24, 36}


def test_split_follows_the_line(two):
    after = apply(two, editing.split(two, [(13, 0), (13, 39)]))
    kept, cut = after == 1, after == 4
    assert np.nonzero(cut)[1].max() <= 13
    assert np.nonzero(kept)[1].min() >= 13


@pytest.mark.parametrize("line", [[(1, 1), (1, 30)], [(1, 1)], [(40, 3), (50, 3)]])
def test_split_where_nothing_is_crossed(two, line):
    with pytest.raises(InputError):
        editing.split(two, line)


def test_split_beside_the_cell(two):
    with pytest.raises(InputError, match="does not part"):
        editing.split(two, [(1, 1), (1, 30)], cell=1)


def test_draw_a_new_cell(two):
    after = apply(two, editing.draw(two, [(2, 2), (8, 2), (8, 7), (2, 7)]))
    assert (after[2:7, 2:8] == 4).all()
    assert (after == 4).sum() == 30


def test_draw_an_old_cell_anew_wins_over_its_neighbour(two):
    change = editing.draw(two, [(12, 12), (24, 12), (24, 18), (12, 18)], cell=1)
    after = apply(two, change)
    assert (after == 1).sum() == 12 * 6
    assert (after[12:18, 12:24] == 1).all()
    assert (after == 2).sum() == 100 - 4 * 6


def test_draw_across_a_cell_leaves_its_largest_piece(two):
    after = apply(two, editing.draw(two, [(5, 12), (25, 12), (25, 14), (5, 14)], cell=2))
    assert (after == 1).sum() == 60  # rows 14..19; the two rows above the bar are gone
    assert not (after[10:12, 10:20] == 1).any()


def test_draw_over_a_whole_cell_takes_it_away(two):
    change = editing.draw(two, [(44, 29), (56, 29), (56, 37), (44, 37)])
    assert change.confidence == {4: 1.0, 3: None}
    assert not (apply(two, change) == 3).any()


def test_draw_is_cut_off_at_the_frame(two):
    after = apply(two, editing.draw(two, [(-5, -5), (4, -5), (4, 4), (-5, 4)]))
    assert (after == 4).sum() == 16


@pytest.mark.parametrize(
    "polygon", [[(1, 1), (2, 2)], [(-9, -9), (-5, -9), (-5, -5)], [(70, 1), (80, 1), (80, 9)]]
)
def test_draw_of_nothing(two, polygon):
    with pytest.raises(InputError):
        editing.draw(two, polygon)
