"""One image of any size to one label file with a name of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cellrim._version import __version__
from cellrim.core.channels import Channel
from cellrim.errors import UsageError
from cellrim.io.atomic import atomic_path, remove
from cellrim.io.exports import FORMATS
from cellrim.io.images import is_zarr
from cellrim.io.regions import image_size
from cellrim.io.zarrs import require_zarr
from cellrim.measure import summarise
from cellrim.measure.quality import flags
from cellrim.prediction.large import (
    Report,
    Store,
    asked_hash,
    check_streamed,
    segment_large,
)
from cellrim.prediction.records import remove_outputs
from cellrim.prediction.request import Request
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.tables import check_formats
from cellrim.prediction.workers import Workers
from cellrim.representation.flow import DecodeOptions

STREAMED_PIXELS = 64_000_000
"""Images of more pixels than this (8000 x 8000) are streamed by themselves."""

LABEL_ENDINGS = (".ome.zarr", ".zarr", ".ome.tiff", ".ome.tif", ".tiff", ".tif")
"""An output with one of these endings is a label file, any other a folder."""


@dataclass(frozen=True, slots=True)
class SinglePlan:
    """A run for one image that has been checked and can start.

    Parameters
    ----------
    source, out
        The image and the label file.
    load, segmenter
        How a worker gets the model, and the model.
    channels, diameter, options
        What is asked for.
    save
        Of :data:`~cellrim.prediction.large.result.STREAMED`; labels are always written.
    resume
        Whether to go on from an earlier run.
    """

    source: Path
    out: Path
    load: Callable[[], Segmenter]
    segmenter: Segmenter
    channels: tuple[Channel, ...] | None
    diameter: float | None
    options: DecodeOptions
    save: tuple[str, ...]
    resume: bool

    @property
    def base(self) -> Path:
        """The output without its ending; other results add theirs to it."""
        return self.out.with_name(_without_ending(self.out.name))

    def beside(self, kind: str) -> Path:
        """Where a result of another kind goes."""
        return self.base.with_name(self.base.name + FORMATS[kind].ending)

    @property
    def work(self) -> Path:
        """Where unfinished results are kept."""
        return self.out.with_name(f".{self.out.name}.unfinished")

    @property
    def summary(self) -> Path:
        """Written last: what was done."""
        return self.base.with_name(self.base.name + "_run.json")

    @property
    def asked(self) -> str:
        """Identifies the image and all that is asked for."""
        return asked_hash(
            self.source,
            self.segmenter,
            channels=self.channels,
            diameter=self.diameter,
            options=self.options,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run for one image did."""

    cells: int
    diameter: float
    seconds: float
    done_before: bool = False


def is_label_file(path: Path) -> bool:
    """Whether an output is one label file rather than a folder."""
    return path.name.lower().endswith(LABEL_ENDINGS)


def is_streamed(path: Path, request: Request) -> bool:
    """Whether an image is streamed by itself: one plane of more than ``STREAMED_PIXELS``.

    With options that say what its axes or its pixel size are, it is read whole as they say.
    """
    if _read_whole(request):
        return False
    return is_large(path)


def is_large(path: Path) -> bool:
    """Whether an image is one plane of more than ``STREAMED_PIXELS``, by its metadata alone."""
    size = image_size(path)
    return size is not None and size[0] * size[1] > STREAMED_PIXELS


