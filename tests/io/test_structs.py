import json

import msgspec
import numpy as np
import pytest

from cellrim.io.structs import to_builtins, to_json


class Seen(msgspec.Struct):
    count: int
    size: tuple[float, ...]
    whole: bool = True


def test_numbers_of_numpy_are_numbers():
    seen = Seen(np.int64(3), (np.float32(0.5), np.float64(2.5), 1.0), np.bool_(True))
    plain = {"count": 3, "size": [0.5, 2.5, 1.0], "whole": True}
    assert json.loads(json.dumps(to_builtins(seen))) == plain
    assert json.loads(to_json(seen)) == json.loads(to_json(seen, indent=2)) == plain
    assert msgspec.json.decode(to_json(seen), type=Seen) == seen
    assert b"\n" not in to_json(seen)


def test_what_json_cannot_hold_is_told():
    with pytest.raises(NotImplementedError, match="ndarray"):
        to_json(Seen(3, np.zeros(2)))
    with pytest.raises(NotImplementedError, match="ndarray"):
        to_builtins(Seen(3, np.zeros(2)))
