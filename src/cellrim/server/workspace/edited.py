"""A label image under correction: changes are applied, undone and done again.

What a change overwrites lies on the disk, so that a long history takes no memory.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from cellrim.core.labels import Labels
from cellrim.errors import InputError
from cellrim.server.workspace.editing import Box, Change

MOST_STEPS = 200
MOST_UNDO_BYTES = 64_000_000
"""Compressed; label images shrink a hundredfold, so this is rarely reached."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What a change overwrote: the rectangle, and the compressed file of labels and confidence."""

    box: Box
    path: Path
    size: int


class EditedLabels:
    """A label image under correction. Ids stay as they are while others come and go.

    Parameters
    ----------
    labels
        int32, axes ``YX``; changed in place, so it may be a memory-mapped file.
    confidence
        Id to confidence, for every cell.
    folder
        Where files of what is overwritten go; it exists, and holds nothing called ``step-...``.
    """

    def __init__(self, labels: Labels, confidence: Mapping[int, float], *, folder: Path) -> None:
        self.labels = labels
        self.confidence = dict(confidence)
        self.revision = 0
        self._folder = folder
        self._numbers = count()
        self._undo: deque[_Step] = deque()
        self._redo: list[_Step] = []

    @property
    def undoable(self) -> int:
        """How many changes can be undone."""
        return len(self._undo)

    @property
    def redoable(self) -> int:
        """How many undone changes can be done again."""
        return len(self._redo)

    def apply(self, change: Change) -> Box:
        """Do a change; returns where the labels are new."""
        self._undo.append(self._exchange(change))
        while self._redo:
            self._redo.pop().path.unlink(missing_ok=True)
        while self._is_too_much():
            self._undo.popleft().path.unlink(missing_ok=True)
        return change.box

    def undo(self) -> Box:
        """Take the last change back.

        Raises
        ------
        InputError
            If there is none.
        """
        if not self._undo:
            raise InputError("There is nothing to undo.")
        self._redo.append(self._take_back(self._undo[-1]))
        return self._undo.pop().box

    def redo(self) -> Box:
        """Do the change again that was undone last.

        Raises
        ------
        InputError
            If there is none.
        """
        if not self._redo:
            raise InputError("There is nothing to do again.")
        self._undo.append(self._take_back(self._redo[-1]))
        return self._redo.pop().box

    def _is_too_much(self) -> bool:
        steps = len(self._undo)
        too_large = sum(step.size for step in self._undo) > MOST_UNDO_BYTES
        return steps > MOST_STEPS or (steps > 1 and too_large)

    def _take_back(self, step: _Step) -> _Step:
        opposite = self._exchange(_read(step))
        step.path.unlink(missing_ok=True)
        return opposite

    def _exchange(self, change: Change) -> _Step:
        window = self.labels[change.box.slices]
        before = [(int(i), self.confidence.get(i)) for i in change.confidence]
        packed = zlib.compress(json.dumps(before).encode() + b"\n" + window.tobytes(), 1)
        step = _Step(change.box, self._folder / f"step-{next(self._numbers)}", len(packed))
        step.path.write_bytes(packed)  # before anything changes: the disk may be full
        window[...] = change.labels
        for cell, value in change.confidence.items():
            if value is None:
                self.confidence.pop(cell, None)
            else:
                self.confidence[cell] = value
        self.revision += 1
        return step


def _read(step: _Step) -> Change:
    confidence, labels = zlib.decompress(step.path.read_bytes()).split(b"\n", 1)
    return Change(
        step.box,
        np.frombuffer(labels, np.int32).reshape(step.box.shape),
        dict(json.loads(confidence)),
    )
