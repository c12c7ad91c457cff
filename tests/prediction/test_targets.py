import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cellrim.core.image import Image
from cellrim.core.labels import relabel
from cellrim.errors import InputError
from cellrim.io.labels import read_labels
from cellrim.prediction import PairedResult, Segmenter, segment_target
from cellrim.prediction.targets import assign_nuclei
from cellrim.representation.encode import encode

CANONICAL = 16.0


class TwoChannelBackend:
    """Cells are where any channel is bright."""

    precision = "float32"

    def predict(self, batch):
        masks = batch.max(axis=1) > 0.5
        return np.stack(
            [encode(ndimage.label(m)[0].astype(np.int32), CANONICAL) for m in masks],
        )


@pytest.fixture
def segmenter(card_with):
    return Segmenter(TwoChannelBackend(), card_with(canonical_diameter=CANONICAL))


@pytest.fixture
def image(discs):
    """Cells of 24 pixels; nuclei of 10 in some, two in one, one in no cell."""
    cells = discs((200, 240), 12, spacing=40)
    nuclei = np.full_like(cells, 10)
    spot = discs((10, 10), 5, spacing=10)
    for y, x in ((15, 15), (15, 50), (15, 62), (55, 95), (95, 215), (175, 35)):
        nuclei[y : y + 10, x : x + 10] = np.maximum(nuclei[y : y + 10, x : x + 10], spot)
    cells[160:, :80] = 10
    return Image(np.stack([cells, nuclei], axis=2), ("actin", "DNA"))


def test_both(segmenter, image, tmp_path):
    result = segment_target(segmenter, image, target="both", channels=(0,), nucleus=1, diameter=24)
    assert isinstance(result, PairedResult)
    alone = segmenter.segment(image, channels=(0,), diameter=24)
    np.testing.assert_array_equal(result.labels, alone.labels)
    own = ndimage.maximum_position(result.nuclei)
    assert result.nuclei[own] == result.count + 1  # the one that no cell holds
    table = result.cells.columns
    assert sorted(table["nuclei"]) == [0] * (result.count - 4) + [1, 1, 1, 2]
    for y, x, count in ((20, 20, 1), (20, 60, 2), (60, 100, 1), (100, 220, 1), (100, 100, 0)):
        cell = result.labels[y, x] or result.labels[y - 8, x - 8]
        assert table["nuclei"][cell - 1] == count
        area = np.count_nonzero(result.nuclei == cell)
        assert table["nucleus_area"][cell - 1] == area
        whole = area + table["cytoplasm_area"][cell - 1]
        assert table["nucleus_fraction"][cell - 1] == area / whole
        assert (area > 0) == (count > 0)
    result.save_labels(tmp_path / "cells.tif")
    result.save_nuclei(tmp_path / "nuclei.tif")
    result.save_overlay(tmp_path / "overlay.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "cells.tif"), result.labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "nuclei.tif"), result.nuclei)


def test_nuclei_come_from_their_channel_alone(segmenter, image):
    result = segment_target(segmenter, image, target="nuclei", nucleus=1, diameter=10)
    np.testing.assert_array_equal(
        result.labels, segmenter.segment(image, channels=(1,), diameter=10).labels
    )
    assert not isinstance(result, PairedResult)
    assert len(result.image.channels) == 2
    other = segment_target(segmenter, image, target="nuclei", nucleus=0, diameter=24)
    np.testing.assert_array_equal(
        other.labels, segmenter.segment(image, channels=(0,), diameter=24).labels
    )


def test_without_a_target_all_channels(segmenter, image):
    result = segment_target(segmenter, image.pixels, axes="YXC", diameter=24)
    np.testing.assert_array_equal(result.labels, segmenter.segment(image, diameter=24).labels)


def test_cells_come_from_all_channels(segmenter, image):
    both = segment_target(segmenter, image, target="both", nucleus=1, diameter=24)
    only_cells = segment_target(segmenter, image, target="cells", diameter=24)
    alone = segmenter.segment(image, channels=(0,), diameter=24)
    np.testing.assert_array_equal(both.labels, only_cells.labels)
    assert only_cells.count == alone.count + 1  # the nucleus without a cell is bright too
    assert both.nuclei.max() <= both.count


def test_what_cannot_be(segmenter, image, discs):
    grey = discs((80, 90), 8)
    for one in (grey, np.dstack([grey] * 3), np.dstack([grey, 0 * grey, 0 * grey])):
        axes = "YXC" if one.ndim == 3 else None
        with pytest.raises(InputError, match="shows one channel: ask for nuclei or cells"):
            segment_target(segmenter, one, axes=axes, target="both")
    with pytest.raises(InputError, match="nuclei alone"):
        segment_target(segmenter, image, target="both", channels=(1,), nucleus=1)
    with pytest.raises(InputError, match="none of the image's channels"):
        segment_target(segmenter, image, target="nuclei", nucleus=2)
    with pytest.raises(InputError, match="nuclei, cells, both"):
        segment_target(segmenter, image, target="nucleus")
    assert segment_target(segmenter, grey, target="nuclei", diameter=16).count > 0


def _plain(nuclei, cells):
    """The rule, one nucleus at a time."""
    count = int(cells.max())
    result, next_id = np.zeros_like(nuclei), count + 1
    counts = np.zeros(count, int)
    for k in range(1, int(nuclei.max()) + 1):
        inside = cells[nuclei == k]
        held = np.bincount(inside, minlength=count + 1)
        held[0] = 0
        best = int(held.argmax())
        if best and 2 * held[best] >= len(inside):
            counts[best - 1] += 1
        else:
            best, next_id = next_id, next_id + 1
        result[nuclei == k] = best
    return result, counts


small = arrays(np.int32, (4, 6), elements=st.integers(0, 5)).map(relabel)


@given(nuclei=small, cells=small)
def test_the_rule_against_a_plain_loop(nuclei, cells):
    labels, counts = assign_nuclei(nuclei, cells)
    expected_labels, expected_counts = _plain(nuclei, cells)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_array_equal(counts, expected_counts)


def test_a_half_is_enough_and_less_is_not():
    cells = np.int32([[1, 1, 0, 0, 2, 0]])
    labels, counts = assign_nuclei(np.int32([[0, 1, 1, 2, 2, 2]]), cells)
    np.testing.assert_array_equal(labels, [[0, 1, 1, 3, 3, 3]])
    np.testing.assert_array_equal(counts, [1, 0])


def test_other_shapes():
    with pytest.raises(InputError, match="shape"):
        assign_nuclei(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))
