import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
import tifffile

from cellrim.io.labels import read_labels
from cellrim.prediction import load_model

zarr = pytest.importorskip("zarr")

COMMAND = [sys.executable, "-c", "from cellrim.cli.main import run; run()", "segment"]
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


def segment(*arguments, **options):
    """Run as a user does: exit code, standard output, standard error."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=250,
        env=ALONE,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()], axis=1), axis=0)
    return len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))


@pytest.fixture
def big(tmp_path, discs):
    """Four tiles at the network's scale, some discs on their corners."""
    pixels = discs((2000, 2010), 8, spacing=24)
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="zlib")
    return path, pixels


def test_killed_and_resumed_it_does_no_block_twice(big, tiny_model, tmp_path):
    path, pixels = big
    out, unfinished = tmp_path / "out.ome.zarr", tmp_path / ".out.ome.zarr.unfinished"
    given = (path, "-o", out, "--model", tiny_model, "--diameter", "16", "--save", "labels,cells")
    process = subprocess.Popen(
        [*COMMAND, *map(str, given)],
        env=ALONE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not (before := sorted((unfinished / "blocks").glob("0*.npz"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert len(before) < 4
    times = {p.name: p.stat().st_mtime_ns for p in sorted((unfinished / "blocks").glob("0*.npz"))}
    code, _, errors = segment(*given)
    assert code == 2
    assert "--resume" in errors
    watched = {}
    with subprocess.Popen(
        [*COMMAND, *map(str, given), "--resume"], env=ALONE, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            with suppress(FileNotFoundError):  # the last thing a run does is to remove them all
                for file in (unfinished / "blocks").glob("0*.npz"):
                    watched[file.name] = file.stat().st_mtime_ns
            time.sleep(0.01)
        shown = process.stdout.read()
    assert process.returncode == 0
    assert f"({len(times)} done before)" in shown
    assert all(watched[name] == times[name] for name in times)
    assert not unfinished.exists()
    group = zarr.open_group(store=out, mode="r")
    labels = group["0"][:]
    assert labels.dtype == np.uint32
    assert [group[str(n)].shape for n in range(3)] == [(2000, 2010), (1000, 1005), (500, 503)]
    expected = load_model(tiny_model, threads=1).segment(pixels, diameter=16.0)
    assert same_partition(labels, expected.labels)
    assert labels.max() == expected.count
    table = (tmp_path / "out_cells.csv").read_text().splitlines()
    assert len(table) == expected.count + 1
    about = json.loads((tmp_path / "out_run.json").read_text())
    assert about["cells"] == expected.count
    code, shown, _ = segment(*given, "--resume")
    assert code == 0
    assert "done before" in shown


def test_bad_input_is_one_sentence_and_a_code(tmp_path, tiny_model, big):
    path, _ = big
    rest = ("--model", tiny_model, "--diameter", "16")
    zarr.open_group(store=tmp_path / "no.zarr", mode="w", zarr_format=2)
    code, _, errors = segment(tmp_path / "no.zarr", "-o", tmp_path / "out.ome.zarr", *rest)
    assert code == 1
    [line] = errors.splitlines()
    assert "multiscales metadata" in line
    cut = tmp_path / "cut.tif"
    cut.write_bytes(path.read_bytes()[:-1000])
    code, _, errors = segment(cut, "-o", tmp_path / "out.tif", *rest)
    assert code == 1
    [line] = errors.splitlines()
    assert "cut.tif" in line
    code, _, errors = segment(path, path, "-o", tmp_path / "out.tif", *rest)
    assert code == 2
    assert "one image" in errors
    assert not (tmp_path / "out.tif").exists()


def test_a_full_disk_keeps_what_is_finished(tmp_path, tiny_model):
    noise = np.random.default_rng(0).integers(0, 255, (1700, 1000), np.uint8)
    noise[:900] = 0
    tifffile.imwrite(tmp_path / "a.tif", noise, tile=(256, 256))
    given = (tmp_path / "a.tif", "-o", tmp_path / "out.tif", "--model", tiny_model)
    given += ("--diameter", "16", "--save", "labels")

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    code, _, errors = segment(*given, preexec_fn=small_files_only)
    assert code == 1
    [line] = errors.splitlines()
    assert "Cannot write" in line
    assert len(list((tmp_path / ".out.tif.unfinished" / "blocks").glob("0*.npz"))) == 1
    code, shown, _ = segment(*given, "--resume")
    assert code == 0
    assert "(1 done before)" in shown
    assert read_labels(tmp_path / "out.tif").max() > 0


def test_importing_changes_nobodys_threads():
    # SciPy starts the threads of its linear algebra when it is imported, by whomever.
    code = (
        "import os, numpy, scipy.ndimage\n"
        "before = dict(os.environ), len(os.listdir('/proc/self/task'))\n"
        "import cellrim, cellrim.prediction.single, cellrim.prediction.workers.processes\n"
        "assert (dict(os.environ), len(os.listdir('/proc/self/task'))) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
