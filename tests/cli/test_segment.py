import json
import os
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

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
        (("{in}", "-o", "{out}", "--channels", "0,"), "got nothing"),
        (("{in}", "-o", "{out}", "--channels", "0,0"), "different"),
        (("{in}", "-o", "{out}", "--diameter", "-1"), "diameter"),
        (("{in}", "-o", "{out}", "--min-confidence", "45"), "from 0 to 1"),
        (("{in}", "-o", "{out}", "--axes", "TZ"), "such as YX, CYX"),
        (("{in}", "-o", "{out}", "--project", "mean"), "projection max"),
        (("{in}", "-o", "{out}", "--pixel-size", "0"), "pixel size"),
        (("{in}", "-o", "{out}", "--pixel-size", "small"), "pixel size"),
        (("{in}", "-o", "{out}", "--target", "all"), "nuclei, cells, both"),
        (("{in}", "-o", "{out}", "--nucleus", "0"), "no target"),
        (("{in}", "-o", "{out}", "--cell", "0", "--channels", "1"), "--channels or --cell"),
        (("{in}", "-o", "{out}", "--cell", "0,1"), "one channel that shows the cells"),
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


@pytest.mark.parametrize(
    ("given", "channels"),
    [
        (("--cell", "actin"), ["actin"]),
        (("--cell", "actin", "--nucleus", "DAPI"), ["actin", "DAPI"]),
        (("--channels", "1,0"), [1, 0]),
    ],
)
def test_channels_are_told_in_either_way(tmp_path, discs, tiny_model, given, channels):
    cells = np.stack([discs((64, 96), 8, spacing=32), discs((64, 96), 12, spacing=32)])
    path, out = tmp_path / "a.ome.tif", tmp_path / "out"
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "actin"]}}
    tifffile.imwrite(path, cells, metadata=names, photometric="minisblack")
    fixed = ["-o", str(out), "--model", str(tiny_model), "--diameter", "20", "--no-report"]
    result = CliRunner().invoke(app, ["segment", str(path), *fixed, *given])
    assert result.exit_code == 0, result.output
    assert json.loads((out / "run.json").read_text())["options"]["channels"] == channels


def test_a_name_with_a_line_break_is_told_on_one_line(images, tiny_model, tmp_path):
    (images / "a.png").rename(images / "new\nline.png")
    given = [str(images), "-o", str(tmp_path / "out"), "--model", str(tiny_model), "--no-report"]
    result = CliRunner().invoke(app, ["segment", *given])
    assert result.exit_code == 0, result.output
    assert "new\\nline: " in result.stdout
    assert (tmp_path / "out" / "new\nline_labels.tif").is_file()


@pytest.fixture
def movie(tmp_path, discs):
    """Three times, two slices, two channels; the cells are in the second channel."""
    cells = discs((64, 96), 8, spacing=32)
    pixels = np.full((3, 2, 2, 64, 96), 10, np.uint8)
    for t in range(3):
        pixels[t, :, 1] = np.roll(cells, 2 * t, axis=1)
    pixels[:, 1, 1, :, 48:] = 10  # the second slice shows the left half only
    path = tmp_path / "in" / "movie.ome.tif"
    path.parent.mkdir(exist_ok=True)
    names = {"axes": "TZCYX", "Channel": {"Name": ["DAPI", "actin"]}}
    tifffile.imwrite(path, pixels, metadata=names, photometric="minisblack")
    return path


def test_every_plane_of_a_stack_by_channel_name(movie, tiny_model, tmp_path):
    out = tmp_path / "out"
    given = (movie, "-o", out, "--model", tiny_model, "--diameter", 16, "--channels", "Actin")
    code, shown, errors = cellrim("segment", *given)
    assert code == 0, errors
    assert sorted(p.name for p in out.iterdir()) == [
        "cells.csv",
        "images.csv",
        "movie_cells.csv",
        "movie_labels.tif",
        "movie_overlay.png",
        "report.html",
        "run.json",
    ]
    with tifffile.TiffFile(out / "movie_labels.tif") as tiff:
        assert tiff.series[0].axes == "TZYX"
        labels = tiff.series[0].asarray()
    table = read_csv(out / "movie_cells.csv")
    assert labels.shape == (3, 2, 64, 96)
    for t, z in np.ndindex(3, 2):
        count = len(np.unique(labels[t, z])) - 1
        assert count == np.count_nonzero((table["t"] == t) & (table["z"] == z)) > 0
    assert labels[:, 1, :, 56:].max() == 0
    assert {"mean_DAPI", "mean_actin"} <= set(table)
    code, shown, _ = cellrim("segment", *given, "--resume")
    assert (code, "(1 done before)" in shown) == (0, True)


def test_projection_and_tracks(movie, tiny_model, tmp_path):
    out = tmp_path / "out"
    given = (movie, "-o", out, "--model", tiny_model, "--diameter", 16, "--channels", "1")
    code, _, errors = cellrim("segment", *given, "--project", "max", "--track")
    assert code == 0, errors
    labels = tifffile.imread(out / "movie_labels.tif")
    assert labels.shape == (3, 64, 96)
    table = read_csv(out / "movie_cells.csv")
    assert "z" not in table
    assert {len(set(table["track"][table["t"] == t])) for t in range(3)} == {labels.max()}
    assert not table["parent"].any()
    lines = (out / "movie_RES" / "res_track.txt").read_text().splitlines()
    assert lines == [f"{n} 0 2 0" for n in range(1, labels.max() + 1)]
    # Without --track, the tracks of the run before would not fit the labels.
    code, _, _ = cellrim("segment", *given, "--overwrite")
    assert code == 0
    assert not (out / "movie_RES").exists()


def test_wishes_that_do_not_fit_an_image_fail_it_alone(images, movie, tiny_model, tmp_path):
    given = (movie.parent, "-o", tmp_path / "out", "--model", tiny_model, "--diameter", 16)
    code, shown, errors = cellrim("segment", *given, "--channels", "actin")
    assert code == 1
    assert "0 grey" in errors
    assert "movie: " in shown
    code, _, errors = cellrim("segment", *given, "--track", "--overwrite")
    assert code == 1
    assert "no axis T" in errors
    assert "--project max" in errors


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
