"""Write the outcome of an evaluation: a table per image, a summary, a plot."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim._version import __version__
from cellrim.evaluation.compare import Evaluation
from cellrim.evaluation.counts import Scores, scores
from cellrim.evaluation.html import write_html
from cellrim.evaluation.intervals import LEVEL, Interval, Summary, curve_of
from cellrim.evaluation.overlap import THRESHOLDS
from cellrim.evaluation.plots import Curve, plot_ap
from cellrim.io.atomic import atomic_path
from cellrim.io.tables import write_csv

PER_IMAGE, SUMMARY, PLOT = "per_image.csv", "summary.json", "ap_over_iou.png"
PAGE = "report.html"


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write ``per_image.csv``, ``summary.json``, ``report.html`` and ``ap_over_iou.png``.

    Parameters
    ----------
    evaluation
        At least one compared image.
    folder
        Created where missing; files of these names are replaced.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed; all but the plot is written nevertheless.
    OutputError
        If a file cannot be written.
    """
    write_csv(folder / PER_IMAGE, per_image_columns(evaluation))
    with atomic_path(folder / SUMMARY) as partial:
        partial.write_text(json.dumps(summary_of(evaluation), indent=1) + "\n", encoding="utf-8")
    write_html(evaluation, folder / PAGE, curves=curves_of(evaluation))
    plot_ap(
        curves_of(evaluation),
        folder / PLOT,
        title=f"AP over IoU, {len(evaluation.images)} images; band: 95 % interval",
    )


def per_image_columns(evaluation: Evaluation) -> dict[str, NDArray[Any]]:
    """One row per image: names, numbers of objects, and all metrics."""
    images = evaluation.images
    values = [scores(image.counts) for image in images]
    columns: dict[str, NDArray[Any]] = {
        "dataset": np.array([i.dataset for i in images], np.str_),
        "image": np.array([i.name for i in images], np.str_),
        "group": np.array([i.group for i in images], np.str_),
        "compared_as": np.array(["boxes" if i.boxes else "masks" for i in images], np.str_),
        "true_objects": np.array([i.counts.truth for i in images], np.int64),
        "predicted_objects": np.array([i.counts.predicted for i in images], np.int64),
        "tp": np.array([i.counts.tp[0] for i in images], np.int64),
        "fp": np.array([i.counts.fp[0] for i in images], np.int64),
        "fn": np.array([i.counts.fn[0] for i in images], np.int64),
    }
    return columns | {
        f.name: np.array([getattr(v, f.name) for v in values]) for f in fields(Scores)
    }


def summary_of(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers as JSON can hold them; null for what is not measured."""
    return {
        "cellrim": __version__,
        "interval": {
            "level": LEVEL,
            "resamples": evaluation.options.resamples,
            "seed": evaluation.options.seed,
        },
        "iou_thresholds": list(THRESHOLDS),
        "all": _summary(evaluation.total),
        "groups": {name: _summary(summary) for name, summary in evaluation.groups.items()},
        "problems": [asdict(problem) for problem in evaluation.problems],
        "extra": list(evaluation.extra),
    }


def curves_of(evaluation: Evaluation) -> list[Curve]:
    """Curves to plot: all images, then each group if there are several, the best first."""
    groups = evaluation.groups if len(evaluation.groups) > 1 else {}
    ranked = sorted(groups.items(), key=lambda item: -item[1].pooled["map"].value)
    named = {"all images": evaluation.total, **dict(ranked)}
    return [
        Curve(name, value, *((low, high) if np.isfinite(low).all() else (None, None)))
        for name, summary in named.items()
        for value, low, high in [curve_of(summary)]
    ]


def _summary(summary: Summary) -> dict[str, Any]:
    counts = summary.counts
    return {
        "images": counts.images,
        "compared_as_boxes": counts.images - counts.masks,
        "true_objects": counts.truth,
        "predicted_objects": counts.predicted,
        "tp": list(counts.tp),
        "fp": list(counts.fp),
        "fn": list(counts.fn),
        "ap": [_interval(i) for i in summary.ap],
        "pooled": {name: _interval(i) for name, i in summary.pooled.items()},
        "mean": {name: _interval(i) for name, i in summary.mean.items()},
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else round(value, 6)
        for name, value in asdict(interval).items()
    }
