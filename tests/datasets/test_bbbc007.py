import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.errors import InputError

# Field, DNA file and actin file, as the four folders name them.
NAMES = {
    "A9/A9 p10": ("A9/A9 p10d.tif", "A9/A9 p10f.tif"),
    "f113/AS_09125_040701150004_A02f00": (
        "f113/AS_09125_040701150004_A02f00d0.tif",
        "f113/AS_09125_040701150004_A02f00d1.tif",
    ),
    "f96 (17)/17P1_POS0006": (
        "f96 (17)/17P1_POS0006_D_1UL.tif",
        "f96 (17)/17P1_POS0006_F_2UL.tif",
    ),
    "f9620/20P1_POS0002": ("f9620/20P1_POS0002_D_1UL.tif", "f9620/20P1_POS0002_F_2UL.tif"),
}


@pytest.fixture
def archive(tmp_path, write_tiff, picture, outline):
    """The whole archive: nuclei are the lower halves of the cells' outlines, to tell them."""
    nuclei = outline.copy()
    nuclei[:35] = 0
    for dna, actin in NAMES.values():
        write_tiff(tmp_path / "BBBC007_v1_images" / dna, picture, compression="packbits")
        write_tiff(tmp_path / "BBBC007_v1_images" / actin, picture // 2)
        write_tiff(tmp_path / "BBBC007_v1_outlines" / dna, nuclei > 0)
        write_tiff(tmp_path / "BBBC007_v1_outlines" / actin, outline > 0)
    return tmp_path


def test_each_pair_is_one_sample_with_two_channels(archive, picture):
    listing = open_dataset(archive)
    assert (listing.dataset, listing.problems) == ("bbbc007", ())
    assert [s.name for s in listing.samples] == list(NAMES)
    for sample in listing.samples:
        assert sample.group == sample.name
        assert (sample.kind, sample.modality) == ("outline", "fluorescence-cells")
        image = sample.read_image()
        assert image.channels == ("DNA", "actin")
        np.testing.assert_array_equal(image.pixels, np.dstack([picture, picture // 2]))
        assert sample.read_truth().labels.max() == 4


def test_the_outline_of_the_dna_file_is_that_of_the_nuclei(archive):
    listing = open_dataset(archive, target="nuclei")
    assert {s.modality for s in listing.samples} == {"fluorescence-nuclei"}
    assert [s.read_truth().labels.max() for s in listing.samples] == [2] * 4
    with pytest.raises(InputError, match="cells, nuclei"):
        open_dataset(archive, target="organelles")
    with pytest.raises(InputError, match="colour"):
        open_dataset(archive, colour="cells")


def test_dna_alone(archive):
    for _, actin in NAMES.values():
        (archive / "BBBC007_v1_images" / actin).unlink()
    listing = open_dataset(archive)
    assert {s.read_image().channels for s in listing.samples} == {("DNA",)}
    assert {s.modality for s in listing.samples} == {"fluorescence-nuclei"}
    assert [s.read_truth().labels.max() for s in listing.samples] == [2] * 4
    assert [s.kind for s in open_dataset(archive, target="cells").samples] == ["none"] * 4


def test_without_outlines(archive):
    for path in (archive / "BBBC007_v1_outlines").rglob("*.tif"):
        path.unlink()
    listing = open_dataset(archive)
    assert listing.problems == ()
    assert {(s.kind, s.read_truth) for s in listing.samples} == {("none", None)}


def test_the_pen_marks_are_not_in_the_red_channel(archive, write_tiff, picture):
    marked = np.dstack([picture] * 3)
    marked[5, 5:20] = (3, 3, 200)
    write_tiff(archive / "BBBC007_v1_images/A9/A9 p10d.tif", marked, photometric="rgb")
    sample = open_dataset(archive).samples[0]
    np.testing.assert_array_equal(sample.read_image().pixels[:, :, 0], marked[:, :, 0])
    assert sample.read_image().pixels[5, 5:20, 0].max() == 3


def test_what_is_wrong_is_named_and_the_rest_goes_on(archive, write_tiff, picture, outline):
    images, outlines = archive / "BBBC007_v1_images", archive / "BBBC007_v1_outlines"
    write_tiff(images / "A9/strange.tif", picture)
    write_tiff(images / "A9/A9 p11f.tif", picture)
    write_tiff(images / "A9/A9 p12d.tif", picture)  # others have outlines
    (outlines / "f9620/20P1_POS0002_F_2UL.tif").write_bytes(b"II*\0")
    write_tiff(outlines / "f96 (17)/17P1_POS0006_F_2UL.tif", outline[:, 1:])
    write_tiff(images / "A9/A9 p10f.tif", picture[3:])
    listing = open_dataset(archive)
    assert [s.name for s in listing.samples] == ["f113/AS_09125_040701150004_A02f00"]
    reasons = {p.record: p.reason for p in listing.problems}
    assert sorted(reasons) == [
        "A9/A9 p10",
        "A9/A9 p11",
        "A9/A9 p12",
        "A9/strange",
        "f96 (17)/17P1_POS0006",
        "f9620/20P1_POS0002",
    ]
    assert "67 x 90" in reasons["A9/A9 p10"]
    assert "no outline" in reasons["A9/A9 p12"]


def test_real(real_data):
    listing = open_dataset(real_data / "seed/BBBC007")
    assert len(listing.samples) == 13
    assert listing.problems == ()
    assert len({s.group for s in listing.samples}) == 13
    marked = next(s for s in listing.samples if s.name == "f96 (17)/17P1_POS0006")
    assert marked.read_image().channels == ("DNA",)
    # The marks are up to 254 in the blue channel; in luminance they would still be 28.
    assert marked.read_image().pixels.shape == (400, 400, 1)
