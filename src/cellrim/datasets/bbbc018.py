"""BBBC018 v1: human HT29 cells, DNA, pH3 and actin, with outlines of nuclei and of cells.

https://bbbc.broadinstitute.org/BBBC018. The images are Windows bitmaps of 8 bits, with or without
the file header, or the 16-bit bitmaps that a Cellomics ArrayScan writes, whose rows run from the
top down. The outlines are drawn either way up, which the signal tells. Field 10779 has none.
"""

from __future__ import annotations

import re
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.datasets.records import (
    files_below,
    missing_annotations,
    read_outline_truth,
    reject_options,
    require_choice,
    require_one_size,
    size_problem,
)
from cellrim.errors import ImageReadError
from cellrim.io.images import read_bytes, read_image
from cellrim.io.outlines import outline_labels

CHANNELS = ("DNA", "pH3", "actin")
TARGETS = ("cells", "nuclei")
MODALITIES = {"cells": "fluorescence-cells", "nuclei": "fluorescence-nuclei"}
# The channel that shows what the outlines are about.
SIGNAL = {"cells": "actin", "nuclei": "DNA"}
WITHOUT_OUTLINES = frozenset({"10779"})
IMAGE_NAME = re.compile(r"(?P<field>\d+)-(?P<channel>DNA|pH3|actin)\.dib", re.IGNORECASE)
OUTLINE_NAME = re.compile(r"(?P<field>\d+)-(?P<target>nuclei|cells)\.png", re.IGNORECASE)
# Turned outlines must follow the signal better by this much (Pearson's r) to be taken as such:
# chance is far below, and real outlines turned the wrong way are far above.
CLEARLY_BETTER = 0.1
_HEADER = struct.Struct("<IiiHHI")
_HEADER_SIZE = 40
_PIXELS_AT = 52


class Bbbc018:
    """``NNNNN-DNA.DIB``, ``-pH3.DIB``, ``-actin.DIB``; ``NNNNN-nuclei.png``, ``-cells.png``."""

    name = "bbbc018"
    title = "BBBC018 v1: human HT29 cells, DNA, pH3 and actin, outlines of nuclei and cells"
    licence = "CC BY-NC-SA 3.0"

    def matches(self, root: Path) -> bool:
        """Whether there is an image of this name in the folder or one below it."""
        if not root.is_dir():
            return False
        return any(
            IMAGE_NAME.fullmatch(path.name)
            for pattern in ("*", "*/*")
            for path in root.glob(pattern)
        )

    def read(self, root: Path, **options: Any) -> Listing:
        """List the fields with one of their two annotations.

        Parameters
        ----------
        root
            The folder with the images and outlines, at any depth.
        options
            ``target``: ``cells`` (default) or ``nuclei``, whose outlines to use.

        Raises
        ------
        InputError
            If an option is unknown.
        """
        reject_options(self.name, options, known=("target",))
        target = options.get("target", TARGETS[0])
        require_choice(target, TARGETS, what="target")
        fields = _by_field(root, (".dib",), IMAGE_NAME, part="channel", parts=CHANNELS)
        drawn = _by_field(root, (".png",), OUTLINE_NAME, part="target", parts=TARGETS)
        outlines = {field: paths[target] for field, paths in drawn.items() if target in paths}
        samples, problems = [], []
        for field, channels in fields.items():
            absent = [channel for channel in CHANNELS if channel not in channels]
            if absent:
                problems.append(Problem(field, f"It has no image of {' and '.join(absent)}."))
                continue
            outline = outlines.get(field)
            if outlines and not outline and field not in WITHOUT_OUTLINES:
                continue  # named below
            problem = size_problem(field, (*channels.values(), *([outline] if outline else [])))
            if problem:
                problems.append(problem)
                continue
            samples.append(self._sample(field, channels, outline, target=target))
        expected = [field for field in fields if field not in WITHOUT_OUTLINES]
        problems += missing_annotations(expected, outlines, what=f"outline of the {target}")
        problems += [
            Problem(field, f"The outline {path.name} has no image.")
            for field, path in outlines.items()
            if field not in fields
        ]
        return Listing(self.name, tuple(samples), tuple(problems))

    def _sample(
        self, field: str, channels: dict[str, Path], outline: Path | None, *, target: str
    ) -> Sample:
        images = tuple(channels.values())
        return Sample(
            dataset=self.name,
            name=field,
            paths=(*images, outline) if outline else images,
            kind="outline" if outline else "none",
            group=field,
            modality=MODALITIES[target],
            licence=self.licence,
            read_image=partial(read_dibs, images),
            read_truth=partial(read_truth, outline, signal=channels[SIGNAL[target]])
            if outline
            else None,
        )


READER = Bbbc018()


def read_dibs(paths: tuple[Path, ...]) -> Image:
    """Read the three channels of a field.

    Raises
    ------
    ImageReadError
        If a file cannot be read.
    DatasetError
        If they are not of one size.
    """
    planes = [_read_dib(path) for path in paths]
    require_one_size({path: plane.shape for path, plane in zip(paths, planes, strict=True)})
    return Image(np.stack(planes, axis=2), CHANNELS)


def read_truth(outline: Path, *, signal: Path) -> Truth:
    """Read the labels of a field, turned upside down where that is clearly how they were drawn.

    Parameters
    ----------
    outline
        The outline image.
    signal
        The image of the stain of what is outlined: bright inside.

    Raises
    ------
    ImageReadError
        If a file cannot be read.
    DatasetError
        If they are not of one size.
    """
    plane = _read_dib(signal)
    truth = read_outline_truth(outline, image=signal, rule=outline_labels)
    inside = truth.labels > 0
    if _correlation(inside[::-1], plane) > _correlation(inside, plane) + CLEARLY_BETTER:
        return Truth(np.ascontiguousarray(truth.labels[::-1]))
    return truth


def _by_field(
    root: Path,
    suffixes: tuple[str, ...],
    name: re.Pattern[str],
    *,
    part: str,
    parts: tuple[str, ...],
) -> dict[str, dict[str, Path]]:
    """Files of each field by channel or target, in the order of ``parts``."""
    spelling = {p.lower(): p for p in parts}
    found: dict[str, dict[str, Path]] = {}
    for path in files_below(root, suffixes):
        match = name.fullmatch(path.name)
        if match:
            found.setdefault(match["field"], {})[spelling[match[part].lower()]] = path
    return {
        field: {p: paths[p] for p in parts if p in paths} for field, paths in sorted(found.items())
    }


def _read_dib(path: Path) -> NDArray[Any]:
    """Read one plane: a 16-bit Cellomics bitmap, or any other as :func:`read_image` does."""
    data = read_bytes(path)
    if len(data) > _PIXELS_AT:
        header, width, height, _, bits, compression = _HEADER.unpack_from(data)
        if header == _HEADER_SIZE and bits == 16 and compression == 0 and width > 0 and height > 0:
            if len(data) < _PIXELS_AT + 2 * width * height:
                raise ImageReadError(f"Cannot read {path}: its pixels are cut off.")
            pixels = np.frombuffer(data, "<u2", width * height, _PIXELS_AT)
            return pixels.reshape(height, width).astype(np.uint16)
    plane: NDArray[Any] = read_image(path).pixels[:, :, 0]
    return plane


def _correlation(inside: NDArray[np.bool_], plane: NDArray[Any]) -> float:
    """Pearson's correlation of a mask with intensities; 0 where either is constant."""
    a = inside - inside.mean()
    b = plane - plane.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0
