"""Plots: AP over IoU, curves of a training, and image / ground truth / predicted side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels, median_diameter
from cellrim.core.words import counted
from cellrim.errors import InputError, MissingExtraError
from cellrim.evaluation.counts import count_image, scores
from cellrim.evaluation.overlap import THRESHOLDS
from cellrim.io.atomic import atomic_path
from cellrim.io.overlay import display, draw_overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.float64]

# The colours of Okabe and Ito (2008), which colour-blind people can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6E6E6E")
_BLACK = "#1b1f24"
# When the colours are used up, the lines change.
_LINES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
# More bands than this hide each other; then only the first curve has one.
_BANDS = 4
_GREY = "#57606a"
_LIGHT = "#e3e6e9"
_DPI = 150
# Panels show at most this part of an image: so many typical cells, within these edges in pixels.
_PANEL_CELLS = 14
_PANEL_EDGES = (256, 640)
_PANEL_INCHES = 3.4


@dataclass(frozen=True)
class Curve:
    """AP over IoU of one set of images.

    Parameters
    ----------
    name
        Shown in the legend.
    ap
        float64, one value per threshold of ``overlap.THRESHOLDS``, 0..1.
    low, high
        Bounds of the interval, if there is one.
    """

    name: str
    ap: Values
    low: Values | None = None
    high: Values | None = None


@dataclass(frozen=True)
class Panel:
    """One row of :func:`plot_panels`.

    Parameters
    ----------
    image
        The image.
    truth, predicted
        int32, axes ``YX``, of the size of the image.
    title
        The image's name.
    ap50
        AP at IoU 0.5 to show; computed from the two label images where None.
    ignore
        bool, axes ``YX``: pixels of which nobody says what is there, if any.
    """

    image: Image = field(repr=False)
    truth: Labels = field(repr=False)
    predicted: Labels = field(repr=False)
    title: str
    ap50: float | None = None
    ignore: NDArray[np.bool_] | None = field(repr=False, default=None)


def plot_ap(curves: Sequence[Curve], path: Path, *, title: str = "") -> None:
    """Plot AP over the IoU threshold, with intervals as bands.

    Parameters
    ----------
    curves
        One per set; the first is the main one and drawn strongest. With more than four, only that
        one shows its interval.
    path
        Where to; the suffix says the format.
    title
        Above the plot.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    OutputError
        If the file cannot be written.
    """
    figure = _figure(width=8.6, height=4.8)
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        _plot_ap_curve(axes, curve, number=number, band=number == 0 or len(curves) <= _BANDS)
    axes.set_xlim(0.49, 0.96)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(THRESHOLDS)
    axes.set_xlabel("IoU threshold")
    axes.set_ylabel("AP = TP / (TP + FP + FN)")
    _dress(axes, title)
    if curves:
        # Beside the plot: on it, a legend would hide some curve.
        axes.legend(
            title="mean over IoU", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False,
            alignment="left",
        )  # fmt: skip
    _save(figure, path)


def plot_curves(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Plot a training: Dice, IoU, loss and instance AP over the epochs.

    Parameters
    ----------
    columns
        The history: ``epoch`` and any of ``train_dice``, ``val_dice``, ``train_iou``, ``val_iou``,
        ``loss`` and ``loss_*``, ``val_ap50``, ``val_map``, ``score``; one value per epoch, NaN
        where an epoch has none.
    path
        Where to; the suffix says the format.

    Raises
    ------
    InputError
        If there is no ``epoch``, or a column has another length.
    MissingExtraError
        If matplotlib is not installed.
    OutputError
        If the file cannot be written.
    """
    if "epoch" not in columns:
        raise InputError(f"Expected a column epoch, but got {', '.join(columns) or 'none'}.")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"Expected columns of equal length, but got {lengths}.")
    figure = _figure(width=10, height=7)
    grid = figure.subplots(2, 2)
    losses = {n: n.removeprefix("loss_") for n in columns if n.startswith("loss_")}
    plots = (
        ("Dice", {"train_dice": "training", "val_dice": "validation"}, (0.0, 1.0)),
        ("IoU", {"train_iou": "training", "val_iou": "validation"}, (0.0, 1.0)),
        ("Loss", {"loss": "total", "val_loss": "validation", **losses}, None),
        (
            "Instances, validation",
            {"val_ap50": "AP at IoU 0.5", "val_map": "mean AP 0.5:0.95", "score": "score"},
            (0.0, 1.0),
        ),
    )
    for axes, (title, names, limits) in zip(grid.flat, plots, strict=True):
        shown = {name: label for name, label in names.items() if name in columns}
        _plot_history(axes, columns, shown)
        if limits:
            axes.set_ylim(*limits)
        else:
            axes.set_ylim(bottom=0)
        _dress(axes, title)
    _save(figure, path)


