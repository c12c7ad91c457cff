"""A process whose lines are read as it prints them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process whose output is read; on a terminal of its own where there are any.

    On a terminal the training renews its line of progress every second, else once a minute.
    """
    if not hasattr(os, "openpty"):
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    process.stdout = os.fdopen(ours, "rb", buffering=0)
    return process


def lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what a process prints, cut at line ends and at carriage returns."""
    assert process.stdout is not None
    rest = b""
    with process.stdout as stream:
        while True:
            try:
                chunk = stream.read(4096)
            except OSError:  # how a terminal says that its other end is closed
                chunk = b""
            if not chunk:
                break
            *whole, rest = re.split(rb"[\r\n]+", rest + chunk)
            yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")
