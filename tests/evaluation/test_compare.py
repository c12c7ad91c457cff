import json
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.datasets.splits import split
from cellrim.errors import DatasetError, UsageError
from cellrim.evaluation import CompareOptions, count_image, evaluate, scores
from cellrim.evaluation.report import per_image_columns, write_evaluation
from cellrim.io.labels import write_labels
from cellrim.io.tables import read_csv


def cells(count, shape=(40, 60)):
    labels = np.zeros(shape, np.int32)
    for i in range(count):
        labels[4:12, 4 + 9 * i : 11 + 9 * i] = i * 3 + 1
    return labels


@pytest.fixture
def folders(tmp_path):
    """Three images, of which one is perfect, one misses a cell, and one has nothing."""
    predicted, truth = tmp_path / "predicted", tmp_path / "truth"
    for name, found, there in (("a", 3, 3), ("b", 2, 3), ("sub/c", 0, 0)):
        write_labels(predicted / f"{name}_labels.tif", cells(found))
        write_labels(truth / f"{name}.tif", cells(there))
    return predicted, truth


def test_two_folders(folders):
    seen = []
    evaluation = evaluate(*folders, report=lambda *args: seen.append(args))
    assert [i.name for i in evaluation.images] == ["a", "b", "sub/c"]
    assert seen == [("a", 1, 3), ("b", 2, 3), ("sub/c", 3, 3)]
    assert not evaluation.problems
    assert not evaluation.extra
    assert evaluation.images[1].counts == count_image(cells(2), cells(3))
    assert evaluation.total.pooled["ap50"].value == pytest.approx(5 / 6)
    assert evaluation.total.mean["ap50"].value == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert list(evaluation.groups) == ["truth"]
    assert [i.name for i in evaluation.worst(2)] == ["b", "a"]


@pytest.mark.parametrize("suffix", [".png", ".npy", ".tif"])
def test_any_file_type(tmp_path, suffix):
    labels = cells(3)
    path = tmp_path / "p" / f"x_cp_masks{suffix}"
    path.parent.mkdir()
    if suffix == ".npy":
        np.save(path, labels.astype(np.uint16))
    elif suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(labels.astype(np.uint16)))
    else:
        write_labels(path, labels)
    write_labels(tmp_path / "t" / "x.tif", labels)
    assert evaluate(tmp_path / "p", tmp_path / "t").total.pooled["map"].value == 1


def test_what_cannot_be_compared_is_named(folders):
    predicted, truth = folders
    write_labels(truth / "missing.tif", cells(1))
    write_labels(predicted / "extra.tif", cells(1))
    write_labels(predicted / "size.tif", cells(1))
    write_labels(truth / "size.tif", cells(1, (41, 60)))
    write_labels(truth / "broken.tif", cells(1))
    (predicted / "broken.tif").write_bytes(b"II*\0 and no more")
    write_labels(truth / "twice.tif", cells(1))
    write_labels(predicted / "twice_pred.tif", cells(1))
    write_labels(predicted / "twice_mask.tif", cells(1))
    evaluation = evaluate(predicted, truth)
    assert len(evaluation.images) == 3
    assert evaluation.extra == ("extra",)
    problems = {p.record: p.reason for p in evaluation.problems}
    assert set(problems) == {"missing", "size", "broken", "twice"}
    assert "(41, 60)" in problems["size"]
    assert "size" in problems["size"]
    assert "broken.tif" in problems["broken"]
    assert "twice_pred.tif" in problems["twice"]
    partial = evaluate(predicted, truth, options=CompareOptions(partial=True))
    assert "missing" not in {p.record for p in partial.problems}


