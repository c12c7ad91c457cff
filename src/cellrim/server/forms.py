"""The forms in which results are given out. A new form is one line in :data:`FORMS`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cellrim.errors import InputError
from cellrim.io.atomic import atomic_path
from cellrim.io.overlay import write_png
from cellrim.prediction.result import Result
from cellrim.server.problems import ApiError

_MOST_PNG_LABELS = np.iinfo(np.uint16).max


class Writer(Protocol):
    """Writes a result to a path, whole or not at all."""

    def __call__(self, result: Result, path: Path, name: str = "image") -> None:
        """Write; ``name`` is what files call the image that hold its name."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a result.

    Parameters
    ----------
    media_type
        Of the file.
    ending
        How the file's name goes on after the image's.
    about
        What it is, in a few words.
    write
        See :class:`Writer`.
    """

    media_type: str
    ending: str
    about: str
    write: Writer


def _nameless(write: Callable[[Result, Path], None]) -> Writer:
    """Make a writer of one that writes no name."""

    def writer(result: Result, path: Path, name: str = "image") -> None:  # noqa: ARG001
        write(result, path)

    return writer


def _write_label_png(result: Result, path: Path) -> None:
    if result.count > _MOST_PNG_LABELS:
        raise InputError(
            f"Expected at most {_MOST_PNG_LABELS} cells in a PNG, but got {result.count}: "
            "ask for label-tiff."
        )
    write_png(path, result.labels.astype(np.uint16))


def _write_cells_json(result: Result, path: Path) -> None:
    columns = {name: _plain(values) for name, values in result.cells.columns.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    height, width = result.labels.shape
    _write_json(
        path,
        {
            "height": height,
            "width": width,
            "count": result.count,
            "diameter": result.diameter,
            "pixel_size": result.image.pixel_size,
            "cells": rows,
        },
    )


def _export(kind: str) -> Writer:
    """Write by the format of that kind in :mod:`cellrim.io.exports`; COCO names whole files."""

    def writer(result: Result, path: Path, name: str = "image") -> None:
        short = Path(name).stem or name
        result.save(kind, path, name=name if kind == "coco" else short)

    return writer


def _plain(values: np.ndarray[Any, Any]) -> list[Any]:
    """Plain numbers; None for NaN and infinity, which JSON does not have."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [v if np.isfinite(v) else None for v in values.tolist()]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


FORMS: dict[str, Form] = {
    "cells-json": Form(
        "application/json", "_cells.json", "a row per cell, as JSON", _nameless(_write_cells_json)
    ),
    "cells-csv": Form(
        "text/csv; charset=utf-8",
        "_cells.csv",
        "a row per cell, as CSV",
        _nameless(Result.save_cells),
    ),
    "label-tiff": Form(
        "image/tiff", "_labels.tif", "labels: one number per cell", _nameless(Result.save_labels)
    ),
    "label-png": Form(
        "image/png",
        "_labels.png",
        "labels: one number per cell, 16 bits",
        _nameless(_write_label_png),
    ),
    "overlay": Form(
        "image/png",
        "_overlay.png",
        "the image with outlines, for the eye",
        _nameless(Result.save_overlay),
    ),
    "coco": Form("application/json", "_coco.json", "COCO with run lengths", _export("coco")),
    "geojson": Form(
        "application/geo+json", "_cells.geojson", "polygons for QuPath", _export("geojson")
    ),
    "rois": Form("application/zip", "_rois.zip", "ImageJ ROIs for Fiji", _export("rois")),
    "outlines": Form("image/svg+xml", "_outlines.svg", "outlines as SVG", _export("outlines")),
    "ome-tiff": Form(
        "image/tiff", "_labels.ome.tif", "labels with the pixel size", _export("ome-tiff")
    ),
}
"""By the names that clients use. The first of a media type is what ``Accept`` gets."""

DEFAULT_FORM = "cells-json"
DEFAULT_FORMS = ("label-tiff", "overlay", "cells-csv")
"""What a job makes where nothing is asked for."""


def form_named(name: str) -> Form:
    """Return the form of a name.

    Raises
    ------
    ApiError
        ``wrong-input`` if there is none.
    """
    if name not in FORMS:
        raise ApiError("wrong-input", f"Expected a form out of {', '.join(FORMS)}, got {name!r}.")
    return FORMS[name]


def form_accepted(accept: str) -> str:
    """Choose the form by an ``Accept`` header.

    Parameters
    ----------
    accept
        The header; empty for anything.

    Returns
    -------
    str
        A key of :data:`FORMS`: of the media type that the client likes best.

    Raises
    ------
    ApiError
        ``not-acceptable`` if none is of an accepted type.
    """
    wishes = sorted(_wishes(accept), key=lambda wish: -wish[1])
    for wanted, weight in wishes:
        if weight <= 0:
            continue
        if wanted == "*/*":
            return DEFAULT_FORM
        for name, form in FORMS.items():
            kind = form.media_type.split(";")[0]
            if wanted in (kind, f"{kind.split('/')[0]}/*"):
                return name
    if not wishes:
        return DEFAULT_FORM
    kinds = ", ".join(dict.fromkeys(form.media_type.split(";")[0] for form in FORMS.values()))
    raise ApiError("not-acceptable", f"Expected Accept to name one of {kinds}.")


def _wishes(accept: str) -> list[tuple[str, float]]:
    wishes = []
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if kind:
            wishes.append((kind, weight))
    return wishes
