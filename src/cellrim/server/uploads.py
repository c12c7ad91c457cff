"""Files in: a multipart request written to the disk as it comes, within limits.

Nothing but a small buffer is ever in memory, one file is open at a time, and files are called by
their number: the names that clients give are only kept as text.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cellrim.server.problems import ApiError
from cellrim.server.space import Space

_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Limits:
    """Most files, bytes of one of them, and bytes together; and the fields that hold files."""

    files: int
    file_bytes: int
    total_bytes: int
    field: str


@dataclass(frozen=True, slots=True)
class Upload:
    """One file that has come.

    Parameters
    ----------
    name
        What the client calls it: text to show, never a path.
    path
        Where it is.
    size
        In bytes.
    """

    name: str
    path: Path
    size: int


async def receive(
    request: Request, folder: Path, *, limits: Limits, space: Space | None = None
) -> tuple[Upload, ...]:
    """Write the files of a multipart request into a folder, which is created.

    The folder is removed again if anything goes wrong.

    Parameters
    ----------
    request, folder, limits
        What comes, where it goes, and how much it may be.
    space
        Where the files are to stay: there must be space for them before they are taken.

    Raises
    ------
    ApiError
        ``bad-request`` if it is no multipart request with files in the right field, ``too-large``
        beyond a limit, ``over-quota``, ``disk-full``.
    """
    parser, parts = _parser(request, folder, limits)
    length = _checked_length(request, limits)
    room: AbstractAsyncContextManager[None] = (
        nullcontext() if space is None else space.reserve_async(length)
    )
    try:
        async with room:
            folder.mkdir(parents=True)
            async for chunk in request.stream():
                if chunk:
                    await asyncio.to_thread(parser.write, chunk)
            return parts.finish()
    except BaseException as error:
        parts.close()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if isinstance(error, FormParserError):
            raise ApiError("bad-request", f"The multipart body is malformed: {error}.") from error
        if isinstance(error, OSError):
            raise disk_problem(error) from error
        raise


def disk_problem(error: OSError) -> ApiError:
    """Say what went wrong on the disk without naming a path of the server."""
    if is_disk_full(error):
        return ApiError(
            "disk-full",
            "The server's disk is full: remove old jobs or ask who runs the server.",
            retry_after=60,
        )
    return ApiError("internal", "The server cannot write to its disk; its log says more.")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that there is no space left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _checked_length(request: Request, limits: Limits) -> int:
    """Return how many bytes are said to come; 0 where nothing is said."""
    declared = request.headers.get("content-length", "")
    # The parts' headers come on top of the files.
    most = min(limits.total_bytes, limits.files * limits.file_bytes) + 10_000 * limits.files
    if declared.isdigit() and int(declared) > most:
        raise ApiError("too-large", f"Expected at most {most} bytes, but got {declared}.")
    return int(declared) if declared.isdigit() else 0


def _parser(request: Request, folder: Path, limits: Limits) -> tuple[MultipartParser, _Parts]:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(
            "bad-request",
            f"Expected a multipart/form-data request with files in the field {limits.field!r}, "
            f"but got {kind.decode('latin-1')[:100] or 'no content type'!r}.",
        )
    parts = _Parts(folder, limits)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_end": parts.all_ended,
            },
        )
    except FormParserError as error:
        raise ApiError("bad-request", f"The multipart boundary is malformed: {error}.") from error
    return parser, parts


class _Parts:
    """Takes what the parser finds: one part after the other into files 0, 1, 2, ..."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._done: list[Upload] = []
        self._total = 0
        self._ended = False
        self._file: IO[bytes] | None = None

    def begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._size = 0

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != self._limits.field:
            raise ApiError(
                "bad-request",
                f"Expected files in the field {self._limits.field!r}, but got a field "
                f"{field[:100]!r}. Options go into the query.",
            )
        if len(self._done) >= self._limits.files:
            raise ApiError("too-large", f"Expected at most {self._limits.files} file(s).")
        self._name = shown_name(options.get(b"filename", b""), len(self._done))
        self._file = (self._folder / str(len(self._done))).open("wb")

    def data(self, data: bytes, start: int, end: int) -> None:
        size = end - start
        self._size += size
        self._total += size
        if self._size > self._limits.file_bytes:
            raise ApiError(
                "too-large",
                f"Expected files of at most {self._limits.file_bytes} bytes, but "
                f"{self._name!r} is larger.",
            )
        if self._total > self._limits.total_bytes:
            raise ApiError(
                "too-large", f"Expected at most {self._limits.total_bytes} bytes together."
            )
        if self._file is not None:
            self._file.write(data[start:end])

    def end(self) -> None:
        self.close()
        path = self._folder / str(len(self._done))
        self._done.append(Upload(self._name, path, self._size))

    def all_ended(self) -> None:
        self._ended = True

    def close(self) -> None:
        """Close the file that is open, if one is."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> tuple[Upload, ...]:
        """Return what has come, once all is there."""
        if not self._ended:
            raise ApiError("bad-request", "The request ended before its last part was complete.")
        if not self._done:
            raise ApiError(
                "bad-request", f"Expected a file in the field {self._limits.field!r}, but got none."
            )
        return tuple(self._done)


def shown_name(raw: bytes, number: int) -> str:
    """Make a client's file name fit to be shown: the last part, no control characters, not long."""
    text = raw.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    text = "".join(c if c.isprintable() else "_" for c in text).strip()
    return text[-_LONGEST_NAME:] or f"image {number + 1}"