def plan_single(
    inputs: Sequence[str | Path],
    out: Path,
    *,
    load: Callable[[], Segmenter],
    request: Request,
    existing: str,
) -> SinglePlan:
    """Check that a run can work, before any work.

    Raises
    ------
    UsageError
        If there is not one image, the output is the input, or is there already.
    MissingExtraError
        If the output is zarr and zarr is not installed.
    """
    if _read_whole(request):
        raise UsageError(
            "Expected a folder as the output with --axes, --scene, --pixel-size, --project, "
            f"--track, --target or --accurate, but got {out}."
        )
    check_streamed(request.save)
    check_formats(request.save, parquet=False)
    if len(inputs) != 1:
        raise UsageError(
            f"Expected one image for the label file {out}, but got {len(inputs)} inputs: give a "
            "folder as the output for several."
        )
    source = Path(inputs[0])
    if not (source.is_file() or source.is_dir()):
        raise UsageError(f"Expected an image, but {source} does not exist.")
    if source.is_dir() and not is_zarr(source):
        raise UsageError(
            f"Expected one image for the label file {out}, but {source} is a folder and no zarr: "
            "give a folder as the output for several images."
        )
    if source.resolve() == out.resolve() or source.resolve() in out.resolve().parents:
        raise UsageError(f"Expected another output than the image itself, but got {out}.")
    if out.name.lower().endswith(".zarr") or source.is_dir():
        require_zarr()
    segmenter = load()
    plan = SinglePlan(
        source,
        out,
        load,
        segmenter,
        channels=request.channels,
        diameter=request.diameter,
        options=segmenter.card.decode_options(request.min_confidence),
        save=request.save,
        resume=existing == "resume",
    )
    if existing == "refuse":
        for path in (out, plan.work, plan.summary):
            if path.exists():
                raise UsageError(
                    f"{path} is there already: --resume goes on from it, --overwrite replaces it, "
                    "or choose another output."
                )
    return plan


def run_single(
    plan: SinglePlan, *, workers: Workers | None = None, report: Report | None = None
) -> Summary:
    """Segment the image of a plan.

    Raises
    ------
    CellrimError
        Whatever goes wrong; what is finished is kept, and a plan that resumes goes on from there.
    """
    before = _finished(plan)
    if before is not None:
        return before
    clock = time.perf_counter()
    # Other results of an earlier run would not fit the new ones; its labels stay until replaced.
    remove_outputs(plan.out.parent, [n for n in _outputs(plan) if n != plan.out.name])
    remove(plan.summary)
    result = segment_large(
        plan.source,
        plan.work,
        load=plan.load,
        channels=plan.channels,
        diameter=plan.diameter,
        options=plan.options,
        workers=workers,
        resume=plan.resume,
        report=report,
    )
    paths = {kind: plan.beside(kind) for kind in plan.save} | {"labels": plan.out}
    kinds = tuple(dict.fromkeys(("labels", *plan.save)))
    for kind in kinds:
        result.save(kind, paths[kind], name=plan.base.name)
    quality = result.quality
    seconds = time.perf_counter() - clock
    card = plan.segmenter.card
    about = {
        "format": 1,
        "cellrim": __version__,
        "model": {"name": card.name, "version": card.version, "sha256": card.sha256},
        "devices": result.devices,
        "source": str(plan.source.absolute()),
        "asked": plan.asked,
        "outputs": [paths[kind].name for kind in kinds],
        "cells": result.count,
        "diameter": result.diameter,
        "summary": summarise(result.cells, result.image) if "cells" in kinds else {},
        "quality": quality.as_numbers(),
        "flags": flags(quality),
        "seconds": round(seconds, 3),
    }
    with atomic_path(plan.summary) as partial:
        partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    Store(plan.work).remove()
    return Summary(result.count, result.diameter, seconds)


def _finished(plan: SinglePlan) -> Summary | None:
    """Say what an earlier run did, where the same was asked and is still there."""
    if not plan.resume or not plan.out.exists():
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads(plan.summary.read_text(encoding="utf-8"))
        there = all((plan.out.parent / name).exists() for name in about["outputs"])
        if there and about["asked"] == plan.asked:
            return Summary(about["cells"], about["diameter"], 0.0, done_before=True)
    return None


def _outputs(plan: SinglePlan) -> tuple[str, ...]:
    """Names of the files that an earlier run wrote."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads(plan.summary.read_text(encoding="utf-8"))
        return tuple(str(name) for name in about["outputs"])
    return ()


def _without_ending(name: str) -> str:
    end = next(e for e in LABEL_ENDINGS if name.lower().endswith(e))
    return name[: -len(end)]


def _read_whole(request: Request) -> bool:
    """Whether there are options that only images in memory know."""
    asked = request.axes is not None or request.scene is not None
    asked = asked or request.project is not None or request.track
    asked = asked or request.target is not None or request.accurate
    return asked or request.pixel_size != "read"
