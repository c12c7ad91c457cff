"""The code of the guides: found in their Markdown, and run as it stands.

A ``python`` block counts, and a ``console`` block marked ``<!-- run -->``. A block below the line
``<!-- not run -->`` is left out.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from cellrim.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"(?:<!-- ([a-z ]+) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block: its language, its text, the line it begins at, and the section it stands in."""

    language: str
    text: str
    line: int
    section: str = ""


def blocks_of(path: Path) -> list[Block]:
    """Find the blocks of a guide that are to be run, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        mark, language, body = match.groups()
        runs = mark != "not run" if language == "python" else mark == "run"
        if language in ("python", "console") and runs:
            before = text[: match.start(3)]
            section = (_HEADING.findall(before) or [""])[-1]
            found.append(Block(language, body, before.count("\n"), section))
    return found


def run_console(block: Block) -> None:
    """Run the commands of a block in this process; each must end with 0."""
    for line in block.text.splitlines():
        command = shlex.split(line.removeprefix("$ "), comments=True)
        assert command[0] == "cellrim", f"only cellrim's own commands can run, not {line}"
        outcome = CliRunner().invoke(app, command[1:])
        assert outcome.exit_code == 0, f"{line}\n{outcome.output}\n{outcome.exception!r}"
