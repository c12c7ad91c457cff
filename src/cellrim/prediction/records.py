"""What a run has done so far, kept so that it survives a kill at any moment.

Each finished image is one line in ``run.jsonl``, written after its results have their names. At
the end everything goes into ``run.json`` and the lines are removed. A torn last line, which a kill
leaves, does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from cellrim.io.atomic import append_line, atomic_path, remove
from cellrim.io.sources import Scene
from cellrim.io.structs import to_builtins, to_json

RUN_NAME = "run.json"
LINES_NAME = "run.jsonl"


class Fingerprint(msgspec.Struct, frozen=True):
    """Equal fingerprints make equal results: the file as it was, and all that was asked for."""

    size: int
    modified_ns: int
    request: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one image.

    Parameters
    ----------
    source, target
        The image file, absolute, and where its results are, below the output folder.
    scene
        Which image of the file, where one was asked for.
    status
        ``ok`` or ``failed``.
    outputs
        Result files, relative to the output folder.
    cells, diameter
        Number of cells and the diameter used, in pixels; only of images that are ok.
    devices
        Where the network ran: one device, or several where workers share an image.
    seconds
        Time of each step.
    error
        Why it failed.
    summary
        Numbers of :func:`cellrim.measure.summarise`, where the cells were measured.
    quality, flags
        Numbers of :class:`~cellrim.measure.quality.Quality` and the flags they raise.
    kept
        What the report needs; on its way from a worker to the run, never in a file.
    """

    source: str
    target: str
    scene: Scene | None = None
    status: Literal["ok", "failed"]
    outputs: tuple[str, ...] = ()
    cells: Annotated[int, Meta(ge=0)] | None = None
    diameter: float | None = None
    devices: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    summary: dict[str, float | int | None] = field(default_factory=dict)
    quality: dict[str, float | None] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    kept: Any = None
    fingerprint: Fingerprint | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what the files hold of it: all but what is kept for the report."""
        values: dict[str, Any] = to_builtins(msgspec.structs.replace(self, kept=None))
        del values["kept"]
        return values


def read_records(folder: Path) -> dict[str, Record]:
    """Read what earlier runs into this folder finished, by target; later lines win."""
    records = {}
    for text in [*_finished_lines(folder / RUN_NAME), *_lines(folder / LINES_NAME)]:
        with suppress(msgspec.DecodeError):
            record = msgspec.json.decode(text, type=Record)
            records[record.target] = record
    return records


def start_lines(folder: Path, records: list[Record]) -> None:
    """Begin a run with these records done, and remove the summary of the run before.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    with atomic_path(folder / LINES_NAME) as partial:
        partial.write_text("".join(_line(r) + "\n" for r in records), encoding="utf-8")
    remove(folder / RUN_NAME)


def append_record(folder: Path, record: Record) -> None:
    """Add one record, on the disk when this returns.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    append_line(folder / LINES_NAME, _line(record))


def finish(folder: Path, summary: dict[str, object]) -> None:
    """Write ``run.json`` and remove the lines, which it holds.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(folder / RUN_NAME) as partial:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    remove(folder / LINES_NAME)


def remove_outputs(folder: Path, outputs: Iterable[str]) -> None:
    """Remove what an earlier run says it wrote, where that lies in its folder.

    Raises
    ------
    OutputError
        If a file cannot be removed.
    """
    for output in outputs:
        path = folder / output
        if path.resolve().is_relative_to(folder.resolve()):
            remove(path)


def _line(record: Record) -> str:
    return to_json(record.as_json()).decode()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _finished_lines(path: Path) -> list[str]:
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return [json.dumps(record) for record in files]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def fingerprint_of(source: Path, asked: str) -> Fingerprint:
    """Size and time of a file, or of all files of an image that is a folder."""
    files = [p for p in source.rglob("*") if p.is_file()] if source.is_dir() else [source]
    about = [file.stat() for file in files]
    return Fingerprint(
        size=sum(a.st_size for a in about),
        modified_ns=max((a.st_mtime_ns for a in about), default=0),
        request=asked,
    )
