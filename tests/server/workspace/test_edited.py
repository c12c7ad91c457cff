from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellrim.errors import InputError
from cellrim.server.workspace import edited as edited_labels
from cellrim.server.workspace import editing
from cellrim.server.workspace.edited import EditedLabels


def test_undo_and_redo_restore_labels_and_confidence(two, tmp_path):
    edited = EditedLabels(two.copy(), {1: 0.9, 2: 0.8, 3: 0.7}, folder=tmp_path)
    edited.apply(editing.merge(edited.labels, [1, 2]))
    edited.apply(editing.delete(edited.labels, [3]))
    assert edited.confidence == {1: 1.0}
    after = edited.labels.copy()
    edited.undo()
    edited.undo()
    np.testing.assert_array_equal(edited.labels, two)
    assert edited.confidence == {1: 0.9, 2: 0.8, 3: 0.7}
    edited.redo()
    edited.redo()
    np.testing.assert_array_equal(edited.labels, after)
    assert edited.confidence == {1: 1.0}
    with pytest.raises(InputError, match="nothing"):
        edited.redo()


def test_a_new_change_ends_redo(two, tmp_path):
    edited = EditedLabels(two.copy(), {1: 0.9, 2: 0.8, 3: 0.7}, folder=tmp_path)
    edited.apply(editing.delete(edited.labels, [1]))
    edited.undo()
    edited.apply(editing.delete(edited.labels, [2]))
    assert edited.redoable == 0
    assert edited.undoable == 1


def test_replacing_all_is_undone_like_any_change(two, tmp_path):
    edited = EditedLabels(two.copy(), {1: 0.9, 2: 0.8, 3: 0.7}, folder=tmp_path)
    new = np.where(two == 3, 1, 0).astype(np.int32)
    sure = np.array([0.5], np.float32)
    edited.apply(editing.replace_all(edited.labels, new, edited.confidence, sure))
    assert edited.confidence == {1: 0.5}
    edited.undo()
    np.testing.assert_array_equal(edited.labels, two)
    assert edited.confidence == {1: 0.9, 2: 0.8, 3: 0.7}


def test_the_history_is_bounded(two, tmp_path, monkeypatch):
    monkeypatch.setattr(edited_labels, "MOST_UNDO_BYTES", 300)
    edited = EditedLabels(two.copy(), {1: 0.9, 2: 0.8, 3: 0.7}, folder=tmp_path)
    for _ in range(20):
        new = editing.draw(edited.labels, [(2, 2), (8, 2), (8, 7)])
        edited.apply(new)
    assert 1 <= edited.undoable < 20
    assert len(list(tmp_path.iterdir())) == edited.undoable


def test_a_full_disk_changes_nothing(two, tmp_path):
    edited = EditedLabels(two.copy(), {1: 0.9, 2: 0.8, 3: 0.7}, folder=tmp_path / "gone")
    with pytest.raises(OSError, match="step"):
        edited.apply(editing.delete(edited.labels, [1]))
    np.testing.assert_array_equal(edited.labels, two)
    assert (edited.revision, edited.undoable) == (0, 0)


points = st.tuples(st.floats(-10, 70), st.floats(-10, 50))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("draw"), st.lists(points, min_size=3, max_size=6)),
            st.tuples(st.just("split"), st.lists(points, min_size=2, max_size=4)),
            st.tuples(st.just("merge"), st.sets(st.integers(1, 5), min_size=2, max_size=3)),
            st.tuples(st.just("delete"), st.sets(st.integers(1, 5), min_size=1, max_size=2)),
        ),
        max_size=6,
    )
)
def test_any_corrections_keep_confidence_and_labels_in_step(steps):
    labels = np.zeros((40, 60), np.int32)
    labels[10:20, 10:20] = 1
    labels[10:20, 20:30] = 2
    with TemporaryDirectory() as folder:
        edited = EditedLabels(labels.copy(), {1: 0.5, 2: 0.25}, folder=Path(folder))
        done = 0
        for name, argument in steps:
            try:
                change = getattr(editing, name)(edited.labels, argument)
            except InputError:
                continue
            edited.apply(change)
            done += 1
            present = set(np.unique(edited.labels).tolist()) - {0}
            assert present == set(edited.confidence)
        for _ in range(done):
            edited.undo()
        np.testing.assert_array_equal(edited.labels, labels)
        assert edited.confidence == {1: 0.5, 2: 0.25}
