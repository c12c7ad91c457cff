import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from cellrim.cli.evaluate import evaluate
from cellrim.errors import UsageError
from cellrim.io.labels import write_labels


def cells(count):
    labels = np.zeros((40, 60), np.int32)
    for i in range(count):
        labels[4:12, 4 + 9 * i : 11 + 9 * i] = i + 1
    return labels


@pytest.fixture
def folders(tmp_path):
    for name, found in (("a", 3), ("b", 2)):
        write_labels(tmp_path / "predicted" / f"{name}_labels.tif", cells(found))
        write_labels(tmp_path / "truth" / f"{name}.tif", cells(3))
    return str(tmp_path / "predicted"), str(tmp_path / "truth")


@pytest.fixture
def call():
    return lambda *arguments: CliRunner().invoke(evaluate, list(arguments))


def test_table_and_files(tmp_path, folders, call):
    result = call(*folders, "-o", str(tmp_path / "out"), "--worst", "1", "--resamples", "50")
    assert result.exit_code == 0
    assert "2 images, 6 true and 5 predicted cells" in result.stdout
    lines = result.stdout.splitlines()
    ap50 = next(line for line in lines if "AP at IoU 0.5 " in line)
    assert "0.833" in ap50
    assert " to " in ap50
    assert any("truth: b" in line for line in lines)
    assert (tmp_path / "out" / "per_image.csv").exists()
    assert (tmp_path / "out" / "ap_over_iou.png").exists()


def test_one_image_has_no_interval(tmp_path, folders, call):
    (tmp_path / "truth" / "b.tif").unlink()
    result = call(*folders)
    assert result.exit_code == 0
    assert " to " not in result.stdout
    assert "left out" in result.stderr


def test_failures_are_listed(tmp_path, folders, call):
    write_labels(tmp_path / "truth" / "c.tif", cells(1))
    (tmp_path / "predicted" / "a_labels.tif").write_bytes(b"nothing")
    result = call(*folders)
    assert result.exit_code == 1
    assert "2 images could not be compared" in result.stderr
    assert "a_labels.tif" in result.stderr
    assert "c: There is no prediction" in result.stderr
    assert "1 image," in result.stdout
    result = call(*folders, "--partial")
    assert "c: There is no" not in result.stderr


def test_many_failures_are_cut(tmp_path, folders, call):
    for i in range(30):
        write_labels(tmp_path / "truth" / f"more{i}.tif", cells(1))
    assert "and 10 more" in call(*folders).stderr


def test_bad_usage(tmp_path, folders, call):
    for arguments in ((str(tmp_path / "no"), folders[1]), (*folders, "--part", "half")):
        assert isinstance(call(*arguments).exception, UsageError)


def test_without_matplotlib_the_tables_are_there(tmp_path, folders, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = call(*folders, "-o", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert "cellrim[plot]" in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "per_image.csv",
        "report.html",
        "summary.json",
    ]


def test_importing_it_is_light():
    code = (
        "import sys, cellrim.cli.evaluate;"
        "sys.exit(any(m in sys.modules for m in ('numpy', 'scipy', 'matplotlib', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
