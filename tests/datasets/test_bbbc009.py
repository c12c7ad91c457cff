import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.errors import ImageReadError

IMAGES = "BBBC009_v1_images/human_rbc_dic_images"
OUTLINES = "BBBC009_v1_outlines/human_rbc_dic_outlines"


@pytest.fixture
def archive(tmp_path, write_tiff, picture, outline):
    for name in ("48hr-001-DIC", "6hr-001-DIC"):
        write_tiff(tmp_path / IMAGES / f"{name}.tif", picture)
        white = outline > 0
        write_tiff(tmp_path / OUTLINES / f"{name}.tif", ~white, photometric="miniswhite")
    return tmp_path


def test_whole(archive, picture, cells):
    listing = open_dataset(archive)
    assert (listing.dataset, listing.problems) == ("bbbc009", ())
    sample = listing.samples[0]
    assert (sample.name, sample.group, sample.kind) == ("48hr-001-DIC",) * 2 + ("outline",)
    assert (sample.modality, sample.licence) == ("dic", "CC BY 3.0")
    np.testing.assert_array_equal(sample.read_image().pixels[:, :, 0], picture)
    np.testing.assert_array_equal(sample.read_truth().labels > 0, cells > 0)
    assert sample.read_truth().labels.max() == 4


def test_without_outlines_nothing_is_wrong(archive):
    for path in (archive / OUTLINES).iterdir():
        path.unlink()
    listing = open_dataset(archive)
    assert [(s.kind, s.read_truth) for s in listing.samples] == [("none", None)] * 2
    assert listing.problems == ()


def test_what_is_wrong_is_named_and_the_rest_goes_on(archive, write_tiff, picture, outline):
    for name, image, line in (
        ("lonely", picture, None),
        ("outline", None, outline),
        ("size", picture, outline[:-2]),
    ):
        if image is not None:
            write_tiff(archive / IMAGES / f"{name}.tif", image)
        if line is not None:
            write_tiff(archive / OUTLINES / f"{name}.tif", line)
    write_tiff(archive / OUTLINES / "bad.tif", outline)
    (archive / IMAGES / "bad.tif").write_bytes(b"II*\0")
    listing = open_dataset(archive)
    assert len(listing.samples) == 2
    assert sorted(p.record for p in listing.problems) == ["bad", "lonely", "outline", "size"]


def test_pixels_that_do_not_decode_are_an_error_when_read(archive, write_tiff, picture):
    path = archive / IMAGES / "6hr-001-DIC.tif"
    write_tiff(path, picture, compression="lzw")
    data = bytearray(path.read_bytes())
    data[20:2000] = bytes(1980)
    path.write_bytes(bytes(data))
    listing = open_dataset(archive)
    if listing.samples[1:]:  # the damage may also hit what the listing reads
        with pytest.raises(ImageReadError):
            listing.samples[1].read_image()
    else:
        assert listing.problems


def test_real(real_data):
    listing = open_dataset(real_data / "seed/BBBC009")
    counts = {s.name[:-4]: int(s.read_truth().labels.max()) for s in listing.samples}
    assert counts == {"48hr-001": 45, "48hr-003": 51, "6hr-001": 31, "6hr-002": 48}
    assert {s.read_image().shape for s in listing.samples} == {(600, 800)}
