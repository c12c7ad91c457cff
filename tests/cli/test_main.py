import subprocess
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

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


@pytest.mark.parametrize(("error", "code"), [(UsageError, 2), (DatasetError, 1)])
def test_errors_are_shown_without_a_traceback(monkeypatch, capsys, error, code):
    def fails():
        raise error("Expected this, but got that.")

    monkeypatch.setattr("cellrim.cli.main.app", fails)
    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == code
    assert capsys.readouterr().err == "Error: Expected this, but got that.\n"


HEAVY = "('numpy', 'scipy', 'torch', 'onnxruntime', 'pydantic', 'rich', 'matplotlib', 'bioio')"


def test_import_is_light():
    shown = _python(f"import cellrim, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert shown.strip() == "[]"


def test_help_is_light():
    code = (
        "import sys; sys.argv = ['cellrim', '--help']\n"
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
        "print([m for m in ('scipy', 'skimage.measure') if m in sys.modules])"
    )
    assert _python(code).splitlines()[-1] == "[]"
    assert tifffile.imread(tmp_path / "out/cells_labels.tif").max() == 49


def test_public_names():
    for name in cellrim.__all__:
        assert getattr(cellrim, name) is not None
    assert set(cellrim.__all__) <= set(dir(cellrim))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cellrim.nothing  # noqa: B018
