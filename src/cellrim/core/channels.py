"""Channels by name or number."""

from __future__ import annotations

from collections.abc import Sequence

from cellrim.errors import InputError

Channel = int | str
"""A channel's number, counted from 0, or its name."""


def parse_channel(text: str) -> Channel:
    """Read one channel of a command line: a whole number is a number, anything else a name.

    Raises
    ------
    InputError
        If it is empty.

    Examples
    --------
    >>> parse_channel("2"), parse_channel("DAPI")
    (2, 'DAPI')
    """
    text = text.strip()
    if not text:
        raise InputError("Expected a channel's name or number, but got nothing.")
    try:
        return int(text)
    except ValueError:
        return text


def channel_indices(names: Sequence[str], wanted: Sequence[Channel]) -> tuple[int, ...]:
    """Find channels by name or number.

    Parameters
    ----------
    names
        The channels that there are.
    wanted
        Numbers from 0 on, or names; upper and lower case are the same unless two names differ in
        nothing else. A name that looks like a number (``488``) is found where no channel has that
        number.

    Returns
    -------
    tuple of int
        One number per wanted channel, in their order.

    Raises
    ------
    InputError
        If a channel does not exist, a name fits several, or one is asked for twice.

    Examples
    --------
    >>> channel_indices(("DAPI", "actin"), ("Actin", 0))
    (1, 0)
    """
    found = tuple(_find(names, channel) for channel in wanted)
    if len(set(found)) < len(found):
        raise InputError(f"Expected different channels, but got {', '.join(map(str, wanted))}.")
    return found


def _find(names: Sequence[str], channel: Channel) -> int:
    if isinstance(channel, int) and 0 <= channel < len(names):
        return channel
    text = str(channel)
    exact = [i for i, name in enumerate(names) if name == text]
    folded = [i for i, name in enumerate(names) if name.casefold() == text.casefold()]
    fitting = exact or folded
    if len(fitting) == 1:
        return fitting[0]
    choices = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    problem = "which several channels have" if fitting else "which is none of the image's channels"
    raise InputError(
        f"Expected a channel out of {choices}, but got {text!r}, {problem}: "
        "give its name or its number."
    )
