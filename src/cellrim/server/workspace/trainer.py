"""Runs trainings on corrected images, one at a time, each a process that can be watched.

The training is ``cellrim train`` in a process of its own, so that the server never needs torch and
a training can be stopped. What it prints is the progress.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cellrim.datasets.registry import open_dataset
from cellrim.datasets.splits import split
from cellrim.errors import CellrimError, MissingExtraError
from cellrim.io.extent import read_extent
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.models.registry import ModelFolder
from cellrim.prediction.segmenter import Segmenter
from cellrim.server.problems import ApiError
from cellrim.server.space import Old, bytes_below
from cellrim.server.workspace import process
from cellrim.server.workspace.comparison import compare
from cellrim.server.workspace.corrected import IMAGES, LABELS, CorrectedSet
from cellrim.server.workspace.training import State, Training

Command = Callable[[Path, Path, ModelFolder, float], Sequence[str]]
"""From the folder of corrected images, the run folder, the model to begin with and minutes."""

LEAST_IMAGES = 2
"""One to learn from and one to judge by."""

_MODEL = Path("run") / "model"
# A checkpoint holds the weights several times, with what the optimiser knows of each, and is
# written anew beside the old one.
_NETWORKS = 16
# Packed images: three channels of 16 bits at all sizes, and four maps of 8 bits.
_PACKED_BYTES = 12
_SCRAPS = (Path("run") / "packed", Path("run") / "checkpoint.pt")
_STOP_SECONDS = 20.0


def train_command(
    data: Path, run: Path, base: ModelFolder, minutes: float, *, patches: int | None = None
) -> list[str]:
    """``cellrim train FOLDER``, made to end its schedule, not to break it off, in time.

    Parameters
    ----------
    data, run, base, minutes
        As for :data:`Command`.
    patches
        Length where the time does not end it before; the command's own where left out.
    """
    length = [] if patches is None else ["--patches", str(patches)]
    return [
        *(sys.executable, "-m", "cellrim", "train", str(data)),
        *("--from", str(base.path), "--out", str(run)),
        *("--anneal-minutes", f"{minutes:g}", "--workers", "1"),
        *length,
    ]


def why_not() -> str | None:
    """Say why nothing can be trained here; None if it can."""
    if find_spec("torch") is None:
        return str(MissingExtraError("Training", "train"))
    return None


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was trained here: its name, its bytes, and when (seconds since 1970)."""

    name: str
    size: int
    created: float


