"""All images that people work on in the page, kept for a while."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from pathlib import Path

from cellrim.server.options import Cost
from cellrim.server.problems import ApiError
from cellrim.server.workspace.picture import Picture, Settled

MOST_PICTURES = 500
MOST_BYTES = 8_000_000_000
KEEP_SECONDS = 12 * 3600.0
"""Pictures that nobody has touched for this long are removed."""


class Pictures:
    """All images in work, bounded in number, bytes and age.

    Parameters
    ----------
    folder
        Holds one folder for each; emptied, since pictures do not outlive the server.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._all: dict[str, Picture] = {}
        self._lock = threading.Lock()

    def new_folder(self) -> Path:
        """Name a folder for an upload; its name is the picture's key."""
        return self._folder / secrets.token_hex(16)

    def add(self, folder: Path, name: str, *, cost: Cost, settled: Settled) -> Picture:
        """Take a folder with an upload in; others go where there is no room."""
        picture = Picture(folder.name, name, folder, cost, settled)
        with self._lock:
            self._all[picture.key] = picture
        self.tidy(keep=picture.key)
        return picture

    def get(self, key: str) -> Picture:
        """Return a picture.

        Raises
        ------
        ApiError
            ``not-found``.
        """
        with self._lock:
            picture = self._all.get(key)
        if picture is None:
            raise ApiError(
                "not-found",
                "This image is no longer on the server: drop it in again.",
            )
        picture.used = time.monotonic()
        return picture

    def remove(self, key: str) -> None:
        """Let a picture go, with all of its files."""
        with self._lock:
            picture = self._all.pop(key, None)
        if picture is not None:
            picture.stop.set()
            shutil.rmtree(picture.folder, ignore_errors=True)

    def tidy(self, *, keep: str = "") -> None:
        """Remove what is too old, and the longest unused where there are too many or too much."""
        now = time.monotonic()
        with self._lock:
            by_use = sorted(self._all.values(), key=lambda p: p.used)
        sizes = {p.key: _bytes_below(p.folder) for p in by_use}
        total, count = sum(sizes.values()), len(by_use)
        for picture in by_use:
            old = now - picture.used > KEEP_SECONDS
            if picture.key == keep or not (old or total > MOST_BYTES or count > MOST_PICTURES):
                continue
            self.remove(picture.key)
            total -= sizes[picture.key]
            count -= 1

    def close(self) -> None:
        """Let all go."""
        with self._lock:
            keys = list(self._all)
        for key in keys:
            self.remove(key)


def _bytes_below(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:  # removed meanwhile
        return 0
