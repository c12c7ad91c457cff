"""A set of corrected images on the disk, to learn from."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cellrim.io.atomic import atomic_path
from cellrim.io.images import is_png, is_tiff
from cellrim.io.labels import write_labels
from cellrim.prediction.result import Result
from cellrim.server.problems import ApiError

IMAGES, LABELS = "images", "labels"
"""Folders of images and of their label images, which have the same names."""

_NAMES = "names.json"


@dataclass(frozen=True, slots=True)
class Collected:
    """One corrected image of the set; ``sha256`` tells files that are the same."""

    key: str
    name: str
    cells: int
    sha256: str


class CorrectedSet:
    """Corrected images on the disk, as the folder pair that ``cellrim train`` takes.

    Parameters
    ----------
    folder
        ``images/``, ``labels/`` and the names to show; created where missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def all(self) -> list[Collected]:
        """Return the images in the order they came."""
        with self._lock:
            return self._read()

    def add(self, key: str, name: str, *, upload: Path, result: Result) -> None:
        """Put an image and its labels in, in place of an earlier correction of the same file.

        An image that came twice would be learned from and judged by at the same time.

        Raises
        ------
        ApiError
            ``wrong-input`` if there is no cell to learn from.
        """
        if result.count == 0:
            raise ApiError(
                "wrong-input", f"{name} shows no cell: there is nothing to learn from it."
            )
        with upload.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self._lock:
            same = [c for c in self._read() if c.key == key or c.sha256 == digest]
            others = [c for c in self._read() if c not in same]
            for old in same:
                self._remove_files(old.key)
            target = self.folder / IMAGES / f"{key}{_suffix_of(upload)}"
            with atomic_path(target) as partial:
                shutil.copyfile(upload, partial)
            write_labels(self.folder / LABELS / f"{key}.tif", result.labels)
            self._write([*others, Collected(key, name, result.count, digest)])

    def remove(self, key: str) -> None:
        """Take an image out."""
        with self._lock:
            self._write([c for c in self._read() if c.key != key])
            self._remove_files(key)

    def snapshot(self, folder: Path) -> None:
        """Copy images and labels as they are now."""
        with self._lock:
            for part in (IMAGES, LABELS):
                shutil.copytree(self.folder / part, folder / part)

    def _read(self) -> list[Collected]:
        try:
            rows = json.loads((self.folder / _NAMES).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return [Collected(**row) for row in rows]

    def _write(self, rows: Sequence[Collected]) -> None:
        text = json.dumps([asdict(row) for row in rows])
        with atomic_path(self.folder / _NAMES) as partial:
            partial.write_text(text, encoding="utf-8")

    def _remove_files(self, key: str) -> None:
        for part in (IMAGES, LABELS):
            for path in (self.folder / part).glob(f"{key}.*"):
                path.unlink()


def _suffix_of(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if is_tiff(head):
        return ".tif"
    if is_png(head):
        return ".png"
    return ".jpg" if head.startswith(b"\xff\xd8\xff") else ".bmp"
