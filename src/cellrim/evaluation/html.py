"""The outcome of an evaluation as one HTML page, with the worst images and their mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.core.image import Image, image_from_array
from cellrim.core.labels import Labels, relabel
from cellrim.core.words import counted
from cellrim.datasets.base import Truth
from cellrim.errors import CellrimError
from cellrim.evaluation.compare import Evaluation, ImageResult
from cellrim.evaluation.counts import scores
from cellrim.evaluation.intervals import LEVEL, Interval
from cellrim.evaluation.mistakes import (
    FOUND,
    IGNORED,
    INVENTED,
    MERGED,
    MISSED,
    SPLIT,
    Kinds,
    Verdict,
    box_lines,
    judge,
)
from cellrim.evaluation.overlap import THRESHOLDS
from cellrim.evaluation.plots import Curve
from cellrim.io.labels import read_labels
from cellrim.report.charts import Line, curves, number
from cellrim.report.page import Card, Section, grid, picture_budget, table, write_page
from cellrim.report.pictures import Colours, Layer, Picture, make_picture

WORST = 24
"""So many images are shown, those of the lowest AP at IoU 0.5."""

# Colours of the kinds, in the order of their numbers.
_PAINT = np.array(
    [
        (70, 200, 110),
        (60, 150, 255),
        (255, 70, 70),
        (255, 165, 0),
        (225, 85, 235),
        (150, 150, 150),
    ],
    np.uint8,
)
_LEGEND = {
    FOUND: "found: matched at IoU 0.5",
    MISSED: "missed: true, and nothing matches it",
    INVENTED: "invented: predicted, and nothing is there",
    SPLIT: "split: one true cell, several predicted ones",
    MERGED: "merged: several true cells, one predicted one",
    IGNORED: "ignored: nobody says what is there",
}
_COLUMNS = {
    "ap50": "AP50",
    "ap75": "AP75",
    "ap90": "AP90",
    "map": "mAP",
    "f1": "F1",
    "pq": "PQ",
    "aji": "AJI",
    "dice": "Dice",
    "splits": "splits",
    "merges": "merges",
}
_WHOLE = ("splits", "merges")
_LINE_PART = 700  # lines of boxes have a pixel per this many pixels of the image's edge


def write_html(evaluation: Evaluation, path: Path, *, curves: Sequence[Curve]) -> None:
    """Write the page.

    Parameters
    ----------
    evaluation
        At least one compared image.
    path
        Where to.
    curves
        AP over IoU to draw, all images first.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    worst = evaluation.worst(WORST)
    total = evaluation.total
    counts = total.counts
    write_page(
        path,
        title=f"{counted(counts.images, 'image')} against the truth",
        tiles={
            "AP at IoU 0.5": _value(total.pooled["ap50"], break_line=True),
            "AP, mean 0.5:0.95": _value(total.pooled["map"], break_line=True),
            "F1": _value(total.pooled["f1"], break_line=True),
            "true cells": number(counts.truth),
            "predicted cells": number(counts.predicted),
        },
        before=[*_problems(evaluation), _curve_section(curves), _sets(evaluation)],
        gallery=f"{counted(len(worst), 'image')} of the lowest AP50, worst first",
        legend=_legend(),
        cards=[_card(image, evaluation) for image in worst],
        card_width=420,
        after=[_made(evaluation)],
    )


def _problems(evaluation: Evaluation) -> list[Section]:
    lines = [f"{problem.record}: {problem.reason}" for problem in evaluation.problems]
    lines += [f"{name}: a prediction without a true image" for name in evaluation.extra]
    if not lines:
        return []
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return [Section("Not compared", f'<ul class="problems long">{items}</ul>')]


def _curve_section(found: Sequence[Curve]) -> Section:
    lines = [Line(c.name, c.ap, c.low, c.high) for c in found]
    drawn = curves(THRESHOLDS, lines, label="IoU threshold")
    text = (
        "<p class=muted>AP = TP / (TP + FP + FN); the mean over the thresholds stands behind each "
        f"name; the band is the {LEVEL:.0%} interval over images.</p>"
    )
    return Section("AP over IoU", drawn + text)


