"""Words for numbers."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """Write a number of things, with a plural ``s`` unless there is one.

    Examples
    --------
    >>> counted(1, "image"), counted(0, "cell")
    ('1 image', '0 cells')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
