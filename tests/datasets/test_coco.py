import json
import warnings

import numpy as np
import pytest
from pycocotools.coco import COCO

from cellrim.datasets import open_dataset
from cellrim.errors import DatasetError
from cellrim.io.coco import encode_segmentation, trace_polygons


@pytest.fixture
def content(cells):
    """Three images; their cells as polygons, plain and compressed run lengths."""
    height, width = cells.shape
    images = [
        {"id": i, "file_name": f"im{i}.png", "height": height, "width": width, "license": 7}
        for i in range(3)
    ]
    annotations = []
    for image, make in enumerate(
        (
            trace_polygons,
            lambda mask: encode_segmentation(mask, compressed=False),
            encode_segmentation,
        )
    ):
        for cell in range(1, 5):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "segmentation": make(cells == cell),
                    "iscrowd": 0,
                    "area": int((cells == cell).sum()),
                    "bbox": [0, 0, 1, 1],
                }
            )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cell"}],
        "licenses": [{"id": 7, "name": "CC0"}],
    }


@pytest.fixture
def folder(tmp_path, write_png, picture):
    for i in range(3):
        write_png(tmp_path / f"set/images/im{i}.png", picture)
    return tmp_path / "set"


def save(folder, content, name="annotations.json"):
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_all_three_forms_give_the_same_labels(folder, content, cells, picture):
    path = save(folder, content)
    for root, dataset in ((folder, "set"), (path, "annotations")):
        listing = open_dataset(root)
        assert (listing.dataset, listing.problems) == (dataset, ())
        assert [s.name for s in listing.samples] == ["im0", "im1", "im2"]
        assert {(s.kind, s.licence, s.modality) for s in listing.samples} == {
            ("coco", "CC0", "unknown")
        }
        for sample in listing.samples:
            np.testing.assert_array_equal(sample.read_truth().labels, cells)
            np.testing.assert_array_equal(sample.read_image().pixels[:, :, 0], picture)


def test_labels_are_as_pycocotools_reads_the_file(folder, content, capsys):
    path = save(folder, content)
    reference = COCO(str(path))
    for image, sample in enumerate(open_dataset(path).samples):
        labels = sample.read_truth().labels
        anns = reference.loadAnns(reference.getAnnIds([image]))
        with warnings.catch_warnings():  # pycocotools is behind on numpy 2
            warnings.simplefilter("ignore", DeprecationWarning)
            masks = [reference.annToMask(a).astype(bool) for a in anns]
        for number, mask in enumerate(masks, start=1):
            np.testing.assert_array_equal(labels == number, mask)


def test_group_and_modality_may_be_said(folder, content):
    content["images"][0] |= {"group": "well 3", "modality": "dic"}
    del content["images"][1]["license"]
    save(folder, content)
    a, b, _ = open_dataset(folder).samples
    assert (a.group, a.modality) == ("well 3", "dic")
    assert (b.group, b.licence) == ("im1", "unknown")


def test_crowds_are_ignored_and_the_first_annotation_wins(folder, content, cells):
    whole = encode_segmentation(np.ones(cells.shape, bool))
    content["annotations"].insert(0, {"id": 99, "image_id": 0, "segmentation": whole, "iscrowd": 1})
    content["annotations"].append({"id": 98, "image_id": 1, "segmentation": whole})
    save(folder, content)
    a, b, c = (s.read_truth() for s in open_dataset(folder).samples)
    np.testing.assert_array_equal(a.labels, cells)
    np.testing.assert_array_equal(a.ignore, cells == 0)
    np.testing.assert_array_equal(b.labels, np.where(cells, cells, 5))
    assert b.ignore is None
    assert c.ignore is None


def test_images_lie_beside_the_file_or_as_coco_unpacks(tmp_path, content, write_png, picture):
    write_png(tmp_path / "images/im0.png", picture)
    write_png(tmp_path / "annotations/im1.png", picture)
    path = save(tmp_path / "annotations", content)
    listing = open_dataset(path)
    assert [s.name for s in listing.samples] == ["im0", "im1"]
    assert [(p.record, p.reason) for p in listing.problems] == [
        ("im2.png", "It has 4 annotations, no pixels.")
    ]


def test_what_is_wrong_is_named_and_the_rest_goes_on(folder, content, write_png, picture):
    write_png(folder / "images/im1.png", picture[2:])
    (folder / "images/im2.png").write_bytes(b"")
    content["images"] += [{"id": 9}, "text", {"id": 0, "file_name": "again.png"}]
    content["annotations"] += [{"image_id": 77}, {"image_id": [1]}, None]
    save(folder, content)
    listing = open_dataset(folder)
    assert [s.name for s in listing.samples] == ["im0"]
    assert [p.record for p in listing.problems] == [
        "images[3]",
        "images[4]",
        "again.png",
        "annotations[12]",
        "annotations[13]",
        "annotations[14]",
        "im1.png",
        "im2.png",
    ]


@pytest.mark.parametrize(
    "segmentation", [None, [], [[1, 2]], {"size": [1, 1], "counts": [1]}, {"counts": "x"}]
)
def test_a_malformed_annotation_is_named(folder, content, segmentation):
    content["annotations"][2]["segmentation"] = segmentation
    save(folder, content)
    with pytest.raises(DatasetError, match="Annotation 3: "):
        open_dataset(folder).samples[0].read_truth()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [], "annotations": 3}', "{" * 5000])
def test_other_json_is_not_coco(folder, text):
    (folder / "annotations.json").write_text(text)
    with pytest.raises(DatasetError, match="layout of none"):
        open_dataset(folder)
    with pytest.raises(DatasetError, match="Expected one COCO JSON"):
        open_dataset(folder, "coco")


def test_two_files_in_a_folder_must_be_told_apart(folder, content):
    save(folder, content)
    save(folder, content, "other.json")
    with pytest.raises(DatasetError, match="found 2"):
        open_dataset(folder, "coco")
    assert open_dataset(folder / "other.json").dataset == "other"
