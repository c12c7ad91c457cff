import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.errors import InputError

CHANNELS = ("DNA", "pH3", "actin")


@pytest.fixture
def planes(cells):
    """Three channels: nuclei, next to nothing, cells; the signal of 16 bits."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 9, (3, *cells.shape))
    signal = np.stack([(cells > 1) * 180, cells * 0, (cells > 0) * 120])
    return dict(zip(CHANNELS, (noise + signal + 5).astype(np.uint8), strict=True))


def nuclei_of(outline, cells):
    return np.where(cells > 1, outline, 0)


@pytest.fixture
def archive(tmp_path, planes, outline, cells, write_dib, write_png):
    for number, field in enumerate(("00733", "10779", "21315")):
        for channel, pixels in planes.items():
            path = tmp_path / f"BBBC018_v1_images/{field}-{channel}.DIB"
            write_dib(path, pixels, file_header=number % 2 == 0)
        if field != "10779":
            write_png(tmp_path / f"BBBC018_v1_outlines/{field}-cells.png", outline)
            nuclei = nuclei_of(outline, cells)
            write_png(tmp_path / f"BBBC018_v1_outlines/{field}-nuclei.png", nuclei)
    return tmp_path


def test_three_channels_with_and_without_file_header(archive, planes):
    listing = open_dataset(archive)
    assert (listing.dataset, listing.problems) == ("bbbc018", ())
    assert [s.name for s in listing.samples] == ["00733", "10779", "21315"]
    for sample in listing.samples:
        image = sample.read_image()
        assert image.channels == CHANNELS
        np.testing.assert_array_equal(image.pixels, np.dstack(list(planes.values())))


def test_field_10779_has_no_outlines(archive):
    kinds = {s.name: s.kind for s in open_dataset(archive).samples}
    assert kinds == {"00733": "outline", "10779": "none", "21315": "outline"}


@pytest.mark.parametrize(("target", "count"), [("cells", 4), ("nuclei", 3)])
def test_two_annotations(archive, cells, target, count):
    sample = open_dataset(archive, target=target).samples[0]
    assert sample.modality == f"fluorescence-{target}"
    assert sample.group == "00733"
    labels = sample.read_truth().labels
    assert labels.max() == count
    expected = cells > (0 if target == "cells" else 1)
    np.testing.assert_array_equal(labels > 0, expected)


def test_the_default_is_cells_and_others_are_refused(archive):
    assert open_dataset(archive).samples[0].modality == "fluorescence-cells"
    with pytest.raises(InputError, match="cells, nuclei"):
        open_dataset(archive, target="pH3")


def test_outlines_drawn_upside_down_are_turned(archive, outline, cells, write_png):
    write_png(archive / "BBBC018_v1_outlines/00733-cells.png", outline[::-1])
    labels = open_dataset(archive).samples[0].read_truth().labels
    np.testing.assert_array_equal(labels > 0, cells > 0)


def test_outlines_on_an_image_that_shows_nothing_stay_as_they_are(
    archive, outline, cells, write_dib
):
    rng = np.random.default_rng(1)
    blank = rng.integers(0, 255, cells.shape, dtype=np.uint8)
    for pixels in (blank, np.full_like(blank, 7)):
        write_dib(archive / "BBBC018_v1_images/00733-actin.DIB", pixels)
        labels = open_dataset(archive).samples[0].read_truth().labels
        np.testing.assert_array_equal(labels > 0, cells > 0)


def test_16_bit_bitmaps_of_the_microscope(archive, planes, write_cellomics, cells):
    for channel, pixels in planes.items():
        wide = pixels.astype(np.uint16) * 13
        write_cellomics(archive / f"BBBC018_v1_images/00733-{channel}.DIB", wide)
    sample = open_dataset(archive).samples[0]
    image = sample.read_image()
    assert image.pixels.dtype == np.uint16
    expected = np.dstack(list(planes.values())).astype(np.uint16) * 13
    np.testing.assert_array_equal(image.pixels, expected)
    np.testing.assert_array_equal(sample.read_truth().labels > 0, cells > 0)


def test_what_is_wrong_is_named_and_the_rest_goes_on(
    archive, planes, outline, write_dib, write_png
):
    images, outlines = archive / "BBBC018_v1_images", archive / "BBBC018_v1_outlines"
    (images / "00733-pH3.DIB").unlink()
    for field in ("30000", "30001", "30002", "30003"):
        for channel, pixels in planes.items():
            write_dib(images / f"{field}-{channel}.DIB", pixels)
        write_png(outlines / f"{field}-cells.png", outline)
    (outlines / "30000-cells.png").unlink()
    write_png(outlines / "30001-cells.png", outline[5:])
    write_dib(images / "30002-DNA.DIB", planes["DNA"][:, 4:])
    (images / "30003-actin.DIB").write_bytes(b"")
    write_png(outlines / "40000-cells.png", outline)
    listing = open_dataset(archive)
    assert [s.name for s in listing.samples] == ["10779", "21315"]
    reasons = {p.record: p.reason for p in listing.problems}
    assert sorted(reasons) == ["00733", "30000", "30001", "30002", "30003", "40000"]
    assert "pH3" in reasons["00733"]
    assert "no outline" in reasons["30000"]
    assert "has no image" in reasons["40000"]


def test_a_cut_bitmap_is_an_error_when_read(archive, planes, write_cellomics):
    path = archive / "BBBC018_v1_images/00733-DNA.DIB"
    write_cellomics(path, planes["DNA"].astype(np.uint16))
    path.write_bytes(path.read_bytes()[:-10])
    sample = open_dataset(archive).samples[0]
    with pytest.raises(OSError, match="cut off"):
        sample.read_image()


def test_images_alone_and_in_one_folder(tmp_path, planes, write_dib):
    for channel, pixels in planes.items():
        write_dib(tmp_path / f"00733-{channel}.dib", pixels)
    listing = open_dataset(tmp_path)
    assert [(s.name, s.kind) for s in listing.samples] == [("00733", "none")]
    assert listing.problems == ()
