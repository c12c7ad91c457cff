import os
from pathlib import Path

import pytest

from cellrim.errors import UsageError
from cellrim.prediction.inputs import OUTPUT_ENDINGS, find_jobs, images_by_name


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _targets(jobs, root: Path) -> dict[str, str]:
    return {j.source.relative_to(root).as_posix(): j.target.as_posix() for j in jobs}


def test_a_folder_is_searched_and_the_path_below_it_kept(tmp_path):
    _touch(tmp_path, "in/b.TIF", "in/a.png", "in/sub/a.jpg", "in/notes.txt", "in/.hidden.png")
    _touch(tmp_path, "in/.cache/x.png", "in/sub/deep/c.dib", "in/f96 (17)/e [1].tif")
    jobs = find_jobs([tmp_path / "in"], tmp_path / "out")
    assert _targets(jobs, tmp_path / "in") == {
        "a.png": "a",
        "b.TIF": "b",
        "f96 (17)/e [1].tif": "f96 (17)/e [1]",
        "sub/a.jpg": "sub/a",
        "sub/deep/c.dib": "sub/deep/c",
    }
    outputs = jobs[0].outputs(tmp_path / "out")
    assert outputs["labels"] == tmp_path / "out" / "a_labels.tif"
    assert outputs["overlay"] == tmp_path / "out" / "a_overlay.png"
    assert outputs["cells"] == tmp_path / "out" / "a_cells.csv"


def test_patterns(tmp_path):
    _touch(tmp_path, "p1/a.tif", "p1/b.png", "p2/c.tif", "p2/deep/d.tif")
    jobs = find_jobs([f"{tmp_path}/*/*.tif"], tmp_path / "out")
    assert _targets(jobs, tmp_path) == {"p1/a.tif": "p1/a", "p2/c.tif": "p2/c"}
    jobs = find_jobs([f"{tmp_path}/**/*.tif"], tmp_path / "out")
    assert "p2/deep/d" in _targets(jobs, tmp_path).values()
    jobs = find_jobs([f"{tmp_path}/p[2]"], tmp_path / "out")
    assert _targets(jobs, tmp_path) == {"p2/c.tif": "p2/c", "p2/deep/d.tif": "p2/deep/d"}


def test_a_file_with_magic_in_its_name_is_itself(tmp_path):
    _touch(tmp_path, "a[1].tif", "a1.tif")
    [job] = find_jobs([tmp_path / "a[1].tif"], tmp_path / "out")
    assert job.source.name == "a[1].tif"


def test_named_files_of_any_suffix_are_taken(tmp_path):
    _touch(tmp_path, "a.strange")
    [job] = find_jobs([str(tmp_path / "a.strange")], tmp_path / "out")
    assert job.target.as_posix() == "a"


def test_each_file_once(tmp_path):
    _touch(tmp_path, "in/a.png")
    given = [tmp_path / "in", tmp_path / "in" / "a.png", f"{tmp_path}/in/*.png"]
    assert len(find_jobs(given, tmp_path / "out")) == 1


def test_same_stem_with_other_suffix(tmp_path):
    _touch(tmp_path, "a.png", "a.tif", "A.jpg", "b.png")
    targets = _targets(find_jobs([tmp_path], tmp_path / "out"), tmp_path)
    assert targets == {"a.png": "a.png", "a.tif": "a.tif", "A.jpg": "A.jpg", "b.png": "b"}


def test_same_name_from_two_folders(tmp_path):
    _touch(tmp_path, "x/a.png", "y/a.png", "y/b.png")
    expected = {"x/a.png": "x/a", "y/a.png": "y/a", "y/b.png": "y/b"}
    for given in (["x", "y"], ["x/a.png", "y/a.png", "y/b.png"]):
        jobs = find_jobs([tmp_path / g for g in given], tmp_path / "out")
        assert _targets(jobs, tmp_path) == expected


