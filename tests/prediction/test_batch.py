import json
import os

import imagecodecs
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from cellrim.errors import UsageError
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.prediction import Segmenter
from cellrim.prediction.batch import plan_run, run
from cellrim.prediction.inputs import find_jobs
from cellrim.prediction.request import Request

LABELS = Request(save=("labels",))


@pytest.fixture
def folder(tmp_path, discs):
    images = tmp_path / "in"
    (images / "sub").mkdir(parents=True)
    for name, radius in (("a.png", 8), ("b.png", 8), ("sub/a.png", 7)):
        (images / name).write_bytes(imagecodecs.png_encode(discs((80, 90), radius)))
    return images


@pytest.fixture
def segmenter(oracle, card_with):
    return Segmenter(oracle(16.0), card_with())


def _plan(folder, segmenter, request=LABELS, **kwargs):
    out = folder.parent / "out"
    return plan_run(find_jobs([folder], out), out, segmenter=segmenter, request=request, **kwargs)


def _summary(folder):
    return json.loads((folder.parent / "out" / "run.json").read_text())


def test_writes_all_results_and_run_json_last(folder, segmenter):
    plan = _plan(folder, segmenter, Request())
    seen = []
    report = run(plan, report=seen.append)
    out = plan.out
    assert [r.target for r in seen] == ["a", "b", "sub/a"]
    assert not report.failed
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    ends = ("_labels.tif", "_overlay.png", "_cells.csv")
    assert written == {s + e for s in ("a", "b", "sub/a") for e in ends} | {
        *("run.json", "cells.csv", "images.csv")
    }
    newest = max(p.stat().st_mtime_ns for p in out.rglob("*_*"))
    assert (out / "run.json").stat().st_mtime_ns >= newest
    summary = _summary(folder)
    assert summary["model"]["sha256"] == segmenter.card.sha256
    assert summary["devices"] == ["oracle"]
    assert [record["devices"] for record in summary["files"]] == [["oracle"]] * 3
    assert summary["images"] == 3
    assert summary["options"] == {
        "diameter": None,
        "channels": None,
        "save": ["cells", "labels", "overlay"],
        "min_confidence": None,
        "axes": None,
        "pixel_size": "read",
        "scene": None,
        "project": None,
        "track": False,
        "target": None,
        "nucleus": None,
        "accurate": False,
    }
    for record in summary["files"]:
        labels = read_labels(out / record["outputs"][0])
        assert record["cells"] == labels.max() > 0
        assert set(record["seconds"]) == {"read", "segment", "save", "quality"}
        assert record["quality"]["cell_diameter"] > 0


def test_a_broken_file_is_named_and_the_rest_goes_on(folder, segmenter):
    (folder / "aa.tif").write_bytes(b"II*\0broken")
    report = run(_plan(folder, segmenter))
    [failed] = report.failed
    assert failed.target == "aa"
    assert "aa.tif" in failed.error
    assert len(report.records) == 4
    assert _summary(folder)["failed"] == 1


def test_a_bug_in_one_image_does_not_stop_the_others(folder, segmenter, monkeypatch):
    predict = segmenter.backend.predict
    calls = []

    def fails_once(batch):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("too large")
        return predict(batch)

    monkeypatch.setattr(segmenter.backend, "predict", fails_once)
    report = run(_plan(folder, segmenter))
    [failed] = report.failed
    assert "MemoryError" in failed.error
    assert "a.png" in failed.error


def test_results_that_are_there_are_refused_before_any_work(folder, segmenter):
    run(_plan(folder, segmenter))
    with pytest.raises(UsageError, match="--resume"):
        _plan(folder, segmenter)
    (folder.parent / "out" / "run.json").unlink()
    with pytest.raises(UsageError, match="--overwrite"):
        _plan(folder, segmenter)


class Killed(BaseException):
    """As sudden as a kill: nothing in the run may catch it."""


def _killed_after(count):
    seen = []

    def report(record):
        seen.append(record)
        if len(seen) == count:
            raise Killed

    return report


def test_a_killed_run_goes_on_without_doing_anything_twice(folder, segmenter):
    with pytest.raises(Killed):
        run(_plan(folder, segmenter), report=_killed_after(2))
    out = folder.parent / "out"
    assert not (out / "run.json").exists()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*_labels.tif")}
    assert len(before) == 2
    lines = (out / "run.jsonl").read_text()
    (out / "run.jsonl").write_text(lines + '{"source": "torn')
    seen = []
    report = run(_plan(folder, segmenter, existing="resume"), report=seen.append)
    assert [r.target for r in seen] == ["sub/a"]
    assert report.done_before == 2
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert not (out / "run.jsonl").exists()
    assert [f["target"] for f in _summary(folder)["files"]] == ["a", "b", "sub/a"]


