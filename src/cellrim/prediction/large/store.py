"""The unfinished results of a large image on disk: whole pieces under their final names, or none.

The folder is all the state there is. A run that was killed goes on from the files it finds.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cellrim.errors import OutputError
from cellrim.io.atomic import atomic_path, remove
from cellrim.io.structs import to_json
from cellrim.prediction.large.plan import LargePlan
from cellrim.prediction.large.squares import At

_PLAN = "plan.json"
_SUFFIX = ".npz"
_SHAPE, _PACKED, _DTYPE = "_shape", "_packed", "_dtype"
# zstd's fastest ordinary level: label images shrink a hundredfold at any.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of unfinished results."""

    folder: Path

    def read_plan(self) -> LargePlan | None:
        """Return the plan; None where there is none."""
        try:
            return msgspec.json.decode((self.folder / _PLAN).read_bytes(), type=LargePlan)
        except (OSError, msgspec.DecodeError):
            return None

    def start(self, plan: LargePlan) -> None:
        """Begin with this plan; whatever else is in the folder is removed.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        self.remove()
        with atomic_path(self.folder / _PLAN) as partial:
            partial.write_bytes(to_json(plan, indent=2))

    def remove(self) -> None:
        """Remove the folder if it is there.

        Raises
        ------
        OutputError
            If it cannot be removed.
        """
        remove(self.folder)

    def has(self, name: str) -> bool:
        """Whether a piece is there, whole."""
        path = self._path(name)
        return path.is_file() and zipfile.is_zipfile(path)

    def write(self, name: str, **arrays: NDArray[Any]) -> None:
        """Write a piece, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        import imagecodecs

        packed: dict[str, NDArray[Any]] = {}
        for key, array in arrays.items():
            raw = array.tobytes()
            data = imagecodecs.zstd_encode(raw, level=_LEVEL) if raw else raw
            packed[key + _PACKED] = np.frombuffer(data, np.uint8)
            packed[key + _SHAPE] = np.array(array.shape, np.int64)
            packed[key + _DTYPE] = np.array(array.dtype.str)
        with atomic_path(self._path(name)) as partial, partial.open("wb") as file:
            np.savez(file, **packed)  # type: ignore[arg-type]

    def read(self, name: str, *keys: str) -> tuple[NDArray[Any], ...]:
        """Read some arrays of a piece.

        Raises
        ------
        OutputError
            If it is not there or damaged.
        """
        import imagecodecs

        arrays = []
        try:
            with np.load(self._path(name), allow_pickle=False) as stored:
                for key in keys:
                    shape = tuple(stored[key + _SHAPE])
                    dtype = np.dtype(str(stored[key + _DTYPE]))
                    packed = stored[key + _PACKED].tobytes()
                    data = imagecodecs.zstd_decode(packed) if 0 not in shape else bytearray()
                    arrays.append(np.frombuffer(data, dtype).reshape(shape))
        except Exception as error:  # zipfile, numpy and zstd raise many types
            raise OutputError(
                f"Cannot read the unfinished result {self._path(name)}: {error}. Start again with "
                "--overwrite."
            ) from error
        return tuple(arrays)

    def _path(self, name: str) -> Path:
        return self.folder / (name + _SUFFIX)


def block_name(number: int) -> str:
    """Name of a block's file."""
    return f"blocks/{number:08d}"


def square_name(level: int, at: At) -> str:
    """Name of the file of one square of labels."""
    return f"labels/{level}/{at[0]:06d}_{at[1]:06d}"