def test_different_names_from_two_folders_need_no_folder(tmp_path):
    _touch(tmp_path, "x/a.png", "y/b.png")
    jobs = find_jobs([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert _targets(jobs, tmp_path) == {"x/a.png": "a", "y/b.png": "b"}


def test_what_cannot_be_told_apart_is_refused(tmp_path):
    _touch(tmp_path, "x/images/a.png", "y/images/a.png")
    with pytest.raises(UsageError, match="same files"):
        find_jobs([tmp_path / "x/images", tmp_path / "y/images"], tmp_path / "out")


def test_results_below_the_input_are_no_inputs(tmp_path):
    _touch(tmp_path, "a.png", "out/a_labels.tif", "out/a_overlay.png", "other/b.png")
    jobs = find_jobs([tmp_path], tmp_path / "out")
    assert _targets(jobs, tmp_path) == {"a.png": "a", "other/b.png": "other/b"}
    jobs = find_jobs([f"{tmp_path}/**/*"], tmp_path / "out")
    assert set(_targets(jobs, tmp_path)) == {"a.png", "other/b.png"}


def test_results_beside_the_images_are_no_inputs(tmp_path):
    _touch(tmp_path, "a.png", "a_labels.tif", "a_overlay.png", "sub/b.png", "sub/b_overlay.png")
    _touch(tmp_path, "c_labels.tif")  # not the result of an image here: an image of that name
    jobs = find_jobs([tmp_path], tmp_path)
    assert set(_targets(jobs, tmp_path)) == {"a.png", "sub/b.png", "c_labels.tif"}


def test_a_named_image_is_never_overwritten(tmp_path):
    _touch(tmp_path, "a.png", "a_labels.tif")
    with pytest.raises(UsageError, match="another output folder"):
        find_jobs([tmp_path / "a.png", tmp_path / "a_labels.tif"], tmp_path)


@pytest.mark.parametrize("given", [[], ["nothing.png"], ["*.png"], ["."]])
def test_nothing_to_do(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    _touch(tmp_path, "notes.txt")
    with pytest.raises(UsageError):
        find_jobs(given, tmp_path / "out")


def test_zarr_folders_and_makers_files_are_images(tmp_path):
    (tmp_path / "in" / "a.ome.zarr" / "0").mkdir(parents=True)
    (tmp_path / "in" / "a.ome.zarr" / "0" / "inside.tif").write_bytes(b"x")
    (tmp_path / "in" / "plain").mkdir()
    (tmp_path / "in" / "plain" / ".zattrs").write_text("{}")  # an image whatever its name
    for name in ("b.czi", "c.ND2", "d.lif", "e.ome.tif", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"x")
    jobs = find_jobs([tmp_path / "in"], tmp_path / "out")
    assert sorted(job.target.as_posix() for job in jobs) == ["a", "b", "c", "d", "e"]
    [job] = find_jobs([tmp_path / "in" / "plain"], tmp_path / "out")
    assert (job.source.name, job.named) == ("plain", True)
    assert len(find_jobs([f"{tmp_path}/in/*.zarr"], tmp_path / "out")) == 1


def test_two_files_that_differ_in_ome_only_keep_their_suffixes(tmp_path):
    for name in ("a.tif", "a.ome.tif"):
        (tmp_path / name).write_bytes(b"x")
    jobs = find_jobs([tmp_path], tmp_path / "out")
    assert sorted(job.target.as_posix() for job in jobs) == ["a.ome.tif", "a.tif"]


def test_tracks_of_an_earlier_run_are_no_images(tmp_path):
    (tmp_path / "movie.tif").write_bytes(b"x")
    (tmp_path / "movie_RES").mkdir()
    for name in ("mask000.tif", "res_track.txt"):
        (tmp_path / "movie_RES" / name).write_bytes(b"x")
    jobs = find_jobs([tmp_path], tmp_path)
    assert [job.source.name for job in jobs] == ["movie.tif"]
    assert jobs[0].tracks(tmp_path) == tmp_path / "movie_RES"


def test_results_for_cells_and_nuclei(tmp_path):
    """A file named like one is an input, unless both are asked for and its image is there."""
    for name in ("a.tif", "a_nuclei.tif", "b_nuclei.tif"):
        (tmp_path / name).write_bytes(b"II*\0")
    alone = find_jobs([tmp_path], tmp_path)
    assert [job.source.name for job in alone] == ["a.tif", "a_nuclei.tif", "b_nuclei.tif"]
    assert set(alone[0].outputs(tmp_path)) == set(OUTPUT_ENDINGS)
    both = find_jobs([tmp_path], tmp_path, paired=True)
    assert [job.source.name for job in both] == ["a.tif", "b_nuclei.tif"]
    outputs = both[0].outputs(tmp_path)
    assert outputs["labels"].name == "a_cells.tif"
    assert outputs["nuclei"].name == "a_nuclei.tif"


def test_images_are_named_without_their_suffix_whatever_it_is(tmp_path):
    _touch(tmp_path, "a.ome.tif", "b.czi", "sub/a.png", "sub/a.tif", "c.zarr/.zattrs", "d.txt")
    found = images_by_name(tmp_path)
    assert {name: len(paths) for name, paths in found.items()} == {
        "a": 1, "b": 1, "c": 1, "sub/a": 2,
    }  # fmt: skip


def test_a_folder_that_cannot_be_searched_is_named(tmp_path, monkeypatch):
    """Permissions do not hold for root, so that the refusal of the system is played."""
    _touch(tmp_path, "a.png", "closed/b.png")

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    list_folder = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"Cannot search .*closed: Permission denied"):
        find_jobs([tmp_path], tmp_path / "out")


def test_an_empty_name_is_no_folder(tmp_path):
    with pytest.raises(UsageError, match="empty name"):
        find_jobs([""], tmp_path / "out")