def test_a_finished_run_takes_new_images(folder, segmenter, discs):
    run(_plan(folder, segmenter))
    (folder / "c.png").write_bytes(imagecodecs.png_encode(discs((70, 70), 8)))
    seen = []
    run(_plan(folder, segmenter, existing="resume"), report=seen.append)
    assert [r.target for r in seen] == ["c"]
    assert _summary(folder)["images"] == 4


def test_resume_redoes_what_changed(folder, segmenter, discs, oracle, card_with):
    def redone(**kwargs):
        seen = []
        run(
            _plan(folder, kwargs.pop("model", segmenter), existing="resume", **kwargs),
            report=seen.append,
        )
        return [r.target for r in seen]

    run(_plan(folder, segmenter))
    assert redone() == []
    (folder / "b.png").write_bytes(imagecodecs.png_encode(discs((81, 90), 8)))
    assert redone() == ["b"]
    os.utime(folder / "a.png", ns=(1, 1))
    assert redone() == ["a"]
    (folder.parent / "out" / "sub" / "a_labels.tif").unlink()
    assert redone() == ["sub/a"]
    everything = ["a", "b", "sub/a"]
    assert redone(request=Request(save=("labels",), diameter=16.0)) == everything
    other = Segmenter(oracle(16.0), card_with(sha256="1" * 64))
    assert redone(model=other) == everything
    assert redone(model=other) == []


def test_a_minimal_confidence_replaces_that_of_the_card(folder, segmenter):
    assert not segmenter.card.decode.min_confidence
    everything = run(_plan(folder, segmenter)).records
    strict = Request(min_confidence=1.0)
    nothing = run(_plan(folder, segmenter, strict, existing="resume")).records
    assert sum(r.cells for r in everything) > 0
    assert sum(r.cells for r in nothing) == 0


def test_resume_tries_failed_images_again(folder, segmenter, discs):
    (folder / "b.png").write_bytes(b"")
    assert len(run(_plan(folder, segmenter)).failed) == 1
    (folder / "b.png").write_bytes(imagecodecs.png_encode(discs((80, 90), 8)))
    seen = []
    report = run(_plan(folder, segmenter, existing="resume"), report=seen.append)
    assert [r.target for r in seen] == ["b"]
    assert not report.failed


def test_overwrite_leaves_no_results_of_the_run_before(folder, segmenter):
    run(_plan(folder, segmenter, Request(save=("labels", "overlay"))))
    (folder / "a.png").write_bytes(b"")
    report = run(_plan(folder, segmenter, existing="overwrite"))
    assert len(report.failed) == 1
    out = folder.parent / "out"
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert written == {"b_labels.tif", "sub/a_labels.tif", "run.json", "images.csv"}


def test_overwrite_with_another_target_leaves_no_labels_of_the_one_before(
    tmp_path, segmenter, discs
):
    """Not even where the results stand beside the images, among others of such names."""
    pixels = [discs((80, 90), radius, spacing=36) for radius in (12, 6, 6)]
    names = ("a", "a_mine_cells", "b")
    for name in names:
        tifffile.imwrite(tmp_path / f"{name}.tif", np.dstack(pixels), photometric="rgb")
    images = {path.name for path in tmp_path.iterdir()}
    both = Request(save=("labels",), diameter=16, target="both", nucleus=1)
    cells = Request(save=("labels",), diameter=16, target="cells")

    def labels_after(request):
        jobs = find_jobs([tmp_path], tmp_path, paired=request.target == "both")
        plan = plan_run(jobs, tmp_path, segmenter=segmenter, request=request, existing="overwrite")
        assert [(r.target, r.error) for r in run(plan).records] == [(name, None) for name in names]
        return {path.name for path in tmp_path.glob("*.tif")} - images

    paired = {f"{name}_{kind}.tif" for name in names for kind in ("cells", "nuclei")}
    assert labels_after(both) == paired
    assert labels_after(cells) == {f"{name}_labels.tif" for name in names}
    assert labels_after(both) == paired


@pytest.fixture
def scenes(tmp_path, discs):
    """A folder with a file of two images and one of a single one."""
    folder = tmp_path / "in"
    folder.mkdir()
    with tifffile.TiffWriter(folder / "two.ome.tif", ome=True) as tiff:
        for name, radius in (("left", 8), ("right/upper", 7)):
            tiff.write(discs((80, 90), radius, spacing=30), metadata={"axes": "YX", "Name": name})
    tifffile.imwrite(folder / "one.tif", discs((80, 90), 8))
    return folder


