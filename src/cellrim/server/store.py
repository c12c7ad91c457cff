"""Jobs on the disk: what was asked for and what became of it in SQLite, files in folders.

Every change is one transaction, on the disk when the method returns, and made only after the files
it speaks of are there. So a process that is killed at any moment finds everything again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cellrim.errors import OutputError
from cellrim.server.space import Old
from cellrim.server.uploads import Upload

JobState = Literal["queued", "running", "done", "cancelled"]
FileState = Literal["waiting", "ok", "failed", "cancelled"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    finished REAL,
    state TEXT NOT NULL,
    options TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    served REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS files (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cells INTEGER,
    diameter REAL,
    device TEXT,
    seconds REAL,
    error TEXT,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting ON files (job, number) WHERE state = 'waiting';
"""

_LATER = {"device": "TEXT"}
"""Columns of ``files`` that folders of earlier versions do not have."""

_OPEN = "('queued', 'running')"
_WAIT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class FileRow:
    """One image of a job.

    Parameters
    ----------
    number
        Counted from 0, in the order the client sent them.
    name
        What the client calls it.
    size
        In bytes, as it came.
    state
        ``waiting``, ``ok``, ``failed`` or ``cancelled``.
    attempts
        How often work on it has begun.
    cells, diameter, device, seconds, error
        What became of it.
    """

    number: int
    name: str
    size: int
    state: FileState
    attempts: int
    cells: int | None
    diameter: float | None
    device: str | None
    seconds: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job.

    Parameters
    ----------
    id
        Also the name of its folder.
    created, finished
        Seconds since 1970; ``finished`` is None until it is done or cancelled.
    state
        See :data:`JobState`.
    options
        JSON, as the route stored it.
    size
        Bytes on the disk, inputs and results.
    counts
        Number of files in each state.
    """

    id: str
    created: float
    finished: float | None
    state: JobState
    options: str
    size: int
    counts: dict[FileState, int]

    @property
    def is_open(self) -> bool:
        """Whether there is still work to do."""
        return self.finished is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: results with their size on the disk, or an error."""

    cells: int | None = None
    diameter: float | None = None
    device: str | None = None
    seconds: float | None = None
    size: int = 0
    error: str | None = None