def plot_panels(rows: Sequence[Panel], path: Path) -> None:
    """Plot image, ground truth and prediction side by side, one row per image.

    Large images are cut to the part with most true cells, so that the outlines can be seen.

    Parameters
    ----------
    rows
        One per image; none gives a picture that says so.
    path
        Where to; the suffix says the format.

    Raises
    ------
    InputError
        If labels and image differ in size.
    MissingExtraError
        If matplotlib is not installed.
    OutputError
        If the file cannot be written.
    """
    figure = _figure(width=3 * _PANEL_INCHES, height=max(1, len(rows)) * (_PANEL_INCHES + 0.42))
    if not rows:
        figure.text(0.5, 0.5, "no images", ha="center", va="center", color=_GREY)
    else:
        grid = figure.subplots(len(rows), 3, squeeze=False)
        for line, panel in zip(grid, rows, strict=True):
            _plot_panel(line, panel)
    _save(figure, path)


def _plot_ap_curve(axes: Axes, curve: Curve, *, number: int, band: bool) -> None:
    main = number == 0
    colour = _BLACK if main else _COLOURS[(number - 1) % len(_COLOURS)]
    style, marker = _LINES[(number - 1) // len(_COLOURS) % len(_LINES)] if number else _LINES[0]
    if band and curve.low is not None and curve.high is not None:
        axes.fill_between(THRESHOLDS, curve.low, curve.high, color=colour, alpha=0.14, lw=0)
    axes.plot(
        THRESHOLDS,
        curve.ap,
        color=colour,
        ls=style,
        lw=2.6 if main else 1.5,
        marker=marker,
        ms=5.5 if main else 3.5,
        label=f"{curve.name}  {float(np.mean(curve.ap)):.3f}",
        zorder=3 if main else 2,
    )


def _plot_panel(line: NDArray[Any], panel: Panel) -> None:
    ap50 = panel.ap50
    if ap50 is None:
        counts = count_image(
            panel.predicted, panel.truth, ignore=panel.ignore, name=panel.title, boundaries=False
        )
        ap50 = scores(counts).ap50
    part = _window(panel.truth if panel.truth.any() else panel.predicted)
    whole = part == tuple(slice(0, n) for n in panel.truth.shape)
    shown = replace(panel.image, pixels=panel.image.pixels[part])
    truth, predicted = panel.truth[part], panel.predicted[part]
    pictures = (
        (display(shown), panel.title if whole else f"{panel.title} (part)"),
        (draw_overlay(shown, truth), f"ground truth: {_cells(truth)}"),
        (draw_overlay(shown, predicted), f"predicted: {_cells(predicted)}, AP50 {ap50:.2f}"),
    )
    for axes, (picture, title) in zip(line, pictures, strict=True):
        axes.imshow(picture, interpolation="nearest" if max(picture.shape) < 400 else "antialiased")
        axes.set_title(_shortened(title), fontsize=9, loc="left", pad=4)
        axes.set_axis_off()


def _window(labels: Labels) -> tuple[slice, slice]:
    """Choose the part of an image that is shown: the one with most pixels in cells."""
    diameter = median_diameter(labels) if labels.any() else 0.0
    edge = int(np.clip(diameter * _PANEL_CELLS, *_PANEL_EDGES))
    step = 16
    sums = np.zeros((labels.shape[0] + 1, labels.shape[1] + 1), np.int64)
    sums[1:, 1:] = np.cumsum(np.cumsum(labels > 0, axis=0), axis=1)
    height, width = (min(edge, n) for n in labels.shape)
    inside = (
        sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
        + sums[:-height, :-width]
    )[::step, ::step]  # fmt: skip
    y, x = (int(i) * step for i in np.unravel_index(inside.argmax(), inside.shape))
    return slice(y, y + height), slice(x, x + width)


def _cells(labels: Labels) -> str:
    return counted(len(np.unique(labels[labels > 0])), "cell")


def _shortened(text: str, longest: int = 52) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 + 1 :]}"


def _plot_history(axes: Axes, columns: Mapping[str, NDArray[Any]], names: dict[str, str]) -> None:
    epochs = np.asarray(columns["epoch"], np.float64)
    last: list[float] = []
    for (name, label), colour in zip(names.items(), _cycle(len(names)), strict=True):
        values = np.asarray(columns[name], np.float64)
        known = np.isfinite(values)
        if not known.any():
            continue
        marker = "o" if known.sum() < 30 else None
        axes.plot(epochs[known], values[known], color=colour, lw=1.8, marker=marker, ms=3.5)
        axes.lines[-1].set_label(f"{label}  {values[known][-1]:.3g}")
        last.append(float(values[known][-1]))
    axes.set_xlabel("epoch")
    if len(epochs):
        axes.set_xlim(min(0.5, epochs.min()), epochs.max() + 0.5)
    if last:
        # Where the curves do not end: matplotlib's own search for a place can take seconds.
        rising = np.mean(last) > np.mean(axes.get_ylim())
        axes.legend(
            loc="lower right" if rising else "upper right",
            frameon=True, edgecolor="none", facecolor="white", framealpha=0.8,
        )  # fmt: skip
    else:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=_GREY)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
    axes.grid(color=_LIGHT, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GREY)
    axes.tick_params(color=_GREY, labelcolor="#24292f")


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _figure(*, width: float, height: float) -> Figure:
    """Make a figure that belongs to nobody: pyplot would keep it, and want a display."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingExtraError("Plotting", "plot") from error
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)  # inches around each plot
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=_DPI)
