"""How far a streamed image is: on a terminal one line that changes, elsewhere a line at times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cellrim.prediction.large import Progress

_LINE_SECONDS = 30.0
_CHANGE_SECONDS = 0.2


class _Clock:
    """Estimates the time left of a step by the pieces done since it began."""

    def __init__(self) -> None:
        self._step, self._begun, self._shown = "", 0.0, 0.0

    def left(self, progress: Progress, now: float) -> float | None:
        """Seconds left; None where nothing is done yet."""
        if progress.step != self._step:
            self._step, self._begun, self._shown = progress.step, now, 0.0
        done = progress.done - progress.before
        return (now - self._begun) / done * (progress.total - progress.done) if done > 0 else None

    def is_due(self, now: float, pause: float) -> bool:
        """Whether it is time to show something again."""
        if now - self._shown < pause:
            return False
        self._shown = now
        return True


@contextmanager
def show_steps() -> Iterator[Callable[[Progress], None]]:
    """Show steps with the time left, on standard error."""
    clock, terminal = _Clock(), sys.stderr.isatty()

    def show(progress: Progress) -> None:
        now = time.monotonic()
        left = clock.left(progress, now)
        last = progress.done == progress.total
        if not clock.is_due(now, _CHANGE_SECONDS if terminal else _LINE_SECONDS) and not last:
            return
        text = describe(progress, left)
        if terminal:
            click.echo(f"\r\x1b[K{text}", err=True, nl=last)
        else:
            click.echo(text)

    yield show


def describe(progress: Progress, left: float | None) -> str:
    """Say in a few words how far a step is.

    Examples
    --------
    >>> from cellrim.prediction.large import Progress
    >>> describe(Progress("Cells", 30, 120, before=10), 600.0)
    'Cells: 30 of 120 (10 done before), about 10 min left'
    """
    before = f" ({progress.before} done before)" if progress.before else ""
    time_left = f", about {_duration(left)} left" if left and progress.done < progress.total else ""
    return f"{progress.step}: {progress.done} of {progress.total}{before}{time_left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
