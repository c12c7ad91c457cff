import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PilImage

from cellrim.errors import ImageReadError, InputError, OutputError
from cellrim.io.labels import read_labels, write_labels


@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.integers(0, 2**31 - 1),
    )
)
@settings(deadline=None, max_examples=40)
def test_written_labels_come_back(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("labels") / "a.tif"
    write_labels(path, labels)
    got = read_labels(path)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, labels)


def test_a_path_may_be_text(tmp_path):
    labels = np.array([[0, 3], [3, 5]], np.int32)
    write_labels(str(tmp_path / "a.tif"), labels)
    np.testing.assert_array_equal(read_labels(str(tmp_path / "a.tif")), labels)
    with pytest.raises(ImageReadError):
        read_labels(str(tmp_path / "b.tif"))


@pytest.mark.parametrize(("top", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_width_follows_the_largest_id(tmp_path, top, dtype):
    path = tmp_path / "deep" / "er" / "a.tif"
    write_labels(path, np.array([[0, top]], np.int32))
    stored = tifffile.imread(path)
    assert stored.dtype == dtype
    assert stored.max() == top
    assert [p.name for p in path.parent.iterdir()] == ["a.tif"]


def test_other_viewers_can_open_it(tmp_path):
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    write_labels(tmp_path / "a.tif", labels)
    with PilImage.open(tmp_path / "a.tif") as opened:
        np.testing.assert_array_equal(np.asarray(opened), labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32, np.int32])
def test_tiff_kinds(tmp_path, dtype):
    labels = np.array([[0, 3], [7, 255]], dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png(tmp_path, dtype):
    labels = np.array([[0, 3], [7, 255]], dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(labels))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), labels)


def test_one_bit_png_has_id_one(tmp_path):
    PilImage.fromarray(np.eye(9, dtype=bool)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), np.eye(9))


def test_npy(tmp_path):
    labels = np.array([[0, 70000]], np.int64)
    np.save(tmp_path / "a.npy", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.npy"), labels)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ImageReadError, match=r"a\.npy"):
        read_labels(tmp_path / "a.npy")


@pytest.mark.parametrize("mode", ["RGB", "P", "LA"])
def test_colours_are_no_ids(tmp_path, mode):
    PilImage.fromarray(np.eye(9, dtype=np.uint8)).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(ImageReadError, match="grey PNG"):
        read_labels(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.array([[0.5]], np.float32), "fractions"), (np.array([[-1]], np.int32), "between 0")],
)
def test_values_that_are_no_ids(tmp_path, values, message):
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ImageReadError, match=message):
        read_labels(tmp_path / "a.tif")


def test_files_that_are_no_label_images(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"")
    (tmp_path / "b.tif").write_bytes(b"hello there")
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((2, 4, 5), np.uint8))
    for name in ("a.tif", "b.tif", "c.tif", "none.tif"):
        with pytest.raises(ImageReadError, match=name):
            read_labels(tmp_path / name)


def test_bad_arrays_and_places(tmp_path):
    with pytest.raises(InputError):
        write_labels(tmp_path / "a.tif", np.zeros((2, 2, 2), np.int32))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_labels(tmp_path / "file" / "a.tif", np.zeros((2, 2), np.int32))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
