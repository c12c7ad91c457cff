"""Stacks in every form: each is compared with the array it was written from."""

import tracemalloc

import numpy as np
import pytest
import tifffile

from cellrim.core.stack import Index
from cellrim.errors import ImageReadError, UsageError
from cellrim.io.images import open_stack, read_image, scene_names

RNG = np.random.default_rng(8)
SIZES = {"T": 2, "Z": 3, "C": 4, "Y": 9, "X": 13, "S": 3}


def _array(axes, dtype=np.uint16):
    shape = tuple(SIZES[a] for a in axes)
    if np.issubdtype(dtype, np.floating):
        return RNG.random(shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def _expected(array, axes, index):
    """The plane YXC at an index, by numpy alone."""
    array = np.moveaxis(array, [axes.index("Y"), axes.index("X")], [-2, -1])
    rest = [a for a in axes if a not in "YX"]
    for axis in "TZ":
        if axis in rest:
            array = np.take(array, index.along(axis), axis=rest.index(axis))
            rest.remove(axis)
    if len(rest) == 2 and rest[0] == "S":
        array = np.moveaxis(array, 0, 1)
    return np.moveaxis(array.reshape(-1, *array.shape[-2:]), 0, -1)


def _check(path, array, order, **options):
    with open_stack(path, **options) as stack:
        assert stack.axes == "".join(a for a in order if a in "TZ")
        assert stack.shape == (9, 13)
        planes = list(stack.indices())
        assert len(planes) == len(stack)
        for index in reversed(planes):  # in any order
            got = stack.read(index).pixels
            np.testing.assert_array_equal(got, _expected(array, order, index))


@pytest.mark.parametrize("axes", ["TZCYX", "ZTCYX", "CTZYX", "CZTYX", "TCYX", "ZYX", "TYXS"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_tiff_in_any_order(tmp_path, axes, compression):
    path, dtype = tmp_path / "a.ome.tif", np.uint8 if "S" in axes else np.uint16
    array = _array(axes, dtype)
    photometric = "rgb" if "S" in axes else "minisblack"
    metadata = {"axes": axes}
    tifffile.imwrite(
        path, array, metadata=metadata, compression=compression, photometric=photometric
    )
    _check(path, array, axes)


@pytest.mark.parametrize("axes", ["TZCYX", "TZYX", "ZCYX", "TYXS"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej_hyperstacks(tmp_path, axes, compression):
    path, array = tmp_path / "a.tif", _array(axes, np.uint8)
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": axes}, compression=compression)
    _check(path, array, axes)


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "zlib"},
        {"bigtiff": True, "compression": "lzw", "predictor": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 2},
        {"photometric": "minisblack", "planarconfig": "separate"},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_named_axes_in_every_layout(tmp_path, options, dtype):
    path, array = tmp_path / "a.tif", _array("TZCYX", dtype)
    options = {"photometric": "minisblack"} | options
    tifffile.imwrite(path, array, metadata={"axes": "TZCYX"}, **options)
    _check(path, array, "TZCYX")


def test_a_page_that_is_itself_a_volume(tmp_path):
    path, array = tmp_path / "a.tif", RNG.integers(0, 99, (16, 32, 32), dtype=np.uint8)
    tifffile.imwrite(path, array, photometric="minisblack", volumetric=True, tile=(16, 16, 16))
    with open_stack(path) as stack:
        assert (stack.axes, stack.lengths) == ("Z", (16,))
        for index in stack.indices():
            np.testing.assert_array_equal(stack.read(index).pixels[..., 0], array[index.z])


def test_twelve_bits(tmp_path):
    path, array = tmp_path / "a.tif", RNG.integers(0, 4096, (3, 9, 14), dtype=np.uint16)
    tifffile.imwrite(
        path, array, bitspersample=12, photometric="miniswhite", metadata={"axes": "TYX"}
    )
    with open_stack(path) as stack:
        for index in stack.indices():
            np.testing.assert_array_equal(stack.read(index).pixels[..., 0], 4095 - array[index.t])


def test_nan_is_kept(tmp_path):
    path, array = tmp_path / "a.tif", _array("ZYX", np.float32)
    array[1, 3, 4] = np.nan
    tifffile.imwrite(path, array, metadata={"axes": "ZYX"}, photometric="minisblack")
    _check(path, array, "ZYX")


def test_palettes_and_alpha_in_every_plane(tmp_path):
    numbers = RNG.integers(0, 256, (2, 9, 13), dtype=np.uint8)
    colours = RNG.integers(0, 256, (3, 256), dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "palette.tif",
        numbers,
        photometric="palette",
        colormap=colours * 257,
        metadata={"axes": "TYX"},
    )
    expected = np.moveaxis(colours.astype(np.uint8)[:, numbers], 0, -1)
    with open_stack(tmp_path / "palette.tif") as stack:
        assert stack.channels == ("red", "green", "blue")
        np.testing.assert_array_equal(stack.read(Index(t=1)).pixels, expected[1])
    rgba = RNG.integers(0, 256, (2, 9, 13, 4), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "alpha.tif",
        rgba,
        photometric="rgb",
        extrasamples=["unassalpha"],
        metadata={"axes": "ZYXS"},
    )
    with open_stack(tmp_path / "alpha.tif") as stack:
        assert (stack.axes, len(stack.channels)) == ("Z", 3)
        np.testing.assert_array_equal(stack.read(Index(z=1)).pixels, rgba[1, ..., :3])


def test_names_and_sizes_of_ome(tmp_path):
    path = tmp_path / "a.ome.tif"
    names = ["DAPI", "actin & co", "c", "d"]
    tifffile.imwrite(
        path,
        _array("TZCYX"),
        metadata={
            "axes": "TZCYX",
            "Channel": {"Name": names},
            "PhysicalSizeX": 0.2,
            "PhysicalSizeY": 0.2,
            "PhysicalSizeZ": 1500,
            "PhysicalSizeZUnit": "nm",
            "TimeIncrement": 5,
            "TimeIncrementUnit": "min",
        },
    )
    with open_stack(path) as stack:
        assert stack.channels == tuple(names)
        steps = stack.calibration
        assert (steps.pixel_size, steps.z_step, steps.time_step) == pytest.approx((0.2, 1.5, 300))
        assert stack.read(Index()).pixel_size == pytest.approx(0.2)


def write_scenes(path):
    """Two images in one OME-TIFF, of other sizes, channels and pixels; returns them."""
    first, second = _array("CYX")[:2], _array("ZYX")[:, :7]
    with tifffile.TiffWriter(path, ome=True) as tiff:
        names = {"Channel": {"Name": ["DAPI", "actin"]}}
        size = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
        tiff.write(first, metadata={"axes": "CYX", "Name": "left", **names, **size})
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tiff.write(second, metadata={"axes": "ZYX", "Name": "right", **size})
    return first, second


def test_one_of_several_images_in_a_file_is_chosen(tmp_path):
    path = tmp_path / "a.ome.tif"
    left, right = write_scenes(path)
    assert scene_names(path) == ("left", "right")
    with pytest.raises(ImageReadError, match=r"holds 2: 0 left, 1 right\. Choose one"):
        read_image(path)
    for scene in ("left", "0", 0):
        image = read_image(path, scene=scene)
        assert (image.channels, image.pixel_size) == (("DAPI", "actin"), 0.2)
        np.testing.assert_array_equal(image.pixels, np.moveaxis(left, 0, 2))
    with open_stack(path, scene="right") as stack:
        assert (stack.axes, stack.calibration.pixel_size) == ("Z", 0.5)
        for z, plane in enumerate(right):
            np.testing.assert_array_equal(stack.read(Index(z=z)).pixels[..., 0], plane)
    for scene in ("middle", "2", -1):
        with pytest.raises(ImageReadError, match="0 left, 1 right, but got"):
            read_image(path, scene=scene)


def test_a_file_of_one_image_has_one_scene(tmp_path, write_png):
    path = write_png(tmp_path / "a.png", np.zeros((5, 6), np.uint8))
    assert scene_names(path) == ("",)
    assert read_image(path, scene=0).shape == (5, 6)
    with pytest.raises(ImageReadError, match="but got '1'"):
        read_image(path, scene="1")


def test_names_and_sizes_of_imagej(tmp_path):
    path = tmp_path / "a.tif"
    names = ["DAPI", "actin", "c", "d"]
    tifffile.imwrite(
        path,
        _array("TZCYX"),
        imagej=True,
        resolution=(4, 4),
        metadata={
            "axes": "TZCYX",
            "unit": "micron",
            "spacing": 2.0,
            "finterval": 10.0,
            "Labels": names * 6,
        },
    )
    with open_stack(path) as stack:
        assert stack.channels == tuple(names)
        steps = stack.calibration
        assert (steps.pixel_size, steps.z_step, steps.time_step) == pytest.approx((0.25, 2, 10))


def test_unnamed_pages_need_axes_and_the_error_names_the_choices(tmp_path):
    path, array = tmp_path / "a.tif", _array("TYX")
    tifffile.imwrite(path, array, photometric="minisblack")
    choices = r"2 pages.*times T \(axes TYX\), slices Z \(axes ZYX\) or channels C \(axes CYX\)"
    with pytest.raises(ImageReadError, match=choices), open_stack(path):
        pass
    _check(path, array, "TYX", axes="TYX")
    _check(path, array, "CYX", axes="cyx")
    assert read_image(path, axes="CYX").pixels.shape == (9, 13, 2)


def test_several_unnamed_axes(tmp_path):
    path, array = tmp_path / "a.tif", _array("TZCYX")
    tifffile.imwrite(path, array, photometric="minisblack")
    with pytest.raises(ImageReadError, match=r"2, 3, 4.*--axes"), open_stack(path):
        pass
    _check(path, array, "TZCYX", axes="TZCYX")


def test_pages_in_a_row_are_split_by_given_lengths(tmp_path):
    path, array = tmp_path / "a.tif", _array("TZCYX")
    tifffile.imwrite(path, array, photometric="minisblack", metadata=None)
    _check(path, array, "TZCYX", axes="T2ZC4YX")
    _check(path, array, "TZCYX", axes="T2Z3C4Y9X13")
    for wrong in ("TZCYX", "T2Z3C5YX", "T5ZC4YX", "T2Z3YX", "T0ZCYX"):
        with pytest.raises(ImageReadError, match=r"do not fit.*Y 9, X 13"):
            read_image(path, axes=wrong)


def test_axes_that_are_asked_for_win_over_those_of_the_file(tmp_path):
    path, array = tmp_path / "a.tif", _array("ZYX", np.uint8)  # a movie saved as slices
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "ZYX"})
    with open_stack(path, axes="TYX") as stack:
        assert (stack.axes, stack.lengths) == ("T", (3,))


@pytest.mark.parametrize("asked", ["", "TZ", "TTYX", "QYX", "YXYX", "5YX", "T-1YX"])
def test_axes_that_are_none(tmp_path, asked):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _array("TYX"), photometric="minisblack")
    with pytest.raises(UsageError, match="such as YX, CYX"):
        read_image(path, axes=asked)


def _edited(path, array, old, new, **options):
    tifffile.imwrite(path, array, **options)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("claimed", [b"1", b"9"])
def test_ome_metadata_that_contradict_the_pages(tmp_path, claimed):
    path, array = tmp_path / "a.ome.tif", _array("ZYX")
    new = b'SizeZ="' + claimed + b'"'
    _edited(path, array, b'SizeZ="3"', new, metadata={"axes": "ZYX"}, compression="zlib")
    with pytest.raises(ImageReadError, match="contradict"), open_stack(path):
        pass


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej_metadata_that_contradict_the_pages(tmp_path, compression):
    path, array = tmp_path / "a.tif", _array("ZYX", np.uint8)
    options = {"imagej": True, "metadata": {"axes": "ZYX"}, "compression": compression}
    _edited(path, array, b"slices=3", b"slices=9", **options)
    with pytest.raises(ImageReadError, match="contradict"), open_stack(path):
        pass


@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped", "bare"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_cut_stack_is_an_error_unless_all_pixels_are_there(tmp_path, kind, compression):
    path = tmp_path / "a.tif"
    options = {
        "ome": {"ome": True, "metadata": {"axes": "TYX"}},
        "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
        "shaped": {"metadata": {"axes": "TYX"}},
        "bare": {"metadata": None},
    }[kind]
    array = RNG.integers(0, 255, (6, 40, 40), dtype=np.uint8)
    tifffile.imwrite(path, array, compression=compression, photometric="minisblack", **options)
    data = path.read_bytes()
    for size in np.linspace(1, len(data) - 3, 25).astype(int):
        path.write_bytes(data[:size])
        try:
            with open_stack(path, axes="TYX") as stack:
                planes = [stack.read(index).pixels[..., 0] for index in stack.indices()]
        except ImageReadError as error:
            assert "a.tif" in str(error)  # noqa: PT017 - or else every pixel is right
        else:
            assert size > 0.9 * len(data)
            np.testing.assert_array_equal(planes, array)


@pytest.mark.parametrize("size", ["0", "-1", "nan", "1e9", "wide"])
def test_a_pixel_size_that_is_none(tmp_path, size):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YX", "PhysicalSizeX": 0.123456, "PhysicalSizeY": 0.123456}
    _edited(path, _array("YX"), b"0.123456", size.ljust(8).encode(), metadata=metadata)
    with pytest.raises(ImageReadError, match=r"pixel size.*--pixel-size none"):
        read_image(path)
    assert read_image(path, pixel_size="none").pixel_size is None
    assert read_image(path, pixel_size=0.5).pixel_size == 0.5


def test_png_with_asked_axes(tmp_path, write_png):
    path = write_png(tmp_path / "a.png", RNG.integers(0, 255, (9, 13, 3), dtype=np.uint8))
    assert read_image(path, axes="YXC").pixels.shape == (9, 13, 3)
    with pytest.raises(ImageReadError, match="do not fit"):
        read_image(path, axes="TYXC")


@pytest.mark.parametrize("cut", [False, True])
def test_imagej_describes_one_page_of_a_large_stack(tmp_path, cut):
    path, array = tmp_path / "a.tif", RNG.integers(0, 99, (6, 90, 130), dtype=np.uint8)
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tiff:
        first, form = tiff.pages.first, tiff.tiff
        end = first.dataoffsets[0] + array.nbytes
        following = first.offset + form.tagnosize + len(first.tags) * form.tagsize
    data = bytearray(path.read_bytes()[: end - 90 if cut else end])
    data[following : following + 4] = bytes(4)  # no page behind the first
    path.write_bytes(data)
    if cut:
        with pytest.raises(ImageReadError, match="contradict"), open_stack(path):
            pass
        return
    with open_stack(path) as stack:
        planes = [stack.read(index).pixels[..., 0] for index in stack.indices()]
    np.testing.assert_array_equal(planes, array)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_stacks(tmp_path, photometric):
    path, array = tmp_path / "a.tif", RNG.random((3, 9, 13)) > 0.5
    tifffile.imwrite(path, array, photometric=photometric, metadata={"axes": "ZYX"})
    with open_stack(path) as stack:
        planes = [stack.read(index).pixels[..., 0] for index in stack.indices()]
    np.testing.assert_array_equal(planes, array ^ (photometric == "miniswhite"))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_plane_needs_the_memory_of_a_plane(tmp_path, compression):
    path, plane = tmp_path / "a.ome.tif", 512 * 512 * 2
    array = np.zeros((40, 512, 512), np.uint16)
    tifffile.imwrite(path, array, metadata={"axes": "TYX"}, compression=compression)
    del array
    with open_stack(path) as stack:
        stack.read(Index(3))  # decoders are loaded
        tracemalloc.start()
        try:
            for index in stack.indices():
                stack.read(index)
            assert tracemalloc.get_traced_memory()[1] < 6 * plane
        finally:
            tracemalloc.stop()
