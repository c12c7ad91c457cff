"""The same results whoever does the work."""

import json
import os
import signal

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellrim.errors import InputError
from cellrim.io.exports import FORMATS
from cellrim.io.images import open_stack
from cellrim.io.labels import read_labels
from cellrim.prediction.batch import plan_run, run
from cellrim.prediction.inputs import find_jobs
from cellrim.prediction.large import Model, segment_large, squares
from cellrim.prediction.large.saving import write_overlay
from cellrim.prediction.request import Request
from cellrim.prediction.single import plan_single, run_single
from cellrim.prediction.streamed import Team
from cellrim.prediction.workers import Alone, open_workers
from cellrim.prediction.workers.processes import Processes


@pytest.fixture
def model(tiny_model):
    return Model(str(tiny_model), 1, 256)


def test_a_folder_by_two_processes(tmp_path, discs, model):
    images = tmp_path / "in"
    images.mkdir()
    for name, radius in (("a.png", 8), ("b.png", 7), ("d.png", 6)):
        (images / name).write_bytes(imagecodecs.png_encode(discs((80, 90), radius)))
    (images / "c.png").write_bytes(b"broken")
    jobs = {n: find_jobs([images], tmp_path / n) for n in ("alone", "team")}
    request = Request(save=("labels", "cells"))
    segmenter = model()
    run(plan_run(jobs["alone"], tmp_path / "alone", segmenter=segmenter, request=request))
    plan = plan_run(jobs["team"], tmp_path / "team", segmenter=segmenter, request=request)
    report = run(plan, team=Team(Processes(2), model))
    assert [r.target for r in report.records] == ["a", "b", "c", "d"]
    assert [r.status for r in report.records] == ["ok", "ok", "failed", "ok"]
    for name in ("a", "b", "d"):
        for end in ("_labels.tif", "_cells.csv"):
            one, other = ((tmp_path / f / (name + end)).read_bytes() for f in ("alone", "team"))
            assert one == other


def test_a_large_image_on_a_cluster_whose_worker_is_killed(tmp_path, discs, model):
    pytest.importorskip("distributed")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, discs((700, 800), 8, spacing=24), tile=(128, 128))
    alone = segment_large(path, tmp_path / "alone", load=model, diameter=16.0)
    killed = []

    def kill(pid):
        os.kill(pid, signal.SIGKILL)

    with open_workers(None, "local:2") as team:
        pids = list(team._client.run(os.getpid).values())

        def report(progress):
            if progress.step == "Cells" and progress.done == 5 and not killed:
                killed.append(pids[0])
                kill(pids[0])

        together = segment_large(
            path, tmp_path / "team", load=model, diameter=16.0, workers=team, report=report
        )
    assert killed
    assert together.count == alone.count > 500
    whole = slice(0, 700), slice(0, 800)
    np.testing.assert_array_equal(together.levels[0].window(*whole), alone.levels[0].window(*whole))


def test_a_folder_with_an_image_that_is_streamed(tmp_path, discs, model, monkeypatch):
    """The same files as in memory come out, and nothing unfinished stays."""
    monkeypatch.setattr("cellrim.prediction.single.STREAMED_PIXELS", 100_000)
    monkeypatch.setattr(squares, "EDGE", 128)
    images = tmp_path / "in"
    images.mkdir()
    pixels = discs((400, 500), 9, spacing=30)
    pixels[::7, ::5] += 20
    tifffile.imwrite(images / "big.tif", pixels, tile=(128, 128))
    (images / "small.png").write_bytes(imagecodecs.png_encode(discs((80, 90), 8)))
    out = tmp_path / "out"
    plan = plan_run(find_jobs([images], out), out, segmenter=model(), request=Request())
    steps = []
    report = run(plan, team=Team(steps=steps.append))
    assert not report.failed
    assert {p.step for p in steps} >= {"Looking", "Cells", "Labels"}
    expected = model().segment(pixels)
    labels = read_labels(out / "big_labels.tif")
    assert report.records[0].cells == expected.count == labels.max()
    assert (out / "big_overlay.png").stat().st_size > 1000
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    again = plan_run(
        find_jobs([images], out), out, segmenter=model(), request=Request(), existing="resume"
    )
    assert len(again.done) == 2


@pytest.fixture
def write_zarr():
    zarr = pytest.importorskip("zarr")

    def write(path, pixels, axes):
        group = zarr.open_group(store=path, mode="w", zarr_format=2)
        group.create_array(name="0", data=pixels, chunks=(*(1,) * (pixels.ndim - 2), 64, 64))
        named = [{"name": a, "type": "channel" if a == "c" else "space"} for a in axes]
        group.attrs["multiscales"] = [
            {"version": "0.4", "axes": named, "datasets": [{"path": "0"}]}
        ]
        return path

    return write