@pytest.fixture
def dataset(tmp_path):
    """A data set of three folders of pairs with two modalities."""
    root = tmp_path / "plain"
    lines = ["dataset,image,labels,modality,group,licence"]
    for i in range(12):
        image, labels = f"s/images/{i}.png", f"s/labels/{i}.tif"
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(imagecodecs.png_encode(np.zeros((40, 60), np.uint8)))
        write_labels(root / labels, cells(3))
        write_labels(tmp_path / "out" / f"s/images/{i}_labels.tif", cells(3 - i % 2))
        lines.append(f"s,{image},{labels},{'dic' if i % 2 else 'smear'},g{i},CC0")
    (root / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "out", root


def test_a_data_set(dataset):
    evaluation = evaluate(*dataset)
    assert len(evaluation.images) == 12
    assert list(evaluation.groups) == ["s dic", "s smear"]
    assert evaluation.groups["s smear"].pooled["ap50"].value == 1
    assert evaluation.groups["s dic"].pooled["ap50"].value == pytest.approx(2 / 3)


def test_the_sides_of_the_split(dataset):
    train = evaluate(*dataset, options=CompareOptions(part="train"))
    held = evaluate(*dataset, options=CompareOptions(part="validation"))
    names = [{i.name for i in e.images} for e in (train, held)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 12
    assert names[1]
    assert not train.extra


def test_images_without_annotation_do_not_move_the_split(tmp_path, cells, write_archive):
    """What is held back is what training holds back, which knows annotated images only."""
    write_archive("sartorius", tmp_path / "sartorius")
    listing = open_dataset(tmp_path / "sartorius")
    annotated = [s for s in listing.samples if s.read_truth is not None]
    assert len(annotated) == len(listing.samples) - 1
    for sample in annotated:
        write_labels(tmp_path / "predicted" / f"{sample.name}_labels.tif", cells)
    for side, part in zip(split(annotated), ("train", "validation"), strict=True):
        found = evaluate(
            tmp_path / "predicted", tmp_path / "sartorius", options=CompareOptions(part=part)
        )
        assert [image.name for image in found.images] == [sample.name for sample in side]
        assert side


def test_labels_by_name(dataset):
    out, root = dataset
    evaluation = evaluate(out, root / "s" / "labels", options=CompareOptions(layout="labels"))
    assert len(evaluation.images) == 12


def write_boxes(root):
    objects = [
        {
            "bounding_box": {"minimum": {"r": 4, "c": 4}, "maximum": {"r": 12, "c": 11}},
            "category": "red blood cell",
        }
    ]
    shape = {"r": 40, "c": 60, "channels": 3}
    image = {"checksum": "0", "pathname": "/images/x.png", "shape": shape}
    (root / "images").mkdir(parents=True)
    pixels = np.full((40, 60, 3), 220, np.uint8)
    pixels[4:12, 4:11] = (150, 80, 130)
    pixels[30:38, 30:38] = (150, 80, 130)
    (root / "images" / "x.png").write_bytes(imagecodecs.png_encode(pixels))
    (root / "training.json").write_text(json.dumps([{"image": image, "objects": objects}]))


def test_boxes_are_compared_as_boxes(tmp_path):
    root = tmp_path / "malaria"
    write_boxes(root)
    write_labels(tmp_path / "out" / "x_labels.tif", cells(1))
    evaluation = evaluate(tmp_path / "out", root)
    assert [i.boxes for i in evaluation.images] == [True]
    assert evaluation.total.pooled["f1"].value == 1
    assert np.isnan(evaluation.total.pooled["dice"].value)
    write_labels(tmp_path / "out" / "x_labels.tif", cells(1, (30, 30)))
    assert "(30, 30)" in evaluate(tmp_path / "out", root).problems[0].reason


def test_usage(tmp_path, folders):
    predicted, truth = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    write_labels(other / "q.tif", cells(1))
    for arguments, words in (
        ((tmp_path / "no", truth), "folder of predicted"),
        ((predicted, tmp_path / "no"), "there is no"),
        ((empty, truth), "none found"),
        ((predicted, empty), "layout of none"),
        ((predicted, other), "no name is on both sides"),
    ):
        with pytest.raises(UsageError, match=words):
            evaluate(*arguments)
    with pytest.raises(UsageError, match="validation"):
        evaluate(predicted, truth, options=CompareOptions(part="validation"))
    for wrong, words in (
        ({"part": "test"}, "part all, train, validation, but got 'test'"),
        ({"layout": "no such format"}, "bbbc009"),
        ({"layout": "labels", "part": "train"}, "--part train"),
        ({"resamples": 0}, "one resample"),
        ({"seed": -1}, "seed"),
    ):
        with pytest.raises(UsageError, match=words):
            CompareOptions(**wrong)
    with pytest.raises(UsageError, match="none found"):
        evaluate(predicted, empty, options=CompareOptions(layout="labels"))
    assert issubclass(DatasetError, ValueError)


def test_files(tmp_path, folders):
    predicted, truth = folders
    write_labels(truth / "missing.tif", cells(1))
    evaluation = evaluate(predicted, truth, options=CompareOptions(resamples=30))
    out = tmp_path / "new" / "out"
    write_evaluation(evaluation, out)
    assert sorted(p.name for p in out.iterdir()) == [
        "ap_over_iou.png",
        "per_image.csv",
        "report.html",
        "summary.json",
    ]
    table = read_csv(out / "per_image.csv")
    assert table["image"].tolist() == ["a", "b", "sub/c"]
    np.testing.assert_allclose(table["ap50"], [1, 2 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(table["boundary"], [0, 0, np.nan])
    for i, image in enumerate(evaluation.images):
        assert table["pq"][i] == pytest.approx(scores(image.counts).pq, rel=1e-6)
    assert list(table) == list(per_image_columns(evaluation))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["all"]["images"] == 3
    assert summary["all"]["pooled"]["ap50"]["value"] == pytest.approx(5 / 6, abs=1e-5)
    assert summary["problems"] == [{"record": "missing", "reason": "There is no prediction of it."}]
    assert len(summary["all"]["ap"]) == len(summary["iou_thresholds"]) == 10


def test_real_truth_against_itself():
    data = os.environ.get("CELLRIM_DATA")
    if not data:
        pytest.skip("CELLRIM_DATA is not set: real data is not checked.")
    labels = Path(data) / "plain" / "kc167" / "labels"
    evaluation = evaluate(labels, labels, options=CompareOptions(layout="labels", resamples=10))
    assert len(evaluation.images) == 3
    for name, interval in evaluation.total.pooled.items():
        perfect = name not in ("boundary", "hausdorff95", "count_error", "splits", "merges")
        assert interval.value == (1 if perfect else 0)
