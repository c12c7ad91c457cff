import os
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage

from cellrim.errors import ImageReadError
from cellrim.io.images import IMAGE_SUFFIXES, read_image

RNG = np.random.default_rng(5)
GREY8 = RNG.integers(0, 256, (9, 13), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (9, 13), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)


def _data() -> Path:
    if "CELLRIM_DATA" not in os.environ:
        pytest.skip("set CELLRIM_DATA to the folder of real images")
    return Path(os.environ["CELLRIM_DATA"])


@pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB8, RGB16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_formats_return_every_value(tmp_path, pixels, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    image = read_image(path)
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels.reshape(9, 13, -1))
    assert image.channels == (("red", "green", "blue") if pixels.ndim == 3 else ("grey",))
    assert image.pixel_size is None


@pytest.mark.parametrize("compression", ["packbits", "lzw", "zlib", None])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_compressions_and_byte_orders(tmp_path, compression, byteorder):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY16, compression=compression, byteorder=byteorder)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[..., 0], GREY16)
    assert image.pixels.dtype.isnative


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.uint32])
def test_other_numbers_become_float32(tmp_path, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY8.astype(dtype))
    image = read_image(path)
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels[..., 0], GREY8)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_tiff_is_bright_where_white(tmp_path, photometric):
    bits = GREY8 > 128
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, bits, photometric=photometric)
    expected = ~bits if photometric == "miniswhite" else bits
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], expected)


def test_white_is_zero_is_turned_around(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY8, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], 255 - GREY8)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".bmp"])
def test_palette_is_expanded(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    indexed = PilImage.fromarray(RGB8).convert("P", palette=PilImage.Palette.ADAPTIVE)
    indexed.save(path)
    np.testing.assert_array_equal(read_image(path).pixels, np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(tmp_path, suffix, mode):
    path = tmp_path / f"a{suffix}"
    rgba = PilImage.fromarray(np.dstack([RGB8, GREY8])).convert(mode)
    rgba.save(path)
    expected = np.asarray(rgba)[:, :, :-1]
    np.testing.assert_array_equal(read_image(path).pixels, expected)


def test_planar_rgba_tiff_drops_alpha(tmp_path):
    path = tmp_path / "a.tif"
    planes = np.moveaxis(np.dstack([RGB8, GREY8]), 2, 0)
    tifffile.imwrite(
        path, planes, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(read_image(path).pixels, RGB8)


@pytest.mark.parametrize("how", ["interleaved", "planar", "imagej", "ome"])
def test_two_channels(tmp_path, how):
    path = tmp_path / "a.tif"
    planes = np.stack([GREY8, 255 - GREY8])
    if how == "interleaved":
        pixels = np.ascontiguousarray(np.moveaxis(planes, 0, 2))
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    elif how == "planar":
        tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="separate")
    else:
        tifffile.imwrite(path, planes, metadata={"axes": "CYX"}, **{how: True})
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, np.moveaxis(planes, 0, 2))
    assert len(image.channels) == 2


def test_ome_channel_names_and_pixel_size(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path,
        np.stack([GREY8, GREY8]),
        metadata={
            "axes": "CYX",
            "Channel": {"Name": ["DNA", "actin"]},
            "PhysicalSizeX": 325,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 325,
            "PhysicalSizeYUnit": "nm",
        },
    )
    image = read_image(path)
    assert image.channels == ("DNA", "actin")
    assert image.pixel_size == pytest.approx(0.325)


def test_imagej_pixel_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, GREY8, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um", "axes": "YX"}
    )
    assert read_image(path).pixel_size == pytest.approx(0.5)


def test_printing_resolution_is_no_pixel_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY8, resolution=(300, 300), resolutionunit="INCH")
    assert read_image(path).pixel_size is None


def test_unequal_pixel_edges_are_no_pixel_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY8, imagej=True, resolution=(2.0, 4.0), metadata={"unit": "um"})
    assert read_image(path).pixel_size is None


@pytest.mark.parametrize("pixels", [GREY8, GREY16])
def test_equal_channels_become_grey(tmp_path, pixels):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(np.repeat(pixels[..., None], 3, axis=2)))
    image = read_image(path)
    assert image.channels == ("grey",)
    np.testing.assert_array_equal(image.pixels[..., 0], pixels)


def test_one_differing_pixel_keeps_colour(tmp_path):
    rgb = np.repeat(GREY8[..., None], 3, axis=2)
    rgb[5, 7, 2] ^= 1
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(rgb))
    assert read_image(path).pixels.shape[2] == 3


def test_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    smooth = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    path.write_bytes(imagecodecs.jpeg8_encode(smooth, level=95))
    image = read_image(path)
    assert np.abs(image.pixels[..., 0].astype(int) - smooth).max() < 8