@pytest.mark.parametrize("workers", [None, Alone()])
def test_zarr_and_tiff_in_a_folder_are_streamed_and_named_alike(
    tmp_path, discs, model, monkeypatch, write_zarr, workers
):
    monkeypatch.setattr("cellrim.prediction.single.STREAMED_PIXELS", 100_000)
    images, out = tmp_path / "in", tmp_path / "out"
    (images / "plate").mkdir(parents=True)
    pixels = discs((400, 500), 9, spacing=30)
    two = np.stack([np.full_like(pixels, 7), pixels])
    write_zarr(images / "plate" / "slide.ome.zarr", two, "cyx")
    write_zarr(images / "stack.zarr", np.stack([pixels[:90, :90]] * 2), "zyx")
    tifffile.imwrite(images / "big.ome.tif", pixels, tile=(128, 128))
    (images / "small.png").write_bytes(imagecodecs.png_encode(discs((80, 90), 8)))
    jobs, segmenter = find_jobs([images], out), model()
    read_whole = []
    monkeypatch.setattr(
        "cellrim.prediction.batch.open_stack",
        lambda path, **kwargs: read_whole.append(path.name) or open_stack(path, **kwargs),
    )
    steps = []
    team = Team(workers, model, steps=steps.append)
    report = run(plan_run(jobs, out, segmenter=segmenter, request=Request()), team=team)
    assert [r.target for r in report.records] == ["stack", "big", "small", "plate/slide"]
    assert not report.failed, report.failed
    assert sum(p.step == "Looking" for p in steps) == 2
    assert sorted(read_whole) == ["small.png", "stack.zarr"]
    expected = segmenter.segment(pixels).count
    for target in ("big", "plate/slide"):
        for end in ("_labels.tif", "_overlay.png", "_cells.csv"):
            assert (out / (target + end)).is_file()
        assert read_labels(out / f"{target}_labels.tif").max() == expected > 100
    cells = (out / "cells.csv").read_text().splitlines()
    for target in ("big", "plate/slide"):
        assert sum(line.startswith(f"{target},") for line in cells) == expected
    assert not list(out.rglob(".*"))


def test_what_a_streamed_image_is_saved_as_and_what_not(tmp_path, discs, model, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.setattr("cellrim.prediction.single.STREAMED_PIXELS", 100_000)
    monkeypatch.setattr(squares, "EDGE", 128)
    tifffile.imwrite(tmp_path / "big.tif", discs((400, 500), 9, spacing=30), tile=(128, 128))
    out = tmp_path / "out"
    jobs = find_jobs([tmp_path / "big.tif"], out)

    def start(*kinds):
        request = Request(save=kinds, diameter=16.0)
        plan = plan_run(jobs, out, segmenter=model(), request=request, existing="overwrite")
        return run(plan).records[0]

    record = start("labels", "ome-tiff", "ome-zarr")
    assert record.error is None
    assert set(record.outputs) == {
        f"big_labels{end}" for end in (".tif", ".ome.tif", ".ome.zarr")
    }  # fmt: skip
    labels = read_labels(out / "big_labels.tif")
    assert labels.max() == record.cells
    for kind in ("ome-tiff", "ome-zarr"):
        [found] = FORMATS[kind].read(out / f"big{FORMATS[kind].ending}", lambda _name: labels.shape)
        np.testing.assert_array_equal(found.labels, labels)
    failed = start("labels", "cellpose")
    possible = "labels, overlay, cells, rois, geojson, coco, rle, outlines, ome-tiff, ome-zarr"
    assert f"Expected to save {possible} of an image" in failed.error
    assert "but got cellpose, which needs the whole label image" in failed.error
    assert not list(out.glob("big*"))


def test_one_file_overwritten_leaves_nothing_of_the_run_before(tmp_path, discs, model, monkeypatch):
    monkeypatch.setattr(squares, "EDGE", 128)
    source, out = tmp_path / "big.tif", tmp_path / "out" / "cells.tif"
    tifffile.imwrite(source, discs((200, 300), 9, spacing=30), tile=(128, 128))

    def start(*kinds):
        request = Request(save=kinds, diameter=16.0)
        plan = plan_single([source], out, load=model, request=request, existing="overwrite")
        run_single(plan)
        return {p.name for p in out.parent.iterdir()}

    base = {"cells.tif", "cells_run.json"}
    assert start("cells", "ome-tiff") == base | {"cells_cells.csv", "cells_labels.ome.tif"}
    assert json.loads((out.parent / "cells_run.json").read_text())["devices"] == ["cpu"]
    assert start("labels", "overlay") == base | {"cells_overlay.png"}
    with pytest.raises(InputError, match="but got cellpose"):
        start("cellpose")


def test_measurements_are_those_of_the_whole_label_image(
    tmp_path, discs, model, monkeypatch, write_tiff
):
    from cellrim.core.image import image_from_array
    from cellrim.measure.cells import measure_cells

    monkeypatch.setattr(squares, "EDGE", 64)
    rng = np.random.default_rng(0)
    pixels = discs((300, 310), 11, spacing=34) + rng.integers(0, 9, (300, 310), np.uint8)
    pixels[100:240, 120:128] = 200  # one long cell over several squares
    pixels[:9, 50:80] = 200
    path = write_tiff(tmp_path / "a.tif", pixels)
    result = segment_large(path, tmp_path / "work", load=model, diameter=16.0)
    labels = result.levels[0].thinned(1)
    expected = measure_cells(labels, image_from_array(pixels), confidence=result.confidence)
    got = result.cells
    assert list(got.columns) == list(expected.columns)
    assert expected.columns["touches_border"].any()
    assert got.background == expected.background
    for name, values in got.columns.items():
        np.testing.assert_allclose(values, expected.columns[name], err_msg=name)
    write_overlay(result, tmp_path / "a.png")
    assert imagecodecs.png_decode((tmp_path / "a.png").read_bytes()).shape == (300, 310, 3)


def test_nothing_is_measured_where_nothing_is(tmp_path, model, write_tiff):
    path = write_tiff(tmp_path / "a.tif", np.zeros((60, 70), np.uint8))
    result = segment_large(path, tmp_path / "work", load=model)
    assert len(result.cells) == 0
