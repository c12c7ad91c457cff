"""Text for a terminal."""

from __future__ import annotations


def on_one_line(text: str) -> str:
    r"""Write out whatever is no visible character, as names of files may hold line breaks.

    Examples
    --------
    >>> print(on_one_line("new\nline ü"))
    new\nline ü
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
