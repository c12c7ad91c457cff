"""How far the work on a large image is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one step is.

    Parameters
    ----------
    step
        What is being done.
    done, total, before
        Pieces of work: done, in all, and done by an earlier run.
    """

    step: str
    done: int
    total: int
    before: int = 0


Report = Callable[[Progress], None]
"""Is told after each piece of work."""


def say_nothing(_progress: Progress) -> None:
    """Tell nobody."""
