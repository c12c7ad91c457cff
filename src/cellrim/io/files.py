"""What every reader needs: the bytes of a file, which form they have, and why reading failed."""

from __future__ import annotations

from pathlib import Path

from cellrim.errors import ImageReadError


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises
    ------
    ImageReadError
        If it is missing, a folder, unreadable or empty.
    """
    return _read(path, None)


def first_bytes(path: Path, count: int = 64) -> bytes:
    """Read the beginning of a file.

    Raises
    ------
    ImageReadError
        If it is missing, a folder, unreadable or empty.
    """
    return _read(path, count)


def reason(error: BaseException) -> str:
    """Say in one line why reading failed: the first that an error says, its type if no words.

    Examples
    --------
    >>> reason(ValueError("cut off")), reason(AssertionError()), reason(KeyError(0))
    ('cut off', 'AssertionError', 'KeyError 0')
    """
    first = next(iter(str(error).splitlines()), "")
    words = any(c.isalpha() for c in first)
    return first if words else f"{type(error).__name__} {first}".rstrip()


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF or BigTIFF file does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_png(data: bytes) -> bool:
    """Whether the bytes begin as a PNG file does."""
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def is_jpeg(data: bytes) -> bool:
    """Whether the bytes begin as a JPEG file does."""
    return data.startswith(b"\xff\xd8\xff")


def _read(path: Path, count: int | None) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(-1 if count is None else count)
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not data:
        raise ImageReadError(f"Cannot read {path}: the file is empty.")
    return data
