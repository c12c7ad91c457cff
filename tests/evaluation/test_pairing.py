from pathlib import Path

import numpy as np
import pytest

from cellrim.datasets.base import Sample, Truth
from cellrim.evaluation.pairing import (
    label_files,
    pair,
    references_in_dataset,
    references_in_folder,
    strip_ending,
)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("a_labels", "a"),
        ("a_cp_masks", "a"),
        ("A_PRED", "A"),
        ("a_mask", "a"),
        ("a", "a"),
        ("_labels", "_labels"),
        ("labels", "labels"),
        ("a_labels_b", "a_labels_b"),
    ],
)
def test_endings(stem, expected):
    assert strip_ending(stem) == expected


def test_only_label_images_are_found(tmp_path):
    touch(
        tmp_path,
        "a_labels.tif", "a_overlay.png", "a_cells.csv", "run.json", ".hidden/b.tif", ".c.tif",
        "sub/d.png", "d.npy", "e.png", "e_cp_masks.png", "e_seg.npy", "f.TIFF", "g_labels.tif",
        "g_masks.tif",
    )  # fmt: skip
    found = {k: [p.name for p in v] for k, v in label_files(tmp_path).items()}
    assert found == {
        "a": ["a_labels.tif"],
        "sub/d": ["d.png"],
        "d": ["d.npy"],
        "e": ["e_cp_masks.png"],  # beside the image it was made of
        "f": ["f.TIFF"],
        "g": ["g_labels.tif", "g_masks.tif"],
    }


def paired(predicted, truth):
    references, unclear = references_in_folder(truth)
    result = pair(label_files(predicted), references)
    names = {r.name: p.relative_to(predicted).as_posix() for p, r in result.pairs}
    return names, result, unclear


def test_names_meet_without_their_endings(tmp_path):
    predicted = touch(tmp_path / "p", "a_labels.tif", "b_cp_masks.png", "x/c_pred.npy", "z.tif")
    truth = touch(tmp_path / "t", "a.png", "b_gt.tif", "x/c.tif", "m.tif")
    names, result, unclear = paired(predicted, truth)
    assert names == {"a": "a_labels.tif", "b": "b_cp_masks.png", "x/c": "x/c_pred.npy"}
    assert result.missing == ("m",)
    assert result.extra == ("z",)
    assert not unclear
    assert not result.unclear


def test_folders_may_differ_where_the_name_is_unique(tmp_path):
    predicted = touch(tmp_path / "p", "out/a.tif", "one/b.tif", "two/b.tif", "3/c.tif", "4/c.tif")
    truth = touch(tmp_path / "t", "a.tif", "one/b.tif", "two/b.tif", "c.tif")
    names, result, _ = paired(predicted, truth)
    assert names == {"a": "out/a.tif", "one/b": "one/b.tif", "two/b": "two/b.tif"}
    assert list(result.unclear) == ["c"]
    assert not result.extra


def test_true_files_of_one_name_are_unclear(tmp_path):
    truth = touch(tmp_path / "t", "a_labels.tif", "a_masks.tif")
    references, unclear = references_in_folder(truth)
    assert not references
    assert list(unclear) == ["a"]


def make_sample(root, name, path, *, dataset="set", modality="dic", truth=True):
    return Sample(
        dataset=dataset,
        name=name,
        paths=(root / path,),
        kind="labels",
        group=name,
        modality=modality,
        licence="CC0",
        read_image=lambda: None,
        read_truth=(lambda: Truth(np.zeros((2, 2), np.int32))) if truth else None,
    )


def test_samples_meet_by_path_name_or_file(tmp_path):
    root = Path("/data")
    samples = (
        make_sample(root, "A9/field 1", "images/A9/field1d.tif"),
        make_sample(root, "two", "images/002.png"),
        make_sample(root, "three", "images/003.png"),
        make_sample(root, "none", "images/004.png", truth=False),
    )
    references = references_in_dataset(root, samples)
    assert [r.name for r in references] == ["A9/field 1", "two", "three"]
    predicted = touch(
        tmp_path, "images/A9/field1d_labels.tif", "002_labels.tif", "deep/three_cp_masks.png"
    )
    result = pair(label_files(predicted), references)
    assert [p.name for p, _ in result.pairs] == [
        "field1d_labels.tif",
        "002_labels.tif",
        "three_cp_masks.png",
    ]


def test_groups_name_the_modality_where_there_are_several():
    root = Path("/data")
    samples = (
        make_sample(root, "a", "a.png", modality="dic"),
        make_sample(root, "b", "b.png", modality="smear"),
        make_sample(root, "c", "c.png", dataset="other"),
    )
    groups = [r.group for r in references_in_dataset(root, samples)]
    assert groups == ["set dic", "set smear", "other"]
