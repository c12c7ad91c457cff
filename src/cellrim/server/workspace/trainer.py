"""A training on corrected images that can be watched.

The training is ``cellrim train`` in a process of its own, so that the server never needs torch and
a training can be stopped. What it prints is the progress.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from cellrim.core.labels import Labels
from cellrim.datasets.registry import open_dataset
from cellrim.datasets.splits import split
from cellrim.errors import CellrimError, MissingExtraError
from cellrim.evaluation.counts import count_image, scores
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.models.registry import ModelFolder
from cellrim.prediction.segmenter import Segmenter
from cellrim.server.problems import ApiError
from cellrim.server.workspace.corrected import IMAGES, LABELS, CorrectedSet

State = Literal["none", "training", "comparing", "finished", "failed", "stopped"]
Command = Callable[[Path, Path, ModelFolder, float], Sequence[str]]
"""From the folder of corrected images, the run folder, the model to begin with and minutes."""

LEAST_IMAGES = 2
"""One to learn from and one to judge by."""

_STEP = re.compile(r"patch ([\d,]+) of ([\d,]+)\s+loss ([\d.]+)")
_EPOCH = re.compile(r"^epoch (\d+):.*?AP50 ([\d.]+)")
_LOG_LINES = 400
_STOP_SECONDS = 20.0


def train_command(data: Path, run: Path, base: ModelFolder, minutes: float) -> list[str]:
    """``cellrim train FOLDER``, made to end its schedule, not to break it off, in time."""
    return [
        *(sys.executable, "-m", "cellrim", "train", str(data)),
        *("--from", str(base.path), "--out", str(run)),
        *("--anneal-minutes", f"{minutes:g}", "--workers", "1"),
    ]


def why_not() -> str | None:
    """Say why nothing can be trained here; None if it can."""
    if find_spec("torch") is None:
        return str(MissingExtraError("Training", "train"))
    return None


@dataclass(frozen=True, slots=True)
class Mark:
    """The model's accuracy at one moment, on the images held back."""

    epoch: int
    ap50: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One corrected image, segmented before and after.

    Parameters
    ----------
    key, name
        The image.
    held_back
        Whether training did not see it.
    cells
        How many the correction has.
    cells_before, cells_after
        How many the models find.
    ap50_before, ap50_after
        AP at IoU 0.5 against the correction, 0..1.
    """

    key: str
    name: str
    held_back: bool
    cells: int
    cells_before: int
    cells_after: int
    ap50_before: float
    ap50_after: float


@dataclass
class Training:
    """One training: where it is and what came of it."""

    state: State = "none"
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
            return
        if epoch := _EPOCH.search(line):
            self.marks.append(Mark(int(epoch.group(1)), float(epoch.group(2))))
        if line:
            self.log.append(line)


class Trainer:
    """Runs one training at a time in a process of its own.

    Parameters
    ----------
    folder
        Holds a folder for each training: the images as they were, the run, the model.
    command
        What to run.
    """

    def __init__(self, folder: Path, *, command: Command = train_command) -> None:
        self.folder = folder
        self.command = command
        self.training = Training()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def models(self) -> Iterator[Path]:
        """Model folders that earlier trainings made."""
        yield from sorted(p.parent for p in self.folder.glob("*/run/model/card.json"))

    def start(self, corrected: CorrectedSet, base: ModelFolder, *, minutes: float) -> None:
        """Begin a training; :meth:`wait` follows it.

        Raises
        ------
        ApiError
            ``conflict`` if one is running, or there are too few images.
        """
        if reason := why_not():
            raise ApiError("conflict", reason)
        images = len(corrected.all())
        if images < LEAST_IMAGES:
            raise ApiError(
                "conflict",
                f"Expected at least {LEAST_IMAGES} corrected images, one to learn from and one "
                f"to judge by, but the set has {images}: correct another one and add it.",
            )
        with self._lock:
            if self.training.is_busy:
                raise ApiError("conflict", "A training is running already: wait or stop it.")
            name = self._new_name(base.card.name)
            self.training = Training(
                "training",
                base=base.card.name,
                model=name,
                minutes=minutes,
                begun=time.monotonic(),
            )
        data = self.folder / name / name  # the model is called by the folder of its images
        try:
            corrected.snapshot(data)
            command = self.command(data, self.folder / name / "run", base, minutes)
            self._process = _start(command)
        except (OSError, CellrimError) as error:
            self._end("failed", str(error))
            raise

    def wait(self) -> Path | None:
        """Follow the training to its end; returns the model folder if there is one."""
        training, process = self.training, self._process
        assert process is not None
        for line in _lines(process):
            training.hear(self._without_path(line))
        code = process.wait()
        model = self.folder / training.model / "run" / "model"
        if training.state == "stopped":
            return None
        if code != 0 or not model.is_dir():
            last = training.log[-1] if training.log else f"it ended with code {code}"
            self._end("failed", f"The training failed: {last}")
            return None
        training.done = 1.0
        training.state = "comparing"
        return model

    def compare(self, names: dict[str, str], before: Segmenter, after: Segmenter) -> None:
        """Segment the corrected images with both models, against the corrections."""
        training = self.training
        data = self.folder / training.model / training.model
        samples = open_dataset(data).samples
        held_back = {s.name for s in split(samples)[1]}
        for image_path in sorted((data / IMAGES).iterdir()):
            key = image_path.stem
            truth = read_labels(data / LABELS / f"{key}.tif")
            image = read_image(image_path)
            found = [model.segment(image).labels for model in (before, after)]
            training.comparison.append(
                Comparison(
                    key,
                    names.get(key, key),
                    key in held_back,
                    int(truth.max()),
                    *(int(labels.max()) for labels in found),
                    *(_ap50(labels, truth) for labels in found),
                )
            )
        self._end("finished", None)

    def fail(self, reason: str) -> None:
        """Note that something went wrong after the training."""
        self._end("failed", self._without_path(reason))

    def _without_path(self, text: str) -> str:
        """Leave out where the server keeps its files."""
        return text.replace(f"{self.folder}{os.sep}", "")

    def stop(self) -> None:
        """Call the training off."""
        process = self._process
        if self.training.state != "training" or process is None:
            return
        self._end("stopped", None)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _end(self, state: State, error: str | None) -> None:
        self.training.state = state
        self.training.error = error
        self.training.ended = time.monotonic()

    def _new_name(self, base: str) -> str:
        stem = re.sub(r"-fit-\d+$", "", base)
        number = 1
        while (self.folder / f"{stem}-fit-{number}").exists():
            number += 1
        return f"{stem}-fit-{number}"


def _ap50(labels: Labels, truth: Labels) -> float:
    return float(scores(count_image(labels, truth, boundaries=False)).ap50)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process whose output is read; on a terminal of its own where there are any.

    On a terminal the training renews its line of progress every second, else once a minute.
    """
    if not hasattr(os, "openpty"):
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    process.stdout = os.fdopen(ours, "rb", buffering=0)
    return process


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what a process prints, cut at line ends and at carriage returns."""
    assert process.stdout is not None
    rest = b""
    with process.stdout as stream:
        while True:
            try:
                chunk = stream.read(4096)
            except OSError:  # how a terminal says that its other end is closed
                chunk = b""
            if not chunk:
                break
            *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
            yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")
