"""Showing progress: a line that renews itself on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_LOG_SECONDS = 60.0


def live_line(stream: TextIO, *, width: int = 110) -> Callable[[str], None]:
    """Return a function that shows a line the next one replaces.

    Where the stream is no terminal, the function writes one line a minute at most.

    Parameters
    ----------
    stream
        Usually standard error, so that output stays clean.
    width
        Characters to show at most on a terminal.
    """
    if stream.isatty():

        def renew(text: str) -> None:
            stream.write("\r" + text[:width].ljust(width) + "\r")
            stream.flush()

        return renew

    last = [0.0]

    def log(text: str) -> None:
        now = time.monotonic()
        if now - last[0] >= _LOG_SECONDS:
            last[0] = now
            stream.write(text + "\n")
            stream.flush()

    return log
