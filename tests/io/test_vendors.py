"""What the readers of makers' files have in common, tested on a reader that is made up; files are
read in ``test_vendor_files.py``."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cellrim.core.stack import Index
from cellrim.errors import ImageReadError, MissingExtraError
from cellrim.io.images import open_stack
from cellrim.io.vendors import VENDOR_SUFFIXES, bioio_source

ARRAY = np.random.default_rng(3).integers(0, 4000, (2, 3, 2, 8, 9), dtype=np.uint16)


class Lazy:
    """As much of a dask array as is asked of one; counts what is read."""

    def __init__(self, array, read):
        self._array, self._read = array, read
        self.shape = array.shape

    def __getitem__(self, at):
        return Lazy(self._array[at], self._read)

    def compute(self, scheduler):
        self._read.append(self._array.size)
        return self._array


def _reader(axes="TCZYX", scenes=("only",), sizes=(2.0, 0.5, 0.5), names=("DAPI", "GFP", "c")):
    read = []
    chosen = []
    return SimpleNamespace(
        set_scene=chosen.append,
        chosen=chosen,
        scenes=scenes,
        dask_data=Lazy(ARRAY, read),
        dims=SimpleNamespace(order=axes),
        channel_names=list(names),
        physical_pixel_sizes=SimpleNamespace(Z=sizes[0], Y=sizes[1], X=sizes[2]),
        xarray_dask_data=SimpleNamespace(attrs={}),
        read=read,
    )


def test_a_plane_at_a_time(tmp_path):
    reader = _reader()
    source = bioio_source(tmp_path / "a.lif", reader)
    assert (source.axes, source.shape, source.channels) == (
        "TCZYX",
        ARRAY.shape,
        ("DAPI", "GFP", "c"),
    )
    assert source.calibration.pixel_size == 0.5
    assert source.calibration.z_step == 2
    pixels, axes = source.read(Index(1, 1))
    assert axes == "CYX"
    np.testing.assert_array_equal(pixels, ARRAY[1, :, 1])
    assert reader.read == [3 * 8 * 9]


def test_of_several_scenes_one_is_chosen_or_the_error_lists_them(tmp_path):
    with pytest.raises(ImageReadError, match=r"holds 2: 0 A1, 1 B2\. .*--scene"):
        bioio_source(tmp_path / "a.lif", _reader(scenes=("A1", "B2")))
    for scene in ("B2", "1", 1):
        reader = _reader(scenes=("A1", "B2"))
        bioio_source(tmp_path / "a.lif", reader, scene=scene)
        assert reader.chosen == [1]
    with pytest.raises(ImageReadError, match=r"0 A1, 1 B2, but got 'B3'"):
        bioio_source(tmp_path / "a.lif", _reader(scenes=("A1", "B2")), scene="B3")


def test_an_absurd_pixel_size(tmp_path):
    with pytest.raises(ImageReadError, match="pixel size"):
        bioio_source(tmp_path / "a.nd2", _reader(sizes=(None, 0.0, 0.0)))
    source = bioio_source(tmp_path / "a.nd2", _reader(sizes=(None, 0.0, 0.0)), calibrated=False)
    assert source.calibration.pixel_size is None


def test_unknown_axes_are_asked_for(tmp_path):
    with pytest.raises(ImageReadError, match="--axes"):
        bioio_source(tmp_path / "a.nd2", _reader(axes="MCZYX"))
    assert bioio_source(tmp_path / "a.nd2", _reader(axes="MCZYX"), axes="TCZYX").axes == "TCZYX"


@pytest.mark.parametrize("suffix", VENDOR_SUFFIXES)
def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "bioio.plugins", None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"anything at all")
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'cellrim\[formats\]'"),
        open_stack(path),
    ):
        pass
