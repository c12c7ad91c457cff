"""Label images kept aside, packed, so that a long movie does not fill the memory."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator

import numpy as np

from cellrim.core.closing import Closing
from cellrim.core.labels import Labels

# The fastest level: labels shrink a hundredfold even so.
_LEVEL = 1


class LabelSpool(Closing):
    """A list of label images in a temporary file that only this object can see.

    Use it as a context, or call :meth:`close`: the file is gone then, as it is when the process
    ends in whatever way.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the object
        self._places: list[tuple[int, int, tuple[int, ...]]] = []
        self.largest = 0
        """The largest id so far."""

    def __len__(self) -> int:
        return len(self._places)

    def append(self, labels: Labels) -> None:
        """Add a label image, int32, axes ``YX``."""
        data = zlib.compress(np.ascontiguousarray(labels, np.int32).tobytes(), _LEVEL)
        start = self._file.seek(0, 2)
        self._file.write(data)
        self._places.append((start, len(data), labels.shape))
        self.largest = max(self.largest, int(labels.max(initial=0)))

    def shape(self, number: int) -> tuple[int, ...]:
        """Height and width of a label image."""
        return self._places[number][2]

    def __getitem__(self, number: int) -> Labels:
        start, length, shape = self._places[number]
        self._file.seek(start)
        flat = np.frombuffer(zlib.decompress(self._file.read(length)), np.int32)
        return flat.reshape(shape)

    def __iter__(self) -> Iterator[Labels]:
        return (self[number] for number in range(len(self)))

    def close(self) -> None:
        """Free the temporary file."""
        self._file.close()
