"""BBBC007 v1: *Drosophila* Kc167 cells, DNA and actin, with outlines of nuclei and of cells.

https://bbbc.broadinstitute.org/BBBC007. The two channels of a field are two files, named in three
ways. The outline of the DNA file is that of the nuclei, the outline of the actin file that of the
cells.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from cellrim.datasets.base import Listing, Problem, Sample
from cellrim.datasets.records import (
    files_below,
    missing_annotations,
    read_outline_truth,
    read_planes,
    reject_options,
    require_choice,
    size_problem,
)
from cellrim.io.outlines import outline_labels

IMAGES = "BBBC007_v1_images"
OUTLINES = "BBBC007_v1_outlines"
SUFFIXES = (".tif", ".tiff")
TARGETS = ("cells", "nuclei")
MODALITIES = {"cells": "fluorescence-cells", "nuclei": "fluorescence-nuclei"}
# The three ways, in the order in which they must be tried: f96 (17) and f9620, f113, A9.
NAMES = (
    re.compile(r"(?P<field>.+)_(?P<stain>[DF])_[12]UL"),
    re.compile(r"(?P<field>.+)d(?P<stain>[01])"),
    re.compile(r"(?P<field>.+)(?P<stain>[df])"),
)
STAINS = {"D": "DNA", "0": "DNA", "d": "DNA", "F": "actin", "1": "actin", "f": "actin"}


class Bbbc007:
    """``BBBC007_v1_images/<plate>/*.tif``, ``BBBC007_v1_outlines/`` with the same paths."""

    name = "bbbc007"
    title = "BBBC007 v1: Drosophila Kc167 cells, DNA and actin, outlines"
    licence = "CC BY 3.0"

    def matches(self, root: Path) -> bool:
        """Whether the folder of the images is there; the outlines may be missing."""
        return (root / IMAGES).is_dir()

    def read(self, root: Path, **options: Any) -> Listing:
        """List the fields, each with the channels ``DNA`` and ``actin``, or ``DNA`` alone.

        Parameters
        ----------
        root
            The folder that has the folder of the images.
        options
            ``target``: ``cells`` or ``nuclei``, whose outlines to use. Where left out, those of
            the cells for fields with actin, and of the nuclei for fields without.

        Raises
        ------
        InputError
            If an option is unknown.
        """
        reject_options(self.name, options, known=("target",))
        target = options.get("target")
        if target is not None:
            require_choice(target, TARGETS, what="target")
        fields, problems = _fields(root / IMAGES)
        outlines = {name: _outline(root, channels, target) for name, channels in fields.items()}
        found = {name: path for name, path in outlines.items() if path.is_file()}
        problems += missing_annotations(fields, found, what="outline")
        samples = []
        for name, channels in fields.items():
            if found and name not in found:
                continue
            outline = found.get(name)
            paths = (*channels.values(), *([outline] if outline else []))
            problem = size_problem(name, paths)
            if problem:
                problems += (problem,)
                continue
            samples.append(self._sample(name, channels, outline, target or _target(channels)))
        return Listing(self.name, tuple(samples), problems)

    def _sample(
        self, name: str, channels: dict[str, Path], outline: Path | None, target: str
    ) -> Sample:
        images = tuple(channels.values())
        return Sample(
            dataset=self.name,
            name=name,
            paths=(*images, outline) if outline else images,
            kind="outline" if outline else "none",
            group=name,
            modality=MODALITIES[target],
            licence=self.licence,
            read_image=partial(read_planes, images, tuple(channels)),
            read_truth=partial(read_outline_truth, outline, image=images[0], rule=outline_labels)
            if outline
            else None,
        )


READER = Bbbc007()


def _fields(images: Path) -> tuple[dict[str, dict[str, Path]], tuple[Problem, ...]]:
    """Files of each field by channel, DNA first."""
    fields: dict[str, dict[str, Path]] = {}
    problems = []
    for path in files_below(images, SUFFIXES):
        record = path.relative_to(images).with_suffix("").as_posix()
        match = next(filter(None, (name.fullmatch(record) for name in NAMES)), None)
        if match is None:
            problems.append(Problem(record, f"The name {path.name} tells no channel."))
            continue
        fields.setdefault(match["field"], {})[STAINS[match["stain"]]] = path
    for name in [name for name, channels in fields.items() if "DNA" not in channels]:
        path = fields.pop(name)["actin"]
        problems.append(Problem(name, f"{path.name} has no DNA image beside it."))
    return {
        name: dict(sorted(channels.items())) for name, channels in sorted(fields.items())
    }, tuple(problems)


def _target(channels: dict[str, Path]) -> str:
    return "cells" if "actin" in channels else "nuclei"


def _outline(root: Path, channels: dict[str, Path], target: str | None) -> Path:
    """Where the outline is, if it is: the same path as the image of its channel.

    The outlines of the cells are beside those of the nuclei whether or not the actin image is
    here, but their name is only known by it.
    """
    stain = "actin" if (target or _target(channels)) == "cells" else "DNA"
    image = channels.get(stain)
    if image is None:
        return root / OUTLINES / "unknown"
    return root / OUTLINES / image.relative_to(root / IMAGES)