def test_every_scene_is_segmented_where_all_are_asked_for(scenes, segmenter):
    out = scenes.parent / "out"
    jobs = find_jobs([scenes], out, scene="all")
    request = Request(save=("labels", "cells"), scene="all")
    report = run(plan_run(jobs, out, segmenter=segmenter, request=request))
    assert [(r.target, r.error) for r in report.records] == [
        ("one", None),
        ("two_s00", None),
        ("two_s01", None),
    ]
    for name in ("left", "right/upper"):
        target = f"two_s{name != 'left':02d}"
        expected = segmenter.segment(read_image(scenes / "two.ome.tif", scene=name))
        np.testing.assert_array_equal(read_labels(out / f"{target}_labels.tif"), expected.labels)
    again = plan_run(jobs, out, segmenter=segmenter, request=request, existing="resume")
    assert len(again.done) == 3


def test_of_several_scenes_one_must_be_chosen(scenes, segmenter):
    def start(scene):
        out = scenes.parent / f"out {scene}"
        jobs = find_jobs([scenes], out, scene=scene)
        request = Request(save=("labels",), scene=scene)
        return run(plan_run(jobs, out, segmenter=segmenter, request=request)).records

    one, two = start(None)
    assert one.error is None
    assert "holds 2: 0 left, 1 right/upper. Choose one by name or number with --scene" in two.error
    one, two = start("right/upper")
    assert "which are 0, but got 'right/upper'" in one.error
    assert two.error is None


def test_what_the_run_before_names_outside_of_its_folder_stays(folder, segmenter):
    run(_plan(folder, segmenter))
    outside = folder.parent / "mine.tif"
    outside.write_bytes(b"mine")
    summary = folder.parent / "out" / "run.json"
    about = json.loads(summary.read_text())
    about["files"][0]["outputs"].append("../mine.tif")
    summary.write_text(json.dumps(about))
    run(_plan(folder, segmenter, existing="overwrite"))
    assert outside.read_bytes() == b"mine"


def test_the_output_may_be_the_input_folder(folder, segmenter):
    jobs = find_jobs([folder], folder)
    run(plan_run(jobs, folder, segmenter=segmenter, request=Request()))
    again = find_jobs([folder], folder)
    assert again == jobs
    plan = plan_run(again, folder, segmenter=segmenter, request=Request(), existing="resume")
    assert len(plan.done) == 3


def test_an_output_that_is_a_file(folder, segmenter):
    (folder.parent / "out").write_text("in the way")
    with pytest.raises(UsageError, match="is a file"):
        _plan(folder, segmenter)


@pytest.mark.parametrize(
    "values",
    [
        {"diameter": 0.0},
        {"diameter": float("nan")},
        {"channels": ()},
        {"channels": (-1,)},
        {"channels": (0, 0)},
        {"channels": (0, 1, 2, 3)},
        {"min_confidence": -0.1},
        {"min_confidence": 1.1},
        {"min_confidence": float("nan")},
        {"save": ()},
        {"save": ("labels", "everything")},
    ],
)
def test_requests_that_cannot_work(values):
    with pytest.raises(UsageError, match="Expected"):
        Request(**values)


def test_results_do_not_depend_on_the_order(folder, segmenter):
    run(_plan(folder, segmenter))
    out = folder.parent / "out"
    alone = segmenter.segment(imagecodecs.png_decode((folder / "b.png").read_bytes()))
    np.testing.assert_array_equal(read_labels(out / "b_labels.tif"), alone.labels)


def _zarr_movie(path, discs):
    """An OME-Zarr image of two times with axes TYX."""
    import zarr

    frames = np.stack([discs((80, 90), 8), discs((80, 90), 7)])
    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=frames.shape, dtype=frames.dtype, chunks=(1, 80, 90))
    array[:] = frames
    axes = [{"name": "t", "type": "time"}, {"name": "y"}, {"name": "x"}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]},
    ]
    return array


