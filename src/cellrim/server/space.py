"""The space on the disk that the server's files may take together.

Everything that stays on the disk lies on a shelf: jobs, images of the page, corrected images,
trained models, and uploads that are still coming in. Who wants to put something down reserves
space for it first. Where there is none left, what nobody has needed for longest goes, of what its
shelf says may go. Corrected images and trained models never may, so the request is refused.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from cellrim.server.problems import ApiError

Kind = Literal["jobs", "images", "corrected", "models", "passing"]

_WORDS: dict[Kind, str] = {
    "jobs": "jobs",
    "images": "images in the page",
    "corrected": "corrected images",
    "models": "trained models and trainings",
    "passing": "uploads that are coming in",
}


@dataclass(frozen=True, slots=True)
class Old:
    """Something that may go without anybody being asked.

    Parameters
    ----------
    key
        Tells it from everything else.
    idle
        Seconds since anybody needed it.
    size
        In bytes.
    remove
        Removes it; False if it has to stay after all.
    """

    key: str
    idle: float
    size: int
    remove: Callable[[], bool]


class Shelf(Protocol):
    """Files of one kind."""

    def used_bytes(self) -> int:
        """Bytes on the disk, and those that what is in work will have."""
        ...

    def removable(self) -> Iterable[Old]:
        """Return what may go for something new, in any order."""
        ...


class Folder:
    """A shelf for files of which none goes by itself.

    Parameters
    ----------
    folder
        Need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def used_bytes(self) -> int:
        """Bytes of all files."""
        return bytes_below(self._folder)

    def removable(self) -> Iterable[Old]:
        """Return nothing."""
        return ()


class Space:
    """All shelves of a server and their quota. Safe to use from any thread.

    Parameters
    ----------
    quota
        Bytes that all shelves may have together.
    """

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self._shelves: dict[Kind, Shelf] = {}
        self._reserved = 0
        self._lock = threading.Lock()
        self._counting = threading.Lock()  # never held for long: an event loop may wait for it

    def add(self, kind: Kind, shelf: Shelf) -> None:
        """Count a shelf from now on."""
        self._shelves[kind] = shelf

    def usage(self) -> dict[Kind, int]:
        """Bytes of each shelf."""
        return {kind: shelf.used_bytes() for kind, shelf in self._shelves.items()}

    def used_bytes(self) -> int:
        """Bytes of all shelves, and what is reserved."""
        return sum(self.usage().values()) + self._reserved

    @contextmanager
    def reserve(self, size: int = 0, *, keep: str = "") -> Iterator[None]:
        """Have space for something that is put on a shelf within the block.

        Parameters
        ----------
        size
            Bytes that it will have beyond what is on a shelf already, such as the uploads.
        keep
            Key of something that must not go for it.

        Raises
        ------
        ApiError
            ``over-quota`` if there is no room beside what may not go; nothing is removed then.
        """
        with self._lock:
            self._make_room(size, keep)
            self._count(size)
        try:
            yield
        finally:
            self._count(-size)

    @asynccontextmanager
    async def reserve_async(self, size: int = 0, *, keep: str = "") -> AsyncIterator[None]:
        """Do the same as :meth:`reserve` for a coroutine, which waits for it in a thread."""
        reserved = self.reserve(size, keep=keep)
        entering = asyncio.ensure_future(asyncio.to_thread(reserved.__enter__))
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:  # the thread goes on: what it reserves is given back
            entering.add_done_callback(partial(_give_back, reserved))
            raise
        try:
            yield
        finally:
            reserved.__exit__(None, None, None)

    def tidy(self) -> None:
        """Remove what may go where there is more than the quota, as after many corrections."""
        with self._lock:
            if self.used_bytes() > self.quota:
                self._remove(self._old(keep=""), until=self.quota)

    def _count(self, size: int) -> None:
        with self._counting:
            self._reserved += size

    def _make_room(self, size: int, keep: str) -> None:
        used = self.used_bytes()
        if used + size <= self.quota:
            return
        old = self._old(keep)
        if used + size - sum(each.size for each in old) <= self.quota:
            used = self._remove(old, until=self.quota - size)
        if used + size > self.quota:
            raise self._refusal(size, used)

    def _old(self, keep: str) -> list[Old]:
        """All that may go, what was needed last at the end."""
        found = [old for shelf in self._shelves.values() for old in shelf.removable()]
        return sorted((old for old in found if old.key != keep), key=lambda old: -old.idle)

    def _remove(self, old: Iterable[Old], *, until: int) -> int:
        used = self.used_bytes()
        for each in old:
            if used <= until:
                break
            if each.remove():
                used -= each.size
        return used

    def _refusal(self, size: int, used: int) -> ApiError:
        shares = sorted(self.usage().items(), key=lambda share: -share[1])
        said = ", ".join(f"{_WORDS[kind]} {shown_bytes(n)}" for kind, n in shares if n)
        return ApiError(
            "over-quota",
            f"Expected all files of this server to take at most {shown_bytes(self.quota)}, but "
            f"they take {shown_bytes(used)} ({said or 'nothing'}), this needs "
            f"{shown_bytes(size)} more, and what may go by itself is not enough. Delete corrected "
            "images or trained models that nobody needs (in the page under Learn, or by DELETE "
            "/v1/workspace/learning/images/ID and .../models/NAME), images of the page, or jobs.",
        )


def _give_back(reserved: AbstractContextManager[None], entering: asyncio.Future[None]) -> None:
    """Leave what nobody waits for any more, if it was entered at all."""
    if not entering.cancelled() and entering.exception() is None:
        reserved.__exit__(None, None, None)


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_size
            except OSError:  # removed meanwhile
                continue
    return total


def shown_bytes(size: int) -> str:
    """Write a size for people.

    Examples
    --------
    >>> shown_bytes(20_000_000_000), shown_bytes(1_240_000), shown_bytes(900)
    ('20 GB', '1.24 MB', '0.9 kB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
