import numpy as np
import pytest

from cellrim.datasets import open_dataset


@pytest.fixture
def archive(tmp_path, write_png, picture, cells):
    root = tmp_path / "stage1_train"
    for name in ("aa", "bb"):
        rgb = np.dstack([picture] * 3 + [np.full_like(picture, 255)])
        write_png(root / name / f"images/{name}.png", rgb)
        for i in range(1, 5):
            write_png(root / name / f"masks/{i:04}.png", ((cells == i) * 255).astype(np.uint8))
    return root


def test_whole(archive, picture, cells):
    listing = open_dataset(archive)
    assert (listing.dataset, listing.problems) == ("stage1_train", ())
    assert [(s.name, s.kind, s.group) for s in listing.samples] == [
        ("aa", "masks", "aa"),
        ("bb", "masks", "bb"),
    ]
    np.testing.assert_array_equal(listing.samples[0].read_image().pixels[:, :, 0], picture)
    np.testing.assert_array_equal(listing.samples[0].read_truth().labels, cells)


def test_a_pixel_belongs_to_the_first_mask_that_has_it(archive, write_png, cells):
    everything = np.full(cells.shape, 255, np.uint8)
    write_png(archive / "aa/masks/0005.png", everything)
    write_png(archive / "bb/masks/0000.png", everything)
    a, b = (s.read_truth().labels for s in open_dataset(archive).samples)
    np.testing.assert_array_equal(a, np.where(cells, cells, 5))
    assert (b == 1).all()


def test_no_mask_is_no_object(archive):
    for path in (archive / "aa/masks").iterdir():
        path.unlink()
    sample = open_dataset(archive).samples[0]
    assert not sample.read_truth().labels.any()


def test_the_folder_of_the_test_images_has_no_annotation(archive, tmp_path, write_png, picture):
    write_png(tmp_path / "stage1_test/tt/images/tt.png", picture)
    listing = open_dataset(tmp_path / "stage1_test", "masks")
    assert [(s.name, s.kind, s.read_truth) for s in listing.samples] == [("tt", "none", None)]
    assert listing.problems == ()


def test_what_is_wrong_is_named_and_the_rest_goes_on(archive, write_png, picture):
    write_png(archive / "nomasks/images/x.png", picture)
    write_png(archive / "noimage/masks/x.png", picture)
    write_png(archive / "two/images/x.png", picture)
    write_png(archive / "two/images/y.png", picture)
    (archive / "two/masks").mkdir()
    write_png(archive / "size/images/x.png", picture)
    write_png(archive / "size/masks/1.png", picture[4:])
    write_png(archive / "broken/images/x.png", picture)
    (archive / "broken/masks").mkdir()
    (archive / "broken/masks/1.png").write_bytes(b"GIF89a")
    (archive / "notes").mkdir()
    listing = open_dataset(archive)
    assert [s.name for s in listing.samples] == ["aa", "bb"]
    assert sorted(p.record for p in listing.problems) == [
        "broken",
        "noimage",
        "nomasks",
        "size",
        "two",
    ]
