import numpy as np
import pytest
import tifffile

from cellrim.core.tiles import windows
from cellrim.errors import ImageReadError
from cellrim.io import region_readers
from cellrim.io.images import read_image
from cellrim.io.region_readers import ArrayRegions, TiffRegions
from cellrim.io.regions import image_size, open_regions

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 60000, (70, 90), np.uint16)
RGB = RNG.integers(0, 255, (70, 90, 3), np.uint8)
STACK = RNG.integers(0, 60000, (4, 70, 90), np.uint16)
CHANNELS = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (GREY, {}),
        (GREY, {"byteorder": ">"}),
        (GREY, {"tile": (32, 16)}),
        (GREY, {"tile": (32, 48), "compression": "zlib", "predictor": True}),
        (GREY, {"rowsperstrip": 7, "compression": "lzw"}),
        (GREY.astype(np.float32), {"tile": (16, 16), "compression": "zstd"}),
        (GREY, {"photometric": "miniswhite", "tile": (32, 32)}),
        (GREY > 30000, {"rowsperstrip": 9}),
        (RGB, {"photometric": "rgb", "tile": (32, 32), "compression": "zlib"}),
        (RGB, {"photometric": "rgb"}),
        (np.moveaxis(RGB, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (
            np.moveaxis(RGB, 2, 0),
            {"photometric": "rgb", "planarconfig": "separate", "tile": (32, 32)},
        ),
        (STACK, CHANNELS | {"tile": (32, 32)}),
        (STACK, CHANNELS | {"ome": True, "tile": (32, 32), "compression": "zlib"}),
        (STACK, CHANNELS | {"ome": True}),
        (np.dstack([RGB, RGB[..., 0]]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (RGB[..., 0], {"photometric": "palette", "colormap": RNG.integers(0, 60000, (3, 256))}),
    ],
)
def test_any_part_is_what_the_whole_file_gives(tmp_path, pixels, options):
    path = tmp_path / "a.tif"
    if "colormap" in options:
        options = options | {"colormap": options["colormap"].astype(np.uint16)}
    tifffile.imwrite(path, pixels, **options)
    whole = read_image(path)
    opened = open_regions(path)
    assert isinstance(opened, TiffRegions)
    assert opened.shape == whole.shape
    assert opened.channels == whole.channels
    for rows, columns in (
        (slice(0, 70), slice(0, 90)),
        (slice(31, 33), slice(15, 49)),
        (slice(69, 70), slice(89, 90)),
    ):
        part = opened.read(rows, columns)
        assert part.dtype == whole.pixels.dtype
        np.testing.assert_array_equal(part, whole.pixels[rows, columns])


def test_only_the_pieces_that_are_asked_for_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, tile=(16, 16), compression="zlib")
    seen = []
    decode = region_readers._decode_piece
    monkeypatch.setattr(
        region_readers,
        "_decode_piece",
        lambda page, file, i: seen.append(i) or decode(page, file, i),
    )
    opened = open_regions(path)
    seen.clear()
    opened.read(slice(20, 30), slice(40, 60))
    assert seen == [6 * 1 + 2, 6 * 1 + 3]


def test_pixel_size_and_size(tmp_path):
    path = tmp_path / "a.ome.tif"
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, GREY, ome=True, tile=(32, 32), metadata=about)
    assert open_regions(path).pixel_size == read_image(path).pixel_size == 0.5
    assert image_size(path) == (70, 90)
    (tmp_path / "b.txt").write_text("no image")
    assert image_size(tmp_path / "b.txt") is None
    assert image_size(tmp_path) is None


def test_a_file_in_one_compressed_piece_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(region_readers, "_LARGEST_PIECE", 1000)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, rowsperstrip=70, compression="zlib")
    opened = open_regions(path)
    assert isinstance(opened, ArrayRegions)
    np.testing.assert_array_equal(opened.read(slice(3, 9), slice(5, 8))[..., 0], GREY[3:9, 5:8])


def test_a_truncated_file_is_told_at_once(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, tile=(16, 16))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ImageReadError, match=r"a\.tif.*cut off"):
        open_regions(path)


def test_windows_cover_each_pixel_once():
    count = np.zeros((70, 90), int)
    for part in windows((70, 90), 32):
        count[part] += 1
    assert (count == 1).all()
