import numpy as np
import pytest
import tifffile

from cellrim.errors import OutputError
from cellrim.io.tracking import TRACKS_NAME, is_ctc, remove_ctc, write_ctc


def _write(folder, count=3):
    frames = [np.full((4, 5), n + 1, np.int32) for n in range(count)]
    numbers = np.arange(count)
    write_ctc(folder, frames, begin=numbers, end=numbers, parent=np.maximum(numbers, 0))
    return frames


def test_frames_and_lines_are_those_of_the_challenge(tmp_path):
    folder = tmp_path / "movie_RES"
    frames = _write(folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "mask000.tif",
        "mask001.tif",
        "mask002.tif",
        TRACKS_NAME,
    ]
    for n, frame in enumerate(frames):
        stored = tifffile.imread(folder / f"mask{n:03d}.tif")
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, frame)
    assert (folder / TRACKS_NAME).read_text() == "1 0 0 0\n2 1 1 1\n3 2 2 2\n"


def test_a_shorter_movie_leaves_no_frame_of_the_longer_one(tmp_path):
    folder = tmp_path / "movie_RES"
    _write(folder, 3)
    _write(folder, 1)
    assert sorted(p.name for p in folder.iterdir()) == ["mask000.tif", TRACKS_NAME]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_with_other_files_is_kept(tmp_path):
    folder = tmp_path / "movie_RES"
    _write(folder)
    (folder / "notes.txt").write_text("mine")
    remove_ctc(folder)
    with pytest.raises(OutputError, match="other files"):
        _write(folder)
    assert (folder / "mask000.tif").exists()
    (folder / "notes.txt").unlink()
    assert is_ctc(folder)
    remove_ctc(folder)
    assert not folder.exists()


def test_nothing_half_written_has_the_name(tmp_path):
    def frames():
        yield np.zeros((4, 5), np.int32)
        raise OSError("the disk is full")

    none = np.zeros(0, np.int64)
    with pytest.raises(OutputError, match="full"):
        write_ctc(tmp_path / "movie_RES", frames(), begin=none, end=none, parent=none)
    assert list(tmp_path.iterdir()) == []
