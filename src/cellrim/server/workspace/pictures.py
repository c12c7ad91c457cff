"""All images that people work on in the page, kept for a while."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from functools import partial
from pathlib import Path

from cellrim.server.problems import ApiError
from cellrim.server.space import Old, bytes_below
from cellrim.server.workspace.picture import Picture

MOST_PICTURES = 500
KEEP_SECONDS = 12 * 3600.0
"""Pictures that nobody has touched for this long are removed."""


class Pictures:
    """All images in work, bounded in number and age.

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

    def add(self, picture: Picture) -> None:
        """Take a picture in; where there are too many, others go."""
        with self._lock:
            self._all[picture.key] = picture
        self.tidy(keep=picture.key)

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
        """Remove what is too old, and the longest unused where there are too many."""
        now = time.monotonic()
        with self._lock:
            by_use = sorted(self._all.values(), key=lambda p: p.used)
        count = len(by_use)
        for picture in by_use:
            old = now - picture.used > KEEP_SECONDS
            if picture.key == keep or not (old or count > MOST_PICTURES):
                continue
            self.remove(picture.key)
            count -= 1

    def used_bytes(self) -> int:
        """Bytes of all pictures, and of uploads that are coming in."""
        with self._lock:
            pictures = dict(self._all)
        passing = (bytes_below(each) for each in self._folders() if each.name not in pictures)
        return sum(passing) + sum(picture.size for picture in pictures.values())

    def removable(self) -> list[Old]:
        """Return the pictures that nobody works at: neither the network nor a person."""
        now = time.monotonic()
        with self._lock:
            pictures = [picture for picture in self._all.values() if _may_go(picture)]
        return [Old(p.key, now - p.used, p.size, partial(self._remove_unless, p)) for p in pictures]

    def _remove_unless(self, picture: Picture) -> bool:
        if _may_go(picture):
            self.remove(picture.key)
            return True
        return False

    def _folders(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []

    def close(self) -> None:
        """Let all go."""
        with self._lock:
            keys = list(self._all)
        for key in keys:
            self.remove(key)


def _may_go(picture: Picture) -> bool:
    return not picture.is_busy and not picture.edits
