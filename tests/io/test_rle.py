import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from cellrim.errors import DatasetError, InputError
from cellrim.io.rle import (
    compress_counts,
    decode_coco,
    decode_sartorius,
    decompress_counts,
    encode_coco,
    encode_coco_labels,
    encode_sartorius,
    encode_sartorius_labels,
)

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
RING = np.pad(np.pad(np.zeros((3, 3), bool), 2, constant_values=True), 1)
CORNERS = np.zeros((5, 7), bool)
CORNERS[0, 0] = CORNERS[-1, -1] = True
SPECIAL = {
    "zero": np.zeros((4, 6), bool),
    "one": np.ones((4, 6), bool),
    "first and last pixel": CORNERS,
    "hole": RING,
    "row across the edge": np.eye(6, 4, dtype=bool)[::-1],
    "single pixel": np.ones((1, 1), bool),
}


def slow_sartorius(mask):
    """The definition, pixel by pixel."""
    out, flat, i = [], mask.ravel().tolist(), 0
    while i < len(flat):
        if flat[i]:
            start = i
            while i < len(flat) and flat[i]:
                i += 1
            out += [start + 1, i - start]
        else:
            i += 1
    return " ".join(map(str, out))


@given(masks)
def test_sartorius_is_the_definition_and_comes_back(mask):
    text = encode_sartorius(mask)
    assert text == slow_sartorius(mask)
    np.testing.assert_array_equal(decode_sartorius(text, mask.shape), mask)


@given(masks)
def test_coco_is_pycocotools_and_comes_back(mask):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    counts = encode_coco(mask)
    assert compress_counts(counts) == theirs
    np.testing.assert_array_equal(decompress_counts(theirs), counts)
    np.testing.assert_array_equal(decode_coco(theirs, mask.shape), mask)
    np.testing.assert_array_equal(decode_coco(counts.tolist(), mask.shape), mask)


@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
        elements=st.integers(0, 4),
    )
)
def test_labels_are_encoded_instance_by_instance(labels):
    ids = np.unique(labels[labels > 0])
    assert encode_sartorius_labels(labels) == [encode_sartorius(labels == i) for i in ids]
    for counts, i in zip(encode_coco_labels(labels), ids, strict=True):
        theirs = coco.encode(np.asfortranarray((labels == i).astype(np.uint8)))["counts"].decode()
        assert compress_counts(counts) == theirs


@pytest.mark.parametrize("mask", SPECIAL.values(), ids=SPECIAL.keys())
def test_special_masks(mask):
    np.testing.assert_array_equal(decode_sartorius(encode_sartorius(mask), mask.shape), mask)
    np.testing.assert_array_equal(decode_coco(encode_coco(mask), mask.shape), mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert compress_counts(encode_coco(mask)) == theirs


@given(st.lists(st.integers(0, 2**40), max_size=20))
def test_compression_of_any_counts_comes_back(counts):
    np.testing.assert_array_equal(decompress_counts(compress_counts(np.array(counts))), counts)


def test_large_runs_are_as_pycocotools_writes_them():
    mask = np.zeros((1200, 1600), bool)
    mask[300:900, 1000:1300] = True
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert compress_counts(encode_coco(mask)) == theirs
    np.testing.assert_array_equal(decode_coco(theirs, mask.shape), mask)


def test_adjacent_runs_are_one():
    np.testing.assert_array_equal(decode_sartorius("1 2 3 2", (1, 5)), [[1, 1, 1, 1, 0]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2 3", "odd"),
        ("0 1", "start 0"),
        ("1 0", "length 0"),
        ("3 -1", "length -1"),
        ("20 2", "start 20"),
        ("21 1", "start 21"),
        ("1 3 3 1", "overlap"),
        ("9 1 1 1", "order"),
        ("1 x", "whole numbers"),
        ("1.5 2", "whole numbers"),
        ("1 99999999999999999999", "whole numbers"),
        (f"{2**62} {2**62}", "within 1..20"),
    ],
)
def test_malformed_sartorius_is_named(text, words):
    with pytest.raises(DatasetError, match=words):
        decode_sartorius(text, (4, 5))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([3, 4], "sum to 7"),
        ([25, -5], ">= 0"),
        ([2**62, 2**62, 2**62, 2**62], "sum"),
        ([], "sum to 0"),
        ([1.5, 18.5], "whole numbers"),
        ([[1, 2], [3, 4]], "whole numbers"),
        (["a"], "whole numbers"),
        ([None], "whole numbers"),
        ([2**80], "whole numbers"),
        ("", "sum to 0"),
        ("é", "characters"),
        ("0\x7f", "characters"),
        ("d", "cut off"),
        ("o" * 13 + "0", "at most"),
        ("5", "sum to 5"),
    ],
)
def test_malformed_coco_is_named(counts, words):
    with pytest.raises(DatasetError, match=words):
        decode_coco(counts, (4, 5))


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros(4, bool)])
def test_only_bool_masks_are_encoded(mask):
    for encode in (encode_sartorius, encode_coco):
        with pytest.raises(InputError, match="bool mask"):
            encode(mask)
