"""One image that somebody works on in the page: pixels, maps, labels.

Everything large lies on the disk and is mapped into memory, so that what an image takes in memory
is what is being looked at. The maps of the network are kept beside the labels: another threshold
decodes them again, and the network does not run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, relabel
from cellrim.core.resize import resize
from cellrim.io.overlay import display
from cellrim.measure.cells import measure_cells
from cellrim.prediction.result import Result
from cellrim.prediction.segmenter import Prediction, Segmenter
from cellrim.server.options import Cost
from cellrim.server.problems import ApiError
from cellrim.server.space import bytes_below
from cellrim.server.workspace.edited import EditedLabels
from cellrim.server.workspace.editing import Box, Change, replace_all

State = Literal["waiting", "working", "ready", "failed"]

_LARGEST_VIEW = 8192
# Mean brightness (0..1) from which on a picture counts as light.
_LIGHT = 0.6
LABEL_BYTES, _MAPS_BYTES, _VALUE_BYTES = 4, 16, 4
"""On the disk, at most: for each pixel of labels and of maps, and each number of the image."""
UPLOAD = "0"
"""What the file that came is called in a picture's folder."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the labels were made.

    Parameters
    ----------
    model
        Name of the model.
    asked_diameter
        What was asked for, in pixels; None for estimated.
    diameter
        What was used, in pixels.
    channels
        Channels that the network saw; None for all.
    threshold
        Foreground probability, 0..1.
    min_confidence
        Cells below it are hidden, and left out of everything that is given out.
    asked_confidence
        Whether a person chose that; else it is the model's, by what the image shows.
    """

    model: str
    asked_diameter: float | None = None
    diameter: float | None = None
    channels: tuple[int, ...] | None = None
    threshold: float = 0.5
    min_confidence: float = 0.0
    asked_confidence: bool = False


@dataclass
class Picture:
    """One image in work.

    Parameters
    ----------
    key
        Random; also the name of its folder.
    name
        What the client calls it; text to show.
    folder
        Where its files are; the upload is called ``0``.
    cost
        What segmenting it takes.
    settled
        How its labels are made.
    upload_bytes
        Of the file as it came.
    """

    key: str
    name: str
    folder: Path
    cost: Cost
    settled: Settled
    upload_bytes: int = 0
    state: State = "waiting"
    error: str | None = None
    begun: float = field(default_factory=time.monotonic)
    ended: float | None = None
    used: float = field(default_factory=time.monotonic)
    edits: int = 0
    edited: EditedLabels | None = None
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    channels: tuple[str, ...] = ()
    pixel_size: float | None = None
    _measured: tuple[tuple[int, float], dict[str, NDArray[Any]]] | None = field(
        default=None, repr=False
    )

    @property
    def seconds(self) -> float:
        """How long it has been waiting or worked on, or was worked on."""
        return (self.ended or time.monotonic()) - self.begun

    def begin(self, state: State) -> None:
        """Note that it waits, or is worked on."""
        self.state, self.begun, self.ended, self.error = state, time.monotonic(), None, None

    def end(self, error: str | None) -> None:
        """Note that the work is done; after a failure, old labels stay usable if there are any."""
        self.state = "failed" if error and self.edited is None else "ready"
        self.error, self.ended = error, time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether it waits to be segmented, or is."""
        return self.state in ("waiting", "working")

    @property
    def size(self) -> int:
        """Bytes on the disk; while it waits or is worked on at least what it will have."""
        there = bytes_below(self.folder)
        return max(there, self.size_when(self.state)) if self.is_busy else there

    def size_when(self, state: State) -> int:
        """Bytes that it will have on the disk, but for corrections.

        Parameters
        ----------
        state
            How large the maps become is only known once it is segmented. While it is ``working``
            they count as large as they may become, before as large as the image.
        """
        maps = self.cost.network if state == "working" else self.cost.pixels
        return (
            self.upload_bytes
            + self.cost.values * _VALUE_BYTES
            + maps * _MAPS_BYTES
            + self.cost.pixels * LABEL_BYTES
        )

    @property
    def upload(self) -> Path:
        """The file as it came."""
        return self.folder / UPLOAD

    @cached_property
    def image(self) -> Image:
        """The image, mapped from the disk."""
        pixels = np.load(self.folder / "image.npy", mmap_mode="r")
        return Image(np.asarray(pixels), self.channels, self.pixel_size)

    @cached_property
    def is_light(self) -> bool:
        """Whether dark lines are seen better on it than light ones."""
        step = max(1, min(self.image.shape) // 256)
        small = replace(self.image, pixels=np.ascontiguousarray(self.image.pixels[::step, ::step]))
        return bool(display(small).mean() > _LIGHT * 255)

    def keep_image(self, image: Image) -> None:
        """Write the decoded image beside the upload."""
        np.save(self.folder / "image.npy", image.pixels)
        self.channels, self.pixel_size = image.channels, image.pixel_size

    def labelled(self) -> EditedLabels:
        """Return the labels.

        Raises
        ------
        ApiError
            ``conflict`` while there are none.
        """
        if self.edited is None:
            raise ApiError(
                "conflict", self.error or f"{self.name} is not segmented yet: wait a little."
            )
        return self.edited

    def segment(self, segmenter: Segmenter, settled: Settled) -> None:
        """Run the network, keep its maps, and make labels of them."""
        prediction = segmenter.predict(
            self.image, channels=settled.channels, diameter=settled.asked_diameter
        )
        np.save(self.folder / "maps.npy", prediction.maps)
        settled = replace(settled, diameter=prediction.diameter)
        self._relabel(segmenter, prediction, settled)

    def decode_again(self, segmenter: Segmenter, settled: Settled) -> None:
        """Make labels of the maps that are there already."""
        maps = np.load(self.folder / "maps.npy", mmap_mode="r")
        assert settled.diameter is not None
        prediction = Prediction(np.asarray(maps), self.image.shape, settled.diameter)
        self._relabel(segmenter, prediction, settled)

    def _relabel(self, segmenter: Segmenter, prediction: Prediction, settled: Settled) -> None:
        # All cells are kept: which of them are shown is a matter of a moment.
        card = segmenter.card
        options = replace(card.decode_options(0.0), foreground_threshold=settled.threshold)
        labels, sure = segmenter.decode(prediction, options)
        if not settled.asked_confidence:
            settled = replace(settled, min_confidence=card.least_shown(sure))
        with self.lock:
            self.settled = settled
            if self.edited is None:
                confidence = {i: float(v) for i, v in enumerate(sure, start=1)}
                self.edited = EditedLabels(self._map_labels(labels), confidence, folder=self.folder)
            else:
                old = self.edited
                old.apply(replace_all(old.labels, labels, old.confidence, sure))
            self.edits = 0

    def _map_labels(self, labels: Labels) -> Labels:
        path = self.folder / "labels.npy"
        np.save(path, labels)
        mapped: Labels = np.load(path, mmap_mode="r+")
        return mapped

    def edit(self, make: Callable[[EditedLabels], Change | Box]) -> Box:
        """Correct the labels; returns where they are new.

        Parameters
        ----------
        make
            Gives a change to apply, or has undone or redone one and gives its box.
        """
        with self.lock:
            edited = self.labelled()
            made = make(edited)
            if isinstance(made, Change):
                self.edits += 1
                return edited.apply(made)
            return made

    def shown_labels(self) -> Labels:
        """Labels without the cells that are hidden; ids as they are."""
        edited = self.labelled()
        table = np.zeros(int(edited.labels.max(initial=0)) + 1, np.int32)
        shown = [i for i, v in edited.confidence.items() if v >= self.settled.min_confidence]
        table[shown] = shown
        result: Labels = table[edited.labels]
        return result

    def result(self) -> Result:
        """Return what is shown as any prediction is given out: ids 1..n in the order of old ids."""
        with self.lock:
            labels = self.shown_labels()
            confidence = self.labelled().confidence
            present = np.unique(labels)
        sure = np.array([confidence[int(i)] for i in present if i > 0], np.float32)
        return Result(relabel(labels), sure, self.settled.diameter or 0.0, self.image)

    def measurements(self) -> dict[str, NDArray[Any]]:
        """Measure the cells that are shown; ids as they are."""
        with self.lock:
            key = (self.labelled().revision, self.settled.min_confidence)
            if self._measured is not None and self._measured[0] == key:
                return self._measured[1]
            labels = self.shown_labels()
            confidence = dict(self.labelled().confidence)
        ids = np.unique(labels)
        sure = np.array([confidence[int(i)] for i in ids if i > 0], np.float32)
        columns = measure_cells(labels, self.image, confidence=sure).columns
        self._measured = (key, columns)
        return columns

    def count(self) -> int:
        """How many cells are shown."""
        if self.edited is None:
            return 0
        least = self.settled.min_confidence
        return sum(v >= least for v in self.edited.confidence.values())

    def view(self, channel: int | None, most: int) -> NDArray[np.uint8]:
        """Return the picture for the eye, stretched to its range.

        Parameters
        ----------
        channel
            One channel in grey; None for all of them in colour.
        most
            Longest edge; larger pictures are made smaller.
        """
        image = self.image
        if channel is not None:
            if not 0 <= channel < len(image.channels):
                raise ApiError(
                    "wrong-input",
                    f"Expected a channel from 0 to {len(image.channels) - 1}, but got {channel}.",
                )
            image = replace(image.select((channel,)), channels=("grey",))
        return _within(image, min(most, _LARGEST_VIEW))


def _within(image: Image, most: int) -> NDArray[np.uint8]:
    """Stretch and make small; every other pixel first where far fewer are wanted."""
    longest = max(image.shape)
    step = max(1, longest // (2 * most))
    if step > 1:
        image = replace(image, pixels=np.ascontiguousarray(image.pixels[::step, ::step]))
    rgb = display(image)
    grey = len(image.channels) == 1
    factor = most / max(image.shape)
    if factor < 1:
        height, width = (max(1, round(n * factor)) for n in image.shape)
        small = resize(rgb.astype(np.float32), (height, width))
        rgb = np.clip(small + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(rgb[:, :, 0]) if grey else rgb
