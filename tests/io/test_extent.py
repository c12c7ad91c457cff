import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellrim.errors import ImageReadError
from cellrim.io.extent import Extent, read_extent
from cellrim.io.images import read_image

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)
COLOUR = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)


def png_that_says(width, height):
    """A PNG of a few bytes that claims to be of a size."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("pixels", [GREY, COLOUR])
@pytest.mark.parametrize("form", ["png", "jpeg", "tiff", "lzw", "jpeg-in-tiff"])
def test_says_what_the_reader_finds(tmp_path, pixels, form):
    path = tmp_path / "image"
    if form == "png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    elif form == "jpeg":
        path.write_bytes(imagecodecs.jpeg8_encode(pixels))
    else:
        compression = {"tiff": None, "lzw": "lzw", "jpeg-in-tiff": "jpeg"}[form]
        photometric = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(path, pixels, compression=compression, photometric=photometric)
    extent = read_extent(path)
    assert (extent.height, extent.width) == read_image(path).shape == (5, 7)
    assert extent.values >= read_image(path).pixels.size
    assert extent.pixels == 35


@pytest.mark.parametrize("file_header", [True, False])
def test_bitmaps(tmp_path, write_dib, file_header):
    path = write_dib(tmp_path / "a.dib", GREY, file_header=file_header)
    assert read_extent(path) == Extent(5, 7, 105)


def test_a_preview_inside_of_a_jpeg_does_not_count(tmp_path):
    whole = imagecodecs.jpeg8_encode(np.zeros((40, 30), np.uint8))
    preview = imagecodecs.jpeg8_encode(GREY)
    path = tmp_path / "a.jpg"
    path.write_bytes(
        whole[:2] + b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview + whole[2:]
    )
    assert read_extent(path) == Extent(40, 30, 1200)


def test_bombs_are_told_without_decoding(tmp_path):
    png = tmp_path / "bomb.png"
    png.write_bytes(png_that_says(100_000, 100_000))
    assert read_extent(png).pixels == 10**10
    tiff = tmp_path / "bomb.tif"
    with tifffile.TiffWriter(tiff, bigtiff=True) as writer:
        # One tile, repeated by nothing but the tags.
        writer.write(np.zeros((16, 16), np.uint8), compression="zlib", tile=(16, 16))
    data = bytearray(tiff.read_bytes())
    assert read_extent(tiff).pixels == 256
    with tifffile.TiffFile(tiff) as opened:
        for name in ("ImageWidth", "ImageLength"):
            offset = opened.pages.first.tags[name].valueoffset
            data[offset : offset + 4] = struct.pack("<I", 60_000)
    tiff.write_bytes(data)
    assert read_extent(tiff).pixels >= 60_000 * 60_000


def test_a_tile_larger_than_its_image_counts(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, tile=(512, 512), compression="zlib")
    assert read_extent(path).values >= 512 * 512


def test_many_channels_count(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((40, 8, 8), np.uint8), metadata={"axes": "CYX"})
    assert read_extent(path).pixels == 40 * 64 // 4


def test_jpeg_in_a_tiff_that_is_larger_than_the_tiff_says(tmp_path):
    path = tmp_path / "a.tif"
    large = imagecodecs.jpeg8_encode(np.zeros((64, 64), np.uint8))
    tifffile.imwrite(
        path, iter([large]), shape=(16, 16), dtype=np.uint8, compression="jpeg", tile=(16, 16)
    )
    with pytest.raises(ImageReadError, match="larger than the TIFF says"):
        read_extent(path)


def test_compressions_that_do_not_say_their_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), compression="jpeg2000")
    with pytest.raises(ImageReadError, match="LZW or deflate"):
        read_extent(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, world",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\x04\0\0\xff\xda\0\x02",
        b"BM" + bytes(60),
        b"II*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0+" + bytes(40),
    ],
)
def test_broken_headers(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match="Cannot read"):
        read_extent(path)


def test_missing_file(tmp_path):
    with pytest.raises(ImageReadError, match="Cannot read"):
        read_extent(tmp_path / "none.tif")
