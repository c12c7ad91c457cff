import numpy as np
import pytest
import tifffile

from cellrim.datasets.records import (
    files_below,
    image_size,
    merge_masks,
    read_planes,
    size_problem,
)
from cellrim.errors import DatasetError, ImageReadError
from cellrim.io.images import read_image


def test_sizes_are_those_of_the_pixels(tmp_path, write_png, write_tiff, write_dib):
    grey = np.zeros((7, 13), np.uint8)
    rgb = np.dstack([grey, grey + 1, grey])
    paths = [
        write_png(tmp_path / "grey.png", grey),
        write_png(tmp_path / "rgb.png", rgb),
        write_tiff(tmp_path / "grey.tif", grey, compression="lzw"),
        write_tiff(tmp_path / "rgb.tif", rgb, photometric="rgb"),
        write_tiff(
            tmp_path / "planes.tif",
            np.moveaxis(rgb, 2, 0),
            ome=True,
            photometric="minisblack",
            metadata={"axes": "CYX"},
        ),
        write_dib(tmp_path / "a.bmp", grey),
        write_dib(tmp_path / "a.dib", grey, file_header=False),
    ]
    tifffile.imwrite(tmp_path / "page.tif", grey, bigtiff=True)
    for path in (*paths, tmp_path / "page.tif"):
        assert image_size(path) == (7, 13), path
        assert read_image(path).shape == (7, 13)


def test_sizes_of_label_arrays(tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros((4, 5), np.uint16))
    assert image_size(tmp_path / "labels.npy") == (4, 5)


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8\xff", b"?"]
)
def test_what_has_no_size_is_named(tmp_path, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=r"a\.png"):
        image_size(path)
    problem = size_problem("record", [path])
    assert problem is not None
    assert problem.record == "record"
    with pytest.raises(ImageReadError, match="missing"):
        image_size(tmp_path / "missing.png")


def test_channels_must_be_of_one_size(tmp_path, write_png):
    a = write_png(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    b = write_png(tmp_path / "b.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(DatasetError, match=r"a\.png is 4 x 5, b\.png is 4 x 6"):
        read_planes((a, b), ("DNA", "actin"))


def test_files_are_found_at_any_depth_but_hidden_ones(tmp_path, write_png):
    grey = np.zeros((4, 5), np.uint8)
    for name in ("b.png", "a/C.PNG", "._b.png", ".cache/x.png", "__MACOSX.txt"):
        write_png(tmp_path / name, grey)
    assert [p.name for p in files_below(tmp_path, (".png",))] == ["C.PNG", "b.png"]


def test_merging_follows_the_order():
    a, b = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    a[0, :3] = b[0, 2:] = True
    np.testing.assert_array_equal(merge_masks([a, b], (2, 4))[0], [1, 1, 1, 2])
    np.testing.assert_array_equal(merge_masks([b, a], (2, 4))[0], [2, 2, 1, 1])
    assert not merge_masks([], (2, 4)).any()
    np.testing.assert_array_equal(merge_masks([a, a, b], (2, 4)), merge_masks([a, b], (2, 4)))
