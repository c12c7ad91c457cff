"""What is known of a training while it runs, read from what it prints."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from cellrim.server.workspace.comparison import Comparison

State = Literal["none", "training", "comparing", "finished", "failed", "stopped"]
Stage = Literal["preparing", "judging", "training", "finishing"]
"""Images are prepared, the model is judged as it is, it is trained, the new one is finished."""

_PACKING = re.compile(r"^packing (\d+)/(\d+)")
_STEP = re.compile(r"patch ([\d,]+) of ([\d,]+)\s+loss ([\d.]+)")
_EPOCH = re.compile(r"^epoch (\d+):.*?AP50 ([\d.]+)")
_LOG_LINES = 400


@dataclass(frozen=True, slots=True)
class Mark:
    """The model's accuracy at one moment, on the images held back."""

    epoch: int
    ap50: float


@dataclass
class Training:
    """One training: where it is and what came of it.

    Parameters
    ----------
    state, stage
        Where it is; the stage is of the state ``training``.
    base, model
        Names of the model it began with and of the new one.
    minutes
        How long it was asked to take.
    begun, stepped, ended
        Monotonic seconds: of its start, of its first step, of its end.
    done
        Share of its patches, 0..1.
    loss
        The latest.
    marks
        How accurate the model was on the images held back, from epoch 0 on.
    log
        What it printed last.
    error
        Why it failed.
    names
        What the images are called, by key.
    comparison
        Before and after, image by image.
    """

    state: State = "none"
    stage: Stage = "preparing"
    base: str = ""
    model: str = ""
    minutes: float = 0.0
    begun: float = 0.0
    ended: float | None = None
    done: float = 0.0
    stepped: float | None = None
    loss: float | None = None
    marks: list[Mark] = field(default_factory=list)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))
    error: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    comparison: list[Comparison] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it has been running, or ran."""
        return (self.ended or time.monotonic()) - self.begun if self.begun else 0.0

    @property
    def fraction(self) -> float:
        """How much of the training itself is done, 0..1, by patches or by time."""
        if self.stepped is None:
            return self.done
        by_time = ((self.ended or time.monotonic()) - self.stepped) / (self.minutes * 60)
        return min(1.0, max(self.done, by_time))

    @property
    def seconds_left(self) -> float | None:
        """How long the training itself will take from now on; None before its first steps."""
        if self.stepped is None or not self.fraction:
            return None
        taken = (self.ended or time.monotonic()) - self.stepped
        return taken / self.fraction * (1 - self.fraction)

    @property
    def is_busy(self) -> bool:
        """Whether another one has to wait."""
        return self.state in ("training", "comparing")

    def hear(self, line: str) -> None:
        """Take one line of what the training prints."""
        line = line.strip()
        if step := _STEP.search(line):
            done, total = (int(n.replace(",", "")) for n in step.groups()[:2])
            self.done = max(self.done, min(1.0, done / max(total, 1)))
            self.stepped = self.stepped or time.monotonic()
            self.loss = float(step.group(3))
            self.stage = "finishing" if self.done >= 1 else "training"
            return
        if packing := _PACKING.search(line):
            self.stage = "judging" if packing.group(1) == packing.group(2) else "preparing"
        if epoch := _EPOCH.search(line):
            self.marks.append(Mark(int(epoch.group(1)), float(epoch.group(2))))
        if line:
            self.log.append(line)