class Store:
    """All jobs of one data folder. Safe to use from any thread of one process.

    Parameters
    ----------
    folder
        Created where missing. Held until :meth:`close`: a second server on it is an error.

    Raises
    ------
    OutputError
        If the folder cannot be written, or another server uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._held: Counter[str] = Counter()
        try:
            (folder / "jobs").mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                folder / "jobs.sqlite", isolation_level=None, check_same_thread=False, timeout=2
            )
            # The lock that keeps a second server out; the system frees it when a process dies.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._database.executescript(_SCHEMA)
            self._add_columns()
        except OSError as error:
            raise OutputError(f"Cannot use {folder}: {error.strerror or error}.") from error
        except sqlite3.Error as error:
            raise OutputError(
                f"Cannot use {folder} ({error}): does another server use it already?"
            ) from error
        self._remove_leftovers()

    def _add_columns(self) -> None:
        known = {row[1] for row in self._query("PRAGMA table_info(files)")}
        for name, kind in _LATER.items():
            if name not in known:
                self._database.execute(f"ALTER TABLE files ADD COLUMN {name} {kind}")

    def close(self) -> None:
        """Let the folder go."""
        with self._lock:
            self._database.close()

    def incoming(self) -> Path:
        """Return a new folder's path for files that are coming in; not created yet."""
        return self.folder / "incoming" / uuid.uuid4().hex

    def input_path(self, job: str, number: int) -> Path:
        """Where the image of a job is."""
        return self.folder / "jobs" / job / "in" / str(number)

    def output_path(self, job: str, number: int, ending: str) -> Path:
        """Where a result of an image is."""
        return self.folder / "jobs" / job / "out" / f"{number}{ending}"

    def add(self, uploads: Sequence[Upload], options: str) -> str:
        """Take over files that have come in, as a new job.

        Parameters
        ----------
        uploads
            All in one folder, by their number from 0 on.
        options
            JSON.

        Returns
        -------
        str
            The job's id. It is on the disk, and work on it can begin.
        """
        job = uuid.uuid4().hex
        home = self.folder / "jobs" / job
        try:
            home.mkdir()
            for upload in uploads:
                _sync(upload.path)
            uploads[0].path.parent.rename(home / "in")
            _sync(home)
            _sync(home.parent)
            self._insert(job, uploads, options)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        return job

    def _insert(self, job: str, uploads: Sequence[Upload], options: str) -> None:
        size = sum(upload.size for upload in uploads)
        rows = [(job, n, upload.name, upload.size) for n, upload in enumerate(uploads)]
        with self._transaction() as database:
            database.execute(
                "INSERT INTO jobs VALUES (?, ?, NULL, 'queued', ?, ?, 0)",
                (job, time.time(), options, size),
            )
            database.executemany(
                "INSERT INTO files (job, number, name, bytes, state) "
                "VALUES (?, ?, ?, ?, 'waiting')",
                rows,
            )

    def next_file(self, busy: frozenset[tuple[str, int]]) -> tuple[JobRow, FileRow] | None:
        """Take the next image to work on: of the job that has waited longest for its turn.

        Parameters
        ----------
        busy
            Job and number of the files that are being worked on.
        """
        with self._lock:
            for (job,) in self._query(
                f"SELECT id FROM jobs WHERE state IN {_OPEN} ORDER BY served, created"
            ):
                for (number,) in self._query(
                    "SELECT number FROM files WHERE job = ? AND state = 'waiting' "
                    "ORDER BY number LIMIT ?",
                    (job, len(busy) + 1),
                ):
                    if (job, number) not in busy:
                        return self._begin(job, number)
        return None

    def finish_file(self, job: str, number: int, outcome: Outcome) -> None:
        """Say what became of an image; the job is done with its last one."""
        state = "ok" if outcome.error is None else "failed"
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE files SET state = ?, cells = ?, diameter = ?, device = ?, seconds = ?, "
                "error = ? WHERE job = ? AND number = ? AND state = 'waiting'",
                (
                    state,
                    outcome.cells,
                    outcome.diameter,
                    outcome.device,
                    outcome.seconds,
                    outcome.error,
                    job,
                    number,
                ),
            ).rowcount
            if not changed:  # cancelled or removed in between
                return
            database.execute("UPDATE jobs SET bytes = bytes + ? WHERE id = ?", (outcome.size, job))
            database.execute(
                "UPDATE jobs SET state = 'done', finished = ? WHERE id = ? AND NOT EXISTS "
                "(SELECT 1 FROM files WHERE job = jobs.id AND state = 'waiting')",
                (time.time(), job),
            )

    def cancel(self, job: str) -> bool:
        """Leave undone what is not done; False if there was nothing to leave."""
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ? "
                f"WHERE id = ? AND state IN {_OPEN}",
                (time.time(), job),
            ).rowcount
            database.execute(
                "UPDATE files SET state = 'cancelled' WHERE job = ? AND state = 'waiting'", (job,)
            )
        return bool(changed)

    def remove(self, job: str) -> None:
        """Remove a job and all of its files; nothing happens if there is none."""
        folder = self.folder / "jobs" / job
        try:
            self._forget(job)
        except sqlite3.OperationalError:  # a full disk: the files are what makes room
            shutil.rmtree(folder, ignore_errors=True)
            self._forget(job)
        shutil.rmtree(folder, ignore_errors=True)

    def _forget(self, job: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def job(self, job: str) -> JobRow | None:
        """Return a job, or None."""
        return next(iter(self._jobs("WHERE id = ?", (job,))), None)

    def jobs(self, *, limit: int, offset: int = 0) -> list[JobRow]:
        """Return jobs, the newest first."""
        return self._jobs("ORDER BY created DESC, id LIMIT ? OFFSET ?", (limit, offset))

    def files(self, job: str) -> list[FileRow]:
        """Return the images of a job in their order."""
        return self._files("WHERE job = ? ORDER BY number", (job,))

    def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state."""
        return dict(self._query("SELECT state, COUNT(*) FROM jobs GROUP BY state"))

    def open_jobs(self) -> int:
        """Return the number of jobs that are not finished."""
        return int(self._query(f"SELECT COUNT(*) FROM jobs WHERE state IN {_OPEN}")[0][0])

    def used_bytes(self) -> int:
        """Return the bytes of all jobs together."""
        return int(self._query("SELECT COALESCE(SUM(bytes), 0) FROM jobs")[0][0])

    @contextmanager
    def hold(self, job: str) -> Iterator[None]:
        """Keep a job from being swept while its results are read."""
        with self._lock:
            self._held[job] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[job] -= 1

    def removable(self) -> list[Old]:
        """Return the finished jobs, which may go for something new."""
        now = time.time()
        return [
            Old(job, now - finished, size, partial(self._remove_unheld, job))
            for job, finished, size in self._query(
                "SELECT id, finished, bytes FROM jobs WHERE finished IS NOT NULL"
            )
        ]

    def sweep(self, *, seconds: float) -> list[str]:
        """Remove jobs that have been finished for longer than this; returns their ids."""
        return [old.key for old in self.removable() if old.idle > seconds and old.remove()]

    def _remove_unheld(self, job: str) -> bool:
        with self._lock:
            if self._held[job] > 0:
                return False
            self.remove(job)
        return True

    def _begin(self, job: str, number: int) -> tuple[JobRow, FileRow] | None:
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET state = 'running', served = ? WHERE id = ?",
                (time.time(), job),
            )
            database.execute(
                "UPDATE files SET attempts = attempts + 1 WHERE job = ? AND number = ?",
                (job, number),
            )
        row = self.job(job)
        files = self._files("WHERE job = ? AND number = ?", (job, number))
        return (row, files[0]) if row and files else None

    def forget_attempt(self, job: str, number: int) -> None:
        """Do not count an attempt that ended in good order, as on a shutdown."""
        with self._transaction() as database:
            database.execute(
                "UPDATE files SET attempts = attempts - 1 WHERE job = ? AND number = ?",
                (job, number),
            )

    def _jobs(self, where: str, values: tuple[Any, ...]) -> list[JobRow]:
        with self._lock:
            rows = self._query(
                f"SELECT id, created, finished, state, options, bytes FROM jobs {where}", values
            )
            return [
                JobRow(job, created, finished, state, options, size, self._states(job))
                for job, created, finished, state, options, size in rows
            ]

    def _states(self, job: str) -> dict[FileState, int]:
        return dict(
            self._query("SELECT state, COUNT(*) FROM files WHERE job = ? GROUP BY state", (job,))
        )

    def _files(self, where: str, values: tuple[Any, ...]) -> list[FileRow]:
        rows = self._query(
            "SELECT number, name, bytes, state, attempts, cells, diameter, device, seconds, "
            f"error FROM files {where}",
            values,
        )
        return [FileRow(*row) for row in rows]

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements that are done together or not at all."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # a full disk may have ended it already
                    self._database.execute("ROLLBACK")
                raise

    def _remove_leftovers(self) -> None:
        """Remove what a kill left half done: files on their way in, folders of no job."""
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)
        known = {job for (job,) in self._query("SELECT id FROM jobs")}
        for folder in (self.folder / "jobs").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have a file or folder on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
