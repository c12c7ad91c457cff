"""What a run is asked for, checked before any work, and what it has to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cellrim.core.channels import Channel
from cellrim.core.stack import Projection
from cellrim.errors import UsageError
from cellrim.io.images import PixelSize
from cellrim.io.sources import Scene, check_asked_axes, check_pixel_size
from cellrim.prediction.inputs import DEFAULT_SAVE, OUTPUT_ENDINGS, Job
from cellrim.prediction.records import Record
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.targets import TARGETS, Target

Existing = Literal["refuse", "resume", "overwrite"]
"""What to do with results that are there already."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, the same for every image of a run.

    Parameters
    ----------
    diameter
        Typical cell diameter in pixels; estimated for each image where None.
    channels
        Channels to use, by number or name; all where None.
    save
        Kinds of results: keys of :data:`~cellrim.prediction.inputs.OUTPUT_ENDINGS`.
    min_confidence
        Cells of a lower confidence are left out, 0..1; the model card's where None.
    parquet
        Whether the tables of the run are written as Parquet too.
    axes, pixel_size
        As for :func:`~cellrim.io.images.read_image`.
    scene
        As for :func:`~cellrim.prediction.inputs.find_jobs`, whose jobs say which one each reads.
    project
        How the slices of a stack become one plane; each is segmented where None.
    track
        Whether cells are linked over time.
    target, nucleus
        As for :func:`~cellrim.prediction.targets.segment_target`; the channel also by its name.
    accurate
        Whether the segmenter is an accurate one, which takes whole images only.
    report
        Whether to write ``report.html``; it changes no result.

    Raises
    ------
    UsageError
        If a value cannot work with any image.
    """

    diameter: float | None = None
    channels: tuple[Channel, ...] | None = None
    save: tuple[str, ...] = DEFAULT_SAVE
    min_confidence: float | None = None
    axes: str | None = None
    pixel_size: PixelSize = "read"
    scene: Scene | None = None
    project: Projection | None = None
    track: bool = False
    target: Target | None = None
    nucleus: Channel | None = None
    accurate: bool = False
    parquet: bool = False
    report: bool = False

    def __post_init__(self) -> None:
        self._check_target()
        if self.diameter is not None and not 0 < self.diameter < float("inf"):
            raise UsageError(f"Expected a diameter above 0 pixels, but got {self.diameter}.")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(
                f"Expected a minimal confidence from 0 to 1, but got {self.min_confidence}."
            )
        if self.channels is not None and not _are_channels(self.channels):
            raise UsageError(
                "Expected one to three different channels, by name or by number from 0 on, but "
                f"got {list(self.channels)}."
            )
        self._check_stack_options()
        unknown = [kind for kind in self.save if kind not in OUTPUT_ENDINGS]
        if unknown or not self.save:
            raise UsageError(
                f"Expected what to save out of {', '.join(OUTPUT_ENDINGS)}, but got "
                f"{', '.join(unknown) or 'nothing'}."
            )

    def _check_stack_options(self) -> None:
        if self.axes is not None:
            check_asked_axes(self.axes)
        if self.project not in (None, "max"):
            raise UsageError(f"Expected the projection max, but got {self.project!r}.")
        if not isinstance(self.pixel_size, str):
            check_pixel_size(self.pixel_size)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of results that are written: for both targets, two label images instead of one."""
        paired = self.target == "both" and "labels" in self.save
        return (*self.save, "nuclei") if paired else self.save

    def _check_target(self) -> None:
        if self.target is not None and self.target not in TARGETS:
            raise UsageError(
                f"Expected a target out of {', '.join(TARGETS)}, but got {self.target!r}."
            )
        if self.nucleus is None:
            return
        if self.target not in ("nuclei", "both"):
            raise UsageError(
                "Expected the target nuclei or both where the nuclear channel is given, but got "
                f"{self.target or 'no target'}."
            )
        if isinstance(self.nucleus, int) and self.nucleus < 0:
            raise UsageError(f"Expected a channel number from 0 on, but got {self.nucleus}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has been checked and can start.

    Parameters
    ----------
    jobs, out, request, segmenter
        What to do, and with what.
    done
        Records of images that need not be done again, by target.
    images
        How many images the run has, where ``jobs`` does not say it.
    stale
        Files of an earlier run, below ``out``, that are not to stay beside the new ones.
    """

    jobs: tuple[Job, ...]
    out: Path
    request: Request
    segmenter: Segmenter
    done: Mapping[str, Record]
    images: int = 0
    stale: tuple[str, ...] = ()


def _are_channels(channels: tuple[Channel, ...]) -> bool:
    negative = any(isinstance(c, int) and c < 0 for c in channels)
    return 1 <= len(channels) <= 3 and not negative and len(set(channels)) == len(channels)
