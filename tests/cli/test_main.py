import subprocess
import sys

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

import cellrim
from cellrim.cli.main import app, run
from cellrim.errors import DatasetError, UsageError


def _python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"cellrim {cellrim.__version__}\n"


def test_help_names_every_command():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("segment", "evaluate", "train", "serve", "datasets", "doctor"):
        assert command in result.output


def test_commands_are_listed_in_their_order():
    shown = CliRunner().invoke(app, ["--help"]).output.split("Commands:\n")[1]
    names = [line.split()[0] for line in shown.splitlines()]
    assert names[:5] == ["segment", "measure", "convert", "evaluate", "train"]
    assert names[5:] == ["serve", "doctor", "datasets"]


def test_without_a_command_the_help_is_shown():
    for arguments in ([], ["datasets"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert result.stderr == CliRunner().invoke(app, [*arguments, "--help"]).stdout


def test_help_shows_arguments_and_defaults():
    shown = CliRunner().invoke(app, ["evaluate", "--help"]).output
    assert "TRUTH      Folder of true label images, or a data set." in shown
    assert "[default: 1000; x>=1]" in shown


@pytest.mark.parametrize("minutes", ["0", "nan", "soon"])
def test_numbers_out_of_their_range_are_bad_usage(minutes):
    result = CliRunner().invoke(app, ["train", "recipe.toml", "--max-minutes", minutes])
    assert result.exit_code == 2
    assert "Invalid value for '--max-minutes'" in result.stderr


def test_an_interrupt_ends_a_command_without_a_word(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("cellrim.models.registry.embedded_models", interrupt)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 130
    assert result.stderr == ""


@pytest.mark.parametrize(("error", "code"), [(UsageError, 2), (DatasetError, 1)])
def test_errors_are_shown_without_a_traceback(monkeypatch, capsys, error, code):
    def fails():
        raise error("Expected this, but got that.")

    monkeypatch.setattr("cellrim.cli.main.app", fails)
    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == code
    assert capsys.readouterr().err == "Error: Expected this, but got that.\n"


HEAVY = (
    *("numpy", "scipy", "torch", "onnxruntime", "matplotlib", "bioio"),
    *("pydantic", "rich", "typer"),
)


def test_import_is_light():
    shown = _python(f"import cellrim, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert shown.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["segment", "--help"], ["datasets", "check", "--help"], ["serve", "--port", "x"]],
)
def test_parsing_is_light(arguments):
    code = (
        f"import sys; sys.argv = {['cellrim', *arguments]}\n"
        "from cellrim.cli.main import run\n"
        "try: run()\nexcept SystemExit: pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert _python(code).splitlines()[-1] == "[]"


def test_a_run_with_one_channel_does_without_scipy(tmp_path):
    """It takes a third of a second to import, longer than cells of a small image to find."""
    y, x = np.indices((224, 224)) % 32 - 16
    tifffile.imwrite(tmp_path / "cells.tif", np.uint8(200 / (1 + np.exp(np.hypot(y, x) - 11))))
    arguments = ["cellrim", "segment", str(tmp_path / "cells.tif"), "-o", str(tmp_path / "out")]
    code = (
        f"import sys; sys.argv = {[*arguments, '--save', 'labels', '--no-report']}\n"
        "from cellrim.cli.main import run\n"
        "try: run()\nexcept SystemExit: pass\n"
        "print([m for m in ('scipy', 'skimage.measure', 'pydantic') if m in sys.modules])"
    )
    assert _python(code).splitlines()[-1] == "[]"
    assert tifffile.imread(tmp_path / "out/cells_labels.tif").max() == 49


def test_public_names():
    for name in cellrim.__all__:
        assert getattr(cellrim, name) is not None
    assert set(cellrim.__all__) <= set(dir(cellrim))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cellrim.nothing  # noqa: B018
