"""What msgspec holds as JSON; numbers may be NumPy's."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np


def to_builtins(value: Any) -> Any:
    """Turn a struct, or a part of one, into dicts, lists, strings and numbers.

    Raises
    ------
    NotImplementedError
        If there is something in it that JSON cannot hold.
    """
    return msgspec.to_builtins(value, enc_hook=_number)


def to_json(value: Any, *, indent: int = -1) -> bytes:
    """Write a struct as JSON, in UTF-8; on one line where no indentation is asked for.

    Raises
    ------
    NotImplementedError
        If there is something in it that JSON cannot hold.
    """
    encoded = msgspec.json.encode(value, enc_hook=_number)
    return encoded if indent < 0 else msgspec.json.format(encoded, indent=indent)


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"Expected a value that JSON holds, but got a {type(value)}.")
