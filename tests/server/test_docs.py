"""What docs/serve.md says is so."""

import re
from pathlib import Path
from typing import get_args

import pytest

from cellrim.server.forms import FORMS
from cellrim.server.problems import Kind

DOCS = Path(__file__).parents[2] / "docs" / "serve.md"


@pytest.fixture
def text():
    return DOCS.read_text(encoding="utf-8")


def test_the_python_client_works(text, client, png, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("cells.png").write_bytes(png)
    Path("more.png").write_bytes(png)

    # The test's client goes to the server in this process and is called as requests is.
    code = code.replace("import requests\n", "").replace("http://127.0.0.1:8000", "")
    exec(code, {"requests": client})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "20 cells"
    assert "'ok': 2" in shown[1]
    assert Path("results.zip").read_bytes().startswith(b"PK")


def test_every_form_and_problem_is_in_the_tables(text):
    for name in [*FORMS, *get_args(Kind)]:
        assert f"`{name}`" in text, name
