import imagecodecs
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from cellrim.cli.datasets import app
from cellrim.datasets.registry import READERS
from cellrim.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    labels = np.zeros((30, 40), np.uint16)
    labels[5:20, 5:20] = 1
    labels[5:20, 20:33] = 2
    for part in ("images", "labels"):
        (tmp_path / "mine" / part).mkdir(parents=True)
    for name in "abc":
        tifffile.imwrite(tmp_path / f"mine/images/{name}.tif", (labels > 0).astype(np.uint8) * 90)
        tifffile.imwrite(tmp_path / f"mine/labels/{name}.tif", labels)
    return tmp_path / "mine"


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_list_names_every_format_and_layout():
    result = call("list")
    assert result.exit_code == 0
    for name in (*READERS, "plain", "coco", "sartorius"):
        assert name in result.output


def test_check_counts_and_draws(folder, tmp_path):
    sheet = tmp_path / "new/sheet.png"
    result = call("check", folder, "--contact-sheet", sheet)
    assert result.exit_code == 0, result.output
    assert "images:        3, 3 of them with annotation" in result.output
    assert "cells:         6" in result.output
    assert "problems:      0" in result.output
    pixels = imagecodecs.imread(str(sheet))
    assert pixels.shape == (36 + 6, 3 * 46 + 6, 3)


def test_check_names_what_is_wrong_and_fails(folder, tmp_path):
    (folder / "images/b.tif").write_bytes(b"II*\0")
    (folder / "labels/c.tif").unlink()
    result = call("check", folder)
    assert result.exit_code == 1
    assert "images:        1" in result.stdout
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["b", "c"]


def test_convert_and_check_the_copy(folder, tmp_path):
    for to in ("plain", "coco", "sartorius"):
        result = call("convert", folder, tmp_path / to, "--to", to)
        assert result.exit_code == 0, result.output
        assert f"3 images, 6 cells written as {to}" in result.output
        assert "cells:         6" in call("check", tmp_path / to).output


def test_convert_says_what_it_leaves_out(folder, tmp_path):
    (folder / "labels/c.tif").write_bytes(b"II*\0")
    result = call("convert", folder, tmp_path / "out", "--to", "plain")
    assert result.exit_code == 1
    assert "2 images" in result.stdout
    assert result.stderr.startswith("c: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "{tmp}/no"),
        ("check", "{tmp}"),
        ("check", "{mine}", "--format", "bbbc099"),
        ("check", "{mine}", "--target", "cells"),
        ("check", "{mine}", "--contact-sheet", "{tmp}/sheet.jpg"),
        ("convert", "{mine}", "{tmp}/out", "--to", "yolo"),
        ("convert", "{mine}", "{mine}", "--to", "coco"),
        ("convert", "{tmp}/no", "{tmp}/out", "--to", "coco"),
    ],
)
def test_bad_usage_is_refused_before_any_work(folder, tmp_path, arguments):
    result = call(*(a.format(tmp=tmp_path, mine=folder) for a in arguments))
    assert isinstance(result.exception, UsageError)
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
