"""Whatever the guides say is run: each ``python`` block, and ``console`` blocks marked to run.

A guide runs from top to bottom in a folder of its own, which holds ``my-images`` (the sample, as a
user's folder) and ``truth`` (its true labels). Its Python blocks share their names. A block below
the line ``<!-- not run -->`` is left out.
"""

from __future__ import annotations

import re
import shutil

import pytest
from guide_code import DOCS, Block, blocks_of, run_console

from cellrim.io.labels import write_labels
from cellrim.samples import make, sample_images

# Run by tests of their own, which make the files and servers they speak of:
# test_archives.py, tests/flows/test_images_guide.py and tests/server/test_docs.py.
ELSEWHERE = (DOCS / "archives.md", DOCS / "images.md", DOCS / "serve.md")
GUIDES = [p for p in sorted(DOCS.rglob("*.md")) if blocks_of(p) and p not in ELSEWHERE]


@pytest.fixture(scope="session")
def truth():
    """True labels of the sample; drawing them takes a while."""
    return make.draw()[1]


@pytest.fixture
def folder(tmp_path, truth, monkeypatch):
    [sample] = sample_images()
    (tmp_path / "my-images").mkdir()
    shutil.copy(sample, tmp_path / "my-images" / sample.name)
    write_labels(tmp_path / "truth" / f"{sample.stem}.tif", truth)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_guides():
    assert {"guides/first-image.md", "guides/many-images.md"} <= {
        path.relative_to(DOCS).as_posix() for path in GUIDES
    }


@pytest.mark.parametrize("path", GUIDES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_a_guide_runs(path, folder):
    names: dict[str, object] = {}
    for block in blocks_of(path):
        if block.language == "console":
            run_console(block)
        else:
            # Errors then show the line of the guide.
            padded = "\n" * block.line + block.text
            exec(compile(padded, str(path), "exec"), names)


def test_what_a_guide_says_is_written_is_written(folder):
    path = DOCS / "guides" / "first-image.md"
    for block in blocks_of(path):
        if block.language == "console":
            run_console(block)
    named = re.findall(r"^\| `([^`]+)` \|", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert {p.name for p in (folder / "results").iterdir()} == set(named)


def test_the_collector_skips_what_is_marked(tmp_path):
    guide = tmp_path / "g.md"
    guide.write_text(
        "a\n```python\nx = 1\n```\n<!-- not run -->\n```python\n1 / 0\n```\n"
        "```console\n$ rm -rf /\n```\n## Next\n<!-- run -->\n```console\n$ cellrim --help\n```\n"
    )
    assert blocks_of(guide) == [
        Block("python", "x = 1\n", 2), Block("console", "$ cellrim --help\n", 14, "Next"),
    ]  # fmt: skip