def _sets(evaluation: Evaluation) -> Section:
    groups = evaluation.groups if len(evaluation.groups) > 1 else {}
    rows = []
    for name, summary in {**groups, "all": evaluation.total}.items():
        counts = summary.counts
        boxes = " (boxes)" if counts.masks < counts.images else ""
        numbers = [
            _number(summary.pooled[metric].value, 0 if metric in _WHOLE else 3)
            for metric in _COLUMNS
        ]
        rows.append((name + boxes, str(counts.images), number(counts.truth), *numbers))
    body = grid(("set", "images", "cells", *_COLUMNS.values()), rows)
    body += f"<h3>All images, with {LEVEL:.0%} intervals</h3>"
    intervals = {
        label: _value(evaluation.total.pooled[metric])
        for metric, label in _COLUMNS.items()
        if metric not in _WHOLE
    }
    return Section("By set, pooled", body + table(intervals))


def _legend() -> str:
    items = "".join(
        f'<li><i style="background:rgb{tuple(int(v) for v in _PAINT[kind])}"></i>'
        f"{escape(text)}</li>"
        for kind, text in _LEGEND.items()
    )
    return f"<ul class=legend>{items}</ul>"


def _card(image: ImageResult, evaluation: Evaluation) -> Card:
    values = scores(image.counts)
    facts = {
        "AP50": _number(values.ap50, 3),
        "mAP": _number(values.map, 3),
        "true cells": str(image.counts.truth),
        "predicted cells": str(image.counts.predicted),
    }
    picture, error = None, None
    try:
        picture, verdict = _picture(image, evaluation)
        facts |= _tally(verdict)
    except CellrimError as problem:
        error = str(problem)
    return Card(
        name=f"{image.group}: {image.name}",
        facts=facts | {"predicted file": str(image.predicted)},
        caption=f"AP50 {_number(values.ap50, 2)}, {image.counts.truth} true, "
        f"{image.counts.predicted} predicted",
        order={
            "most missed": image.counts.fn[0],
            "most invented": image.counts.fp[0],
            "most splits": image.counts.splits,
            "most merges": image.counts.merges,
        },
        picture=picture,
        sentences=() if error is None else (f"No picture: {error}",),
    )


def _picture(image: ImageResult, evaluation: Evaluation) -> tuple[Picture, Verdict]:
    assert image.reference is not None
    predicted, truth = read_labels(image.predicted), image.reference.read()
    read = image.reference.read_image
    shown = _ground(predicted.shape) if read is None else read()
    verdict = judge(predicted, truth, ignore_border=evaluation.options.ignore_border)
    layers = {
        "truth": Layer(_true_labels(truth, predicted.shape), _colours(verdict.truth)),
        "predicted": Layer(relabel(predicted), _colours(verdict.predicted)),
    }
    return make_picture(shown, layers, budget=picture_budget(WORST)), verdict


def _ground(shape: tuple[int, ...]) -> Image:
    """Nothing to see: for truth that comes without its image."""
    return image_from_array(np.zeros(shape, np.uint8))


def _true_labels(truth: Truth, shape: tuple[int, ...]) -> Labels:
    if truth.boxes is None:
        return relabel(truth.labels)
    height, width = shape
    line = max(1, math.ceil(max(shape) / _LINE_PART))
    return box_lines(truth.boxes.corners, (height, width), width=line)


def _colours(kinds: Kinds) -> Colours:
    colours: NDArray[np.uint8] = np.concatenate([np.zeros((1, 3), np.uint8), _PAINT[kinds]])
    return colours


def _tally(verdict: Verdict) -> dict[str, str]:
    true = np.bincount(verdict.truth, minlength=len(_PAINT))
    found = np.bincount(verdict.predicted, minlength=len(_PAINT))
    return {
        "found": str(true[FOUND]),
        "missed": str(true[MISSED]),
        "invented": str(found[INVENTED]),
        "split": f"{true[SPLIT]} into {found[SPLIT]}",
        "merged": f"{true[MERGED]} into {found[MERGED]}",
    }


def _made(evaluation: Evaluation) -> Section:
    rows = {
        "interval": f"{LEVEL:.0%}, bootstrap over images, {evaluation.options.resamples} samples, "
        f"seed {evaluation.options.seed}",
        "cellrim": __version__,
    }
    return Section("How this was made", table(rows))


def _value(interval: Interval, *, break_line: bool = False) -> str:
    text = _number(interval.value, 3)
    if math.isnan(interval.low):
        return text
    around = f"{_number(interval.low, 2)} to {_number(interval.high, 2)}"
    return f"{text}\n{around}" if break_line else f"{text} ({around})"


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
