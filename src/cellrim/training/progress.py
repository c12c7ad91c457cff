"""What a training tells: a live line, a line for each epoch, and the log."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from cellrim.io.atomic import atomic_path
from cellrim.training.places import Say
from cellrim.training.validate import SetScore


@dataclass(slots=True)
class Progress:
    """Prints one live line, and one line for each epoch.

    Parameters
    ----------
    say
        Prints a line that stays.
    live
        Prints a line that the next one replaces.
    every
        Seconds between two live lines.
    """

    say: Say = print
    live: Say = lambda _: None
    every: float = 1.0
    _last: float = field(default=0.0, init=False)
    _score: str = field(default="", init=False)

    def step(self, *, patches: int, total: int, loss: float, seconds_left: float) -> None:
        """Show where the training is."""
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        left = f"{seconds_left / 60:.0f} min left" if math.isfinite(seconds_left) else ""
        self.live(f"patch {patches:,} of {total:,}  loss {loss:.3f}  {self._score}  {left}")

    def epoch(self, row: dict[str, float], sets: list[SetScore]) -> None:
        """Show the validation of one epoch."""
        self._score = f"instance AP50 {row['val_ap50']:.3f}"
        names = "  ".join(f"{s.name} {s.values['ap50']:.2f}" for s in sets)
        self.say(
            f"epoch {row['epoch']:.0f}: {row['patches']:.0f} patches, {row['minutes']:.0f} min, "
            f"{_losses(row)}Dice {row['val_dice']:.3f}, "
            f"AP50 {row['val_ap50']:.3f}, mAP {row['val_map']:.3f} | {names}"
        )


def _losses(row: dict[str, float]) -> str:
    if "loss" not in row:  # epoch 0, before any training
        return ""
    return f"loss {row['loss']:.3f}, training Dice {row['train_dice']:.3f}, "


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Write one row per epoch as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