@pytest.mark.parametrize("suffix", [".bmp", ".dib", ".DIB"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_bitmap_with_and_without_file_header(tmp_path, suffix, mode):
    expected = GREY8 if mode == "L" else RGB8
    PilImage.fromarray(expected).save(tmp_path / "whole.bmp")
    data = (tmp_path / "whole.bmp").read_bytes()
    path = tmp_path / f"a{suffix}"
    for content in (data, data[14:]):
        path.write_bytes(content)
        np.testing.assert_array_equal(read_image(path).pixels, expected.reshape(9, 13, -1))
        path.write_bytes(content[:-40])
        with pytest.raises(ImageReadError, match=path.name):
            read_image(path)


def test_form_is_told_by_content(tmp_path):
    path = tmp_path / "wrong.tif"
    path.write_bytes(imagecodecs.png_encode(GREY16))
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], GREY16)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_smallest_images(tmp_path, shape, suffix):
    path = tmp_path / f"a{suffix}"
    PilImage.fromarray(np.full(shape, 9, np.uint8)).save(path)
    assert read_image(path).shape == shape


def test_stack_of_unnamed_pages_is_refused(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([GREY8, GREY8]), photometric="minisblack")
    with pytest.raises(ImageReadError, match=r"stack\.tif.*2 pages.*axes CYX.*--axes"):
        read_image(path)


def test_slices_are_refused(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([GREY8] * 5), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(ImageReadError, match=r"ZYX \(Z 5, Y 9, X 13\)"):
        read_image(path)


def test_several_images_in_one_file_are_refused(tmp_path):
    path = tmp_path / "several.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY8, metadata=None)
        writer.write(RGB8, metadata=None, photometric="rgb")
    with pytest.raises(ImageReadError, match="it holds 2: 0, 1"):
        read_image(path)


def test_cmyk_is_refused(tmp_path):
    path = tmp_path / "print.tif"
    PilImage.fromarray(RGB8).convert("CMYK").save(path)
    with pytest.raises(ImageReadError, match="SEPARATED"):
        read_image(path)


def test_missing_folder_and_empty(tmp_path):
    with pytest.raises(ImageReadError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageReadError):
        read_image(tmp_path)
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"empty\.tif: the file is empty"):
        read_image(tmp_path / "empty.tif")
    (tmp_path / "text.tif").write_text("this is no image at all")
    with pytest.raises(ImageReadError, match="first bytes"):
        read_image(tmp_path / "text.tif")


def _encoded(kind: str) -> bytes:
    if kind == "png":
        return imagecodecs.png_encode(RGB8)
    if kind == "jpg":
        return imagecodecs.jpeg8_encode(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = Path(os.environ["PYTEST_TMP"]) / f"a.{kind}"
    pixels = RNG.integers(0, 256, (64, 64), dtype=np.uint8)
    if kind == "bmp":
        PilImage.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, compression=None if kind == "tif" else kind)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tif", "packbits", "lzw", "zlib"])
def test_a_cut_file_is_named_wherever_it_is_cut(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))
    data = _encoded(kind)
    path = tmp_path / "cut.bin"
    tail = 17 if kind == "png" else 3  # all pixels are there when only PNG's end mark is not
    for size in np.linspace(1, len(data) - tail, 40).astype(int):
        path.write_bytes(data[:size])
        with pytest.raises(ImageReadError, match=r"cut\.bin"):
            read_image(path)


def test_a_huge_claimed_size_is_an_error(tmp_path):
    path = tmp_path / "huge.dib"
    path.write_bytes(struct.pack("<IiiHHIIiiII", 40, 2**30, 2**30, 1, 8, 0, 0, 0, 0, 0, 0))
    with pytest.raises(ImageReadError, match=r"huge\.dib"):
        read_image(path)


def test_a_tiff_that_claims_more_rows_than_it_has(tmp_path):
    path = tmp_path / "tall.tif"
    for compression in (None, "lzw"):
        tifffile.imwrite(path, GREY8, compression=compression)
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages.first.tags["ImageLength"].overwrite(60_000, erase=False)
        with pytest.raises(ImageReadError, match=r"tall\.tif"):
            read_image(path)


def test_broken_public_file():
    [path] = (_data() / "unlabelled" / "corrupt").iterdir()
    with pytest.raises(ImageReadError, match="A172_Phase_B7_1_02d20h00m_1"):
        read_image(path)


def test_real_images_agree_with_another_reader():
    root = _data()
    paths = [
        p
        for p in sorted(root.rglob("*"))
        if p.suffix.lower() in IMAGE_SUFFIXES and "corrupt" not in p.parts
    ]
    for path in paths[::23]:
        image = read_image(path)
        with PilImage.open(path) as opened:
            if opened.mode in ("1", "I;16B", "I;16", "I"):
                continue
            expected = np.asarray(opened)
        got = (
            image.pixels[..., 0] if expected.ndim == 2 or len(image.channels) == 1 else image.pixels
        )
        if expected.ndim == 3 and got.ndim == 2:
            expected = expected[..., 0]
        tolerance = 3 if path.suffix == ".jpg" else 0
        assert np.abs(got.astype(int) - expected).max() <= tolerance, path