def test_a_zarr_movie_is_segmented_and_done_again_when_a_chunk_changes(tmp_path, segmenter, discs):
    array = _zarr_movie(tmp_path / "in" / "movie.ome.zarr", discs)
    request = Request(save=("labels", "cells"), track=True, diameter=16)
    plan = _plan(tmp_path / "in", segmenter, request)
    [record] = run(plan).records
    assert record.error is None
    assert record.outputs == ("movie_labels.tif", "movie_cells.csv", "movie_RES/res_track.txt")
    assert len(_plan(tmp_path / "in", segmenter, request, existing="resume").done) == 1
    (tmp_path / "out" / "movie_RES" / "res_track.txt").unlink()
    assert not _plan(tmp_path / "in", segmenter, request, existing="resume").done
    run(_plan(tmp_path / "in", segmenter, request, existing="resume"))
    array[1] = 0
    assert not _plan(tmp_path / "in", segmenter, request, existing="resume").done
    run(_plan(tmp_path / "in", segmenter, request, existing="resume"))
    assert (tmp_path / "out" / "movie_RES" / "mask001.tif").is_file()


def test_a_stack_whose_slices_are_projected_to_one_plane(tmp_path, segmenter, discs):
    slices = np.stack([discs((80, 90), 8), np.zeros((80, 90), np.uint8)])
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", slices, photometric="minisblack")
    request = Request(save=("labels",), axes="ZYX", project="max", diameter=16)
    [record] = run(_plan(tmp_path / "in", segmenter, request)).records
    assert record.error is None
    assert read_labels(tmp_path / "out" / "a_labels.tif").max() == record.cells > 1


def test_pages_without_axes_fail_with_the_choices(tmp_path, segmenter):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(
        tmp_path / "in" / "a.tif", np.zeros((4, 20, 20), np.uint8), photometric="minisblack"
    )
    [record] = run(_plan(tmp_path / "in", segmenter)).records
    assert "--axes" in record.error


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"target": "nucleus"}, "nuclei, cells, both"),
        ({"nucleus": 0}, "no target"),
        ({"target": "cells", "nucleus": 0}, "got cells"),
        ({"target": "both", "nucleus": -1}, "from 0 on"),
    ],
)
def test_targets_that_cannot_be(values, says):
    with pytest.raises(UsageError, match=says):
        Request(**values)


def test_cells_and_nuclei_in_one_run(tmp_path, segmenter, discs):
    images = tmp_path / "in"
    images.mkdir()
    cells, nuclei = discs((80, 90), 12, spacing=36), discs((80, 90), 6, spacing=36)
    pixels = np.dstack([cells, nuclei, 0 * cells])
    (images / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    alone = np.dstack([cells, 0 * cells, 0 * cells])
    (images / "grey.png").write_bytes(imagecodecs.png_encode(alone))
    request = Request(target="both", nucleus=1)
    out = tmp_path / "out"
    jobs = find_jobs([images], out, paired=True)
    report = run(plan_run(jobs, out, segmenter=segmenter, request=request))
    [failed] = report.failed
    assert failed.target == "grey"
    assert "shows one channel" in failed.error
    written = {p.name for p in out.iterdir()}
    own = {"a_cells.tif", "a_nuclei.tif", "a_overlay.png", "a_cells.csv"}
    assert written == own | {"cells.csv", "images.csv", "run.json"}
    found = read_labels(out / "a_nuclei.tif"), read_labels(out / "a_cells.tif")
    assert set(np.unique(found[0])) == set(np.unique(found[1])) != {0}
    assert "nucleus_area" in (out / "a_cells.csv").read_text().splitlines()[0]
    again = plan_run(jobs, out, segmenter=segmenter, request=request, existing="resume")
    assert set(again.done) == {"a"}
    other = Request(target="both", nucleus=0)
    assert not plan_run(jobs, out, segmenter=segmenter, request=other, existing="resume").done
    with pytest.raises(UsageError, match="is there already"):
        plan_run(jobs, out, segmenter=segmenter, request=request)


def test_nuclei_of_a_stack_by_the_name_of_their_channel(tmp_path, segmenter, discs):
    nuclei, cells = discs((80, 90), 6, spacing=36), discs((80, 90), 12, spacing=36)
    stack = np.stack([np.stack([cells, nuclei])] * 2)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(
        tmp_path / "in" / "a.ome.tif",
        stack,
        metadata={"axes": "TCYX", "Channel": {"Name": ["actin", "DAPI"]}},
        photometric="minisblack",
    )
    request = Request(target="nuclei", nucleus="dapi", diameter=12, save=("cells",))
    [record] = run(_plan(tmp_path / "in", segmenter, request)).records
    assert record.error is None
    assert record.cells == 2 * ndimage.label(nuclei > 100)[1]
    both = Request(target="both", nucleus="dapi")
    [record] = run(_plan(tmp_path / "in", segmenter, both, existing="overwrite")).records
    assert "one plane for the target both, but got a stack of 2" in record.error
