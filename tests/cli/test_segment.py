import json
import os
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
from typer.testing import CliRunner

from cellrim.cli.main import app
from cellrim.errors import UsageError
from cellrim.io.exports import FORMATS
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.io.tables import read_csv
from cellrim.models.registry import embedded_models
from cellrim.samples import sample_images
from cellrim.samples.make import draw


@pytest.fixture
def images(tmp_path, discs):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(imagecodecs.png_encode(discs((80, 90), 8)))
    return folder


def cellrim(*arguments):
    """Run as a user does: exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-c", "from cellrim.cli.main import run; run()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout, done.stderr


def test_from_a_folder_to_results(images, tiny_model, tmp_path):
    out = tmp_path / "out"
    code, shown, errors = cellrim("segment", images, "-o", out, "--model", tiny_model)
    assert (code, errors) == (0, "")
    assert "[1/2] a: " in shown
    assert "2 images, " in shown
    assert read_labels(out / "a_labels.tif").max() > 0
    assert (out / "a_overlay.png").is_file()
    header = (out / "a_cells.csv").read_text().splitlines()[0]
    for column in ("area", "perimeter", "confidence"):
        assert column in header
    assert json.loads((out / "run.json").read_text())["images"] == 2


def test_every_format_and_the_tables_of_the_run(images, tiny_model, tmp_path):
    from pyarrow import parquet

    out = tmp_path / "out"
    options = ["--model", tiny_model, "--parquet", "--save", ",".join(FORMATS)]
    given = [str(a) for a in ("segment", images, "-o", out, *options)]
    assert CliRunner().invoke(app, given).exit_code == 0
    labels = {name: read_labels(out / f"{name}_labels.tif") for name in "ab"}
    for kind, known in FORMATS.items():
        for name in "ab":
            path = out / f"{name}{known.ending}"
            assert path.exists()
            if known.read:
                [found] = known.read(path, lambda _name: (80, 90))
                np.testing.assert_array_equal(found.labels, labels[name], err_msg=kind)
                assert found.name == name
    cells, rows = read_csv(out / "cells.csv"), read_csv(out / "images.csv")
    assert cells["image"].tolist() == [n for n in "ab" for _ in range(labels[n].max())]
    assert rows["cells"].tolist() == [labels["a"].max(), labels["b"].max()]
    assert rows["confluence"][0] == pytest.approx((labels["a"] > 0).mean())
    assert parquet.read_table(out / "cells.parquet").num_rows == len(cells["id"])
    (images / "broken.png").write_bytes(b"rubbish")
    assert CliRunner().invoke(app, [*given, "--resume"]).exit_code == 1
    again = read_csv(out / "images.csv")
    assert again["status"].tolist() == ["ok", "ok", "failed"]
    assert read_csv(out / "cells.csv")["id"].tolist() == cells["id"].tolist()
    assert CliRunner().invoke(app, [*given[:-1], "labels", "--overwrite"]).exit_code == 1
    assert sorted(p.name for p in out.glob("[abc]*")) == ["a_labels.tif", "b_labels.tif"]


def test_exit_codes(images, tiny_model, tmp_path):
    out = tmp_path / "out"
    (images / "broken.tif").write_bytes((b"II*\0" + bytes(range(1, 200))) * 3)
    given = ("segment", images, "-o", out, "--model", tiny_model, "--save", "labels")
    code, _, errors = cellrim(*given)
    assert code == 1
    [line] = errors.splitlines()
    assert "broken.tif" in line
    code, _, errors = cellrim(*given)
    assert code == 2
    assert "--resume" in errors
    code, shown, _ = cellrim(*given, "--resume")
    assert code == 1
    assert "(2 done before)" in shown
    (images / "broken.tif").unlink()
    code, shown, _ = cellrim(*given, "--overwrite")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Expected images"),
        (("{in}",), "-o FOLDER"),
        (("{in}", "-o", "{out}", "--sample"), "--sample"),
        (("{in}/none.png", "-o", "{out}"), "none.png does not exist"),
        (("{in}", "-o", "{out}", "--model", "nosuchmodel"), "nosuchmodel"),
        (("{in}", "-o", "{out}", "--channels", "red"), "channel numbers"),
        (("{in}", "-o", "{out}", "--channels", "0,0"), "different"),
        (("{in}", "-o", "{out}", "--diameter", "-1"), "diameter"),
        (("{in}", "-o", "{out}", "--min-confidence", "45"), "from 0 to 1"),
        (("{in}", "-o", "{out}", "--save", "all"), "labels, overlay, cells"),
        (("{in}", "-o", "{out}", "--resume", "--overwrite"), "both"),
    ],
)
def test_bad_usage_is_told_before_any_work(images, tmp_path, tiny_model, arguments, says):
    out = tmp_path / "out"
    filled = [a.replace("{in}", str(images)).replace("{out}", str(out)) for a in arguments]
    if "--model" not in filled:
        filled += ["--model", str(tiny_model)]
    result = CliRunner().invoke(app, ["segment", *filled])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)
    assert not out.exists()


def test_unknown_options_exit_with_2(images, tmp_path):
    code, _, errors = cellrim("segment", images, "--nonsense")
    assert code == 2
    assert "nonsense" in errors


def test_the_sample_can_be_drawn_again():
    [path] = sample_images()
    pixels, labels = draw()
    image = read_image(path)
    assert np.abs(image.pixels[..., 0].astype(int) - pixels).max() <= 1
    assert image.pixel_size == pytest.approx(0.65)
    assert labels.max() > 40


@pytest.mark.skipif(not embedded_models(), reason="no model is embedded yet")
def test_the_sample_with_the_embedded_model(tmp_path):
    code, _, errors = cellrim("segment", "--sample", "-o", tmp_path / "out")
    assert (code, errors) == (0, "")
    found = read_labels(tmp_path / "out" / "nuclei_labels.tif")
    _, truth = draw()
    count = len(np.unique(truth)) - 1
    assert found.max() == pytest.approx(count, rel=0.2)