def training_bytes(corrected: CorrectedSet, base: ModelFolder) -> int:
    """Bytes that a training may need on the disk: copies of the images, and its state."""
    images = list((corrected.folder / IMAGES).glob("*"))
    pixels = sum(read_extent(path).pixels for path in images)
    network = base.network.stat().st_size
    return bytes_below(corrected.folder) + pixels * _PACKED_BYTES + network * _NETWORKS


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
        self._expected = 0
        self._lock = threading.Lock()

    def tidy(self) -> None:
        """Leave of earlier trainings the models and reports; for the start, before any runs."""
        for folder in self.folder.glob("*"):
            if (folder / _MODEL).is_dir():
                _remove_scraps(folder)
            else:
                _remove(folder)

    def models(self) -> Iterator[Path]:
        """Model folders that earlier trainings made."""
        yield from sorted(p.parent for p in self.folder.glob(f"*/{_MODEL.as_posix()}/card.json"))

    def trained(self) -> list[Trained]:
        """Return the models that can be used, the oldest first."""
        busy = self.training.model if self.training.state == "training" else None
        folders = [path.parents[1] for path in self.models() if path.parents[1].name != busy]
        found = [
            Trained(folder.name, bytes_below(folder), (folder / _MODEL).stat().st_mtime)
            for folder in folders
        ]
        return sorted(found, key=lambda model: model.created)

    def remove(self, name: str) -> None:
        """Remove a model for good.

        Raises
        ------
        ApiError
            ``not-found`` if there is none of this name, ``conflict`` if a training needs it.
        """
        with self._lock:
            if name not in [model.name for model in self.trained()]:
                raise ApiError("not-found", f"No model {name} was trained here.")
            if self.training.is_busy and name in (self.training.base, self.training.model):
                raise ApiError("conflict", f"The training needs {name}: wait for it, or stop it.")
            _remove(self.folder / name)

    def used_bytes(self) -> int:
        """Bytes of all models; of one in training at least those that it will need."""
        if not self.training.is_busy:
            return bytes_below(self.folder)
        own = bytes_below(self.folder / self.training.model)
        return bytes_below(self.folder) - own + max(own, self._expected)

    def removable(self) -> tuple[Old, ...]:
        """Return nothing: a model that was trained goes only when somebody says so."""
        return ()

    def start(
        self, corrected: CorrectedSet, base: ModelFolder, *, minutes: float, size: int
    ) -> None:
        """Begin a training; :meth:`wait` follows it.

        Parameters
        ----------
        corrected, base, minutes
            What to learn from, the model to begin with, and how long.
        size
            Of :func:`training_bytes`.

        Raises
        ------
        ApiError
            ``conflict`` if one is running, or there are too few images.
        """
        if reason := why_not():
            raise ApiError("conflict", reason)
        images = corrected.all()
        if len(images) < LEAST_IMAGES:
            raise ApiError(
                "conflict",
                f"Expected at least {LEAST_IMAGES} corrected images, one to learn from and one "
                f"to judge by, but the set has {len(images)}: correct another one and add it.",
            )
        with self._lock:
            if self.training.is_busy:
                raise ApiError("conflict", "A training is running already: wait or stop it.")
            name = self._new_name(base.card.name)
            self._expected = size
            self.training = Training(
                "training",
                base=base.card.name,
                model=name,
                minutes=minutes,
                begun=time.monotonic(),
                names={image.key: image.name for image in images},
            )
        try:
            corrected.snapshot(self._data)
            command = self.command(self._data, self.folder / name / "run", base, minutes)
            self._process = process.start(command)
        except (OSError, CellrimError) as error:
            self._end("failed", str(error))
            _remove(self.folder / name)
            raise

    def wait(self) -> Path | None:
        """Follow the training to its end; returns the model folder if there is one."""
        training, running = self.training, self._process
        assert running is not None
        for line in process.lines(running):
            training.hear(self._in_words(line))
        code = running.wait()
        model = self.folder / training.model / _MODEL
        if training.state == "stopped" or code != 0 or not model.is_dir():
            if training.state != "stopped":
                last = training.log[-1] if training.log else f"it ended with code {code}"
                self._end("failed", f"The training failed: {last}")
            _remove(self.folder / training.model)
            return None
        training.done = 1.0
        training.state = "comparing"
        return model

    def held_back(self) -> dict[str, bool]:
        """Keys of the images of this training, and whether it did not see them."""
        unseen = {sample.name for sample in split(open_dataset(self._data).samples)[1]}
        keys = sorted(path.stem for path in (self._data / IMAGES).iterdir())
        return {key: key in unseen for key in keys}

    def image_path(self, key: str) -> Path:
        """Where the image of that key is, as it was trained on."""
        (path,) = (self._data / IMAGES).glob(f"{key}.*")
        return path

    def compare(self, key: str, models: tuple[Segmenter, Segmenter], *, held_back: bool) -> None:
        """Segment an image with both models and note how well; blocks."""
        self.training.comparison.append(
            compare(
                read_image(self.image_path(key)),
                read_labels(self._data / LABELS / f"{key}.tif"),
                models,
                key=key,
                name=self.training.names.get(key, key),
                held_back=held_back,
            )
        )

    def finish(self) -> None:
        """Note that all is done; what only the training needed goes."""
        _remove_scraps(self.folder / self.training.model)
        self._end("finished", None)

    def fail(self, reason: str) -> None:
        """Note that something went wrong after the training."""
        self._end("failed", self._in_words(reason))

    def stop(self) -> None:
        """Call the training off."""
        running = self._process
        if self.training.state != "training" or running is None:
            return
        self._end("stopped", None)
        running.terminate()
        try:
            running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()

    @property
    def _data(self) -> Path:
        # The model is called by the folder of its images.
        return self.folder / self.training.model / self.training.model

    def _in_words(self, text: str) -> str:
        """Call images by their names, and leave out where the server keeps its files."""
        for key, name in self.training.names.items():
            text = text.replace(key, name)
        return text.replace(f"{self.folder}{os.sep}", "")

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


def _remove_scraps(folder: Path) -> None:
    """Remove what a training needs and nobody afterwards: copies of the images, and its state."""
    for scrap in (folder.name, *_SCRAPS):
        _remove(folder / scrap)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
