import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.core.labels import relabel
from cellrim.core.parts import cut_out, whole
from cellrim.io.polygons import trace_outlines
from cellrim.io.rle import (
    coco_texts,
    compress_counts,
    encode_coco_labels,
    encode_sartorius_labels,
    sartorius_texts,
)

LABELS = arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 4)
).map(relabel)


def parts_of(labels, edge):
    boxes = []
    for number in range(1, labels.max() + 1):
        y, x = np.nonzero(labels == number)
        boxes.append((y.min(), x.min(), y.max() + 1, x.max() + 1))
    boxes = np.array(boxes, np.int64).reshape(-1, 4)
    return list(
        cut_out(lambda rows, columns: labels[rows, columns], labels.shape, boxes, edge=edge)
    )


@given(LABELS, st.integers(1, 6))
@settings(deadline=None)
def test_each_cell_is_in_one_part_whole(labels, edge):
    parts = parts_of(labels, edge)
    seen = np.zeros_like(labels)
    for part in parts:
        y, x = part.origin
        window = seen[y : y + part.labels.shape[0], x : x + part.labels.shape[1]]
        assert not window[part.labels > 0].any()
        window += part.labels
        np.testing.assert_array_equal(np.unique(part.labels[part.labels > 0]), part.ids)
        height, width = part.around.shape
        np.testing.assert_array_equal(part.around, labels[y : y + height, x : x + width])
        rows, columns = np.nonzero(part.labels)
        assert rows.min() > 0 or y == 0
        assert columns.max() < width - 1 or x + width == labels.shape[1]
    np.testing.assert_array_equal(seen, labels)
    assert len(np.concatenate([[], *(p.ids for p in parts)])) == labels.max()


@given(LABELS, st.integers(1, 6))
@settings(deadline=None)
def test_a_cell_is_encoded_in_a_part_as_in_the_whole(labels, edge):
    outlines = {o.id: _listed(o) for o in trace_outlines(labels)}
    coco = [compress_counts(counts) for counts in encode_coco_labels(labels)]
    sartorius = encode_sartorius_labels(labels)
    assert coco_texts(whole(labels), labels.shape) == coco
    for part in parts_of(labels, edge):
        mine = (part.ids - 1).tolist()
        assert coco_texts(part, labels.shape) == [coco[k] for k in mine]
        assert sartorius_texts(part, labels.shape) == [sartorius[k] for k in mine]
        for outline in trace_outlines(part.labels, origin=part.origin):
            assert _listed(outline) == outlines[outline.id]


def _listed(outline):
    return [[ring.tolist() for ring in part] for part in outline.parts]


@pytest.mark.parametrize("edge", [1, 7])
def test_no_cells(edge):
    assert parts_of(np.zeros((5, 6), np.int32), edge) == []
    assert len(whole(np.zeros((5, 6), np.int32)).ids) == 0
