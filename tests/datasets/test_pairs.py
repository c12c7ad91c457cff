import pickle

import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.errors import DatasetError, ImageReadError, InputError

HEADER = "dataset,image,labels,modality,group,licence,use"


@pytest.fixture
def folder(tmp_path, write_png, write_tiff, picture, cells):
    for name in ("a", "b", "sub/c"):
        write_png(tmp_path / f"mine/images/{name}.png", picture)
        write_tiff(tmp_path / f"mine/labels/{name}.tif", cells.astype(np.uint16))
    return tmp_path / "mine"


def test_pairs_without_an_index_are_groups_by_name(folder, picture, cells):
    listing = open_dataset(folder)
    assert listing.dataset == "mine"
    assert listing.problems == ()
    assert [(s.name, s.group, s.kind) for s in listing.samples] == [
        (n, n, "labels") for n in ("a", "b", "sub/c")
    ]
    sample = pickle.loads(pickle.dumps(listing.samples[2]))  # as a worker process gets it
    np.testing.assert_array_equal(sample.read_image().pixels[:, :, 0], picture)
    np.testing.assert_array_equal(sample.read_truth().labels, cells)


def test_the_index_tells_modality_group_licence_and_use(folder):
    rows = [
        HEADER,
        "one,mine/images/a.png,mine/labels/a.tif,dic,movie 1,CC0,train",
        "one,mine/images/b.png,mine/labels/b.tif,dic,movie 1,CC0,evaluate only",
        "one,mine/images/sub/c.png,mine/labels/sub/c.tif,,,,",
        "other,gone/images/x.png,gone/labels/x.tif,smear,x,MIT,train",
    ]
    (folder.parent / "index.csv").write_text("\n".join(rows))
    listing = open_dataset(folder)
    assert listing.dataset == "one"
    assert [(s.name, s.modality, s.group, s.licence, s.trainable) for s in listing.samples] == [
        ("a", "dic", "movie 1", "CC0", True),
        ("b", "dic", "movie 1", "CC0", False),
        ("sub/c", "unknown", "sub/c", "unknown", True),
    ]
    assert listing.problems == ()
    everything = open_dataset(folder.parent)
    assert {s.dataset for s in everything.samples} == {"one"}
    assert [p.record for p in everything.problems] == ["other/x"]
    assert "x.png is missing" in everything.problems[0].reason


def test_an_image_that_the_index_does_not_know_is_a_problem(folder):
    row = "one,mine/images/a.png,mine/labels/a.tif,dic,g,CC0,train"
    (folder.parent / "index.csv").write_text(f"{HEADER}\n{row}\n")
    listing = open_dataset(folder)
    assert [s.name for s in listing.samples] == ["a"]
    assert {p.record for p in listing.problems} == {"b", "c"}


def test_an_index_of_something_else_does_not_count(folder):
    (folder.parent / "index.csv").write_text("name,age\nx,3\n")
    assert len(open_dataset(folder).samples) == 3


def test_each_inconsistent_record_is_named_and_the_rest_goes_on(
    folder, write_png, write_tiff, picture, cells
):
    write_png(folder / "images/alone.png", picture)
    write_tiff(folder / "labels/widow.tif", cells)
    write_png(folder / "images/twice.png", picture)
    write_png(folder / "images/twice.bmp", picture)
    write_tiff(folder / "labels/twice.tif", cells)
    write_png(folder / "images/small.png", picture[1:])
    write_tiff(folder / "labels/small.tif", cells)
    write_png(folder / "images/broken.png", picture)
    (folder / "labels/broken.tif").write_bytes(b"II*\0nonsense")
    (folder / "images/empty.png").write_bytes(b"")
    write_tiff(folder / "labels/empty.tif", cells)
    (folder / "images/.hidden.png").write_bytes(b"x")
    listing = open_dataset(folder)
    assert [s.name for s in listing.samples] == ["a", "b", "sub/c"]
    reasons = {p.record: p.reason for p in listing.problems}
    assert sorted(reasons) == ["alone", "broken", "empty", "small", "twice", "widow"]
    assert "no label image" in reasons["alone"]
    assert "no image" in reasons["widow"]
    assert "More than one" in reasons["twice"]
    assert "69 x 90" in reasons["small"]
    assert "broken.tif" in reasons["broken"]


def test_labels_that_change_size_behind_the_listing_are_an_error(folder, write_tiff):
    sample = open_dataset(folder).samples[0]
    write_tiff(sample.paths[1], np.zeros((3, 4), np.uint16))
    with pytest.raises(DatasetError, match="3 x 4"):
        sample.read_truth()
    sample.paths[1].unlink()
    with pytest.raises(ImageReadError):
        sample.read_truth()


def test_it_has_no_options(folder):
    with pytest.raises(InputError, match="target"):
        open_dataset(folder, target="cells")


def test_the_real_index(real_data):
    listing = open_dataset(real_data / "plain")
    assert listing.problems == ()
    assert len(listing.samples) == 614
    one = open_dataset(real_data / "plain/dsb2018")
    assert one.dataset == "dsb2018"
    assert len(one.samples) == 551
    assert {s.licence for s in one.samples} == {"CC0"}
    assert not any(s.trainable for s in listing.samples if s.dataset == "deepcell")
    assert {s.group for s in listing.samples if s.dataset == "yeast"} == {"one movie"}
