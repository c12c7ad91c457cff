"""Showing progress on a terminal, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO


def live_line(stream: TextIO, *, width: int = 110) -> Callable[[str], None]:
    """Return a function that shows a line the next one replaces; nothing if not a terminal.

    Parameters
    ----------
    stream
        Usually standard error, so that output stays clean.
    width
        Characters to show at most.
    """
    if not stream.isatty():
        return lambda _: None

    def show(text: str) -> None:
        stream.write("\r" + text[:width].ljust(width) + "\r")
        stream.flush()

    return show
