"""Charts as SVG text: histograms, curves and plates. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from cellrim.report.plates import Well, plate_format, row_name

Values = NDArray[np.float64]

_WIDTH, _HEIGHT = 460, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 38
_BINS = 40
_TICKS = 5
_WELL = 30
_WELL_SMALL = 17
_MANY_WELLS = 96
_THIN_SPACE = "\u202f"


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of :func:`curves`; ``low`` and ``high`` bound a band around it."""

    name: str
    y: Values
    low: Values | None = None
    high: Values | None = None


def histogram(values: Values, weights: Values, *, label: str) -> str:
    """Draw a histogram.

    Parameters
    ----------
    values, weights
        float64, one-dimensional, of equal length; at least one value. NaN is left out.
    label
        What the values are, with the unit.

    Returns
    -------
    str
        An SVG element. The few values beyond the 99.5th percentile are counted in the last bar.
    """
    known = np.isfinite(values)
    values, weights = values[known], weights[known]
    if not len(values):
        return f'<p class="muted">{escape(label)}: nothing was measured.</p>'
    low, high = float(values.min()), _weighted_percentile(values, weights, 99.5)
    ticks = nice_ticks(low, high)
    first, last = min(ticks[0], low), max(ticks[-1], high)
    counts, edges = np.histogram(
        np.minimum(values, last), bins=_BINS, range=(first, last), weights=weights
    )
    up = nice_ticks(0.0, float(counts.max()))
    frame = _Frame((first, last), (0.0, max(up[-1], float(counts.max()))))
    bars = []
    for count, a, b in zip(counts, edges[:-1], edges[1:], strict=True):
        if count > 0:
            x, y = frame.x(a), frame.y(float(count))
            title = f"{number(a)} to {number(b)}: {count:.0f}"
            bars.append(
                f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{frame.x(b) - x - 1:.1f}" '
                f'height="{frame.y(0) - y:.1f}"><title>{title}</title></rect>'
            )
    return _svg(label, _axes(frame, ticks, up, label=label) + "".join(bars))


def curves(x: Sequence[float], lines: Sequence[Line], *, label: str) -> str:
    """Draw curves of values from 0 to 1, the first one strongest, with a legend below.

    Parameters
    ----------
    x
        Common to all.
    lines
        At least one.
    label
        What x is.
    """
    ticks = list(x)
    frame = _Frame((x[0], x[-1]), (0.0, 1.0), width=_WIDTH + 160, height=_HEIGHT + 70)
    parts = [_axes(frame, ticks, [0, 0.2, 0.4, 0.6, 0.8, 1.0], label=label)]
    for k, line in enumerate(lines):
        if k == 0 and line.low is not None and line.high is not None:
            around = [*zip(x, line.high, strict=True), *reversed([*zip(x, line.low, strict=True)])]
            parts.append(f'<polygon class="band" points="{frame.points(around)}"/>')
    for k, line in reversed(list(enumerate(lines))):
        points = frame.points(zip(x, line.y, strict=True))
        mean = f"{escape(line.name)}: {np.mean(line.y):.3f} on average"
        parts.append(
            f'<polyline class="line c{k % 7}{" main" if k == 0 else ""}" points="{points}">'
            f"<title>{mean}</title></polyline>"
        )
    legend = "".join(
        f'<li><i class="c{k % 7}"></i>{escape(line.name)} <b>{np.mean(line.y):.3f}</b></li>'
        for k, line in enumerate(lines)
    )
    return _svg(label, "".join(parts), frame) + f'<ul class="legend">{legend}</ul>'


def plate_map(values: Mapping[Well, float], *, label: str, low: float, high: float) -> str:
    """Draw one plate with a colour for each well; wells without an image stay empty.

    Parameters
    ----------
    values
        Of each well; all of one plate.
    label
        What the values are.
    low, high
        Values of the weakest and of the strongest colour, common to all plates of a run.
    """
    rows, columns = plate_format(values)
    size = _WELL if rows * columns <= _MANY_WELLS else _WELL_SMALL
    head = 22
    parts = []
    for c in range(columns):
        parts.append(
            f'<text class="tick" x="{head + (c + 0.5) * size:.1f}" y="{head - 7}" '
            f'text-anchor="middle">{c + 1}</text>'
        )
    for r in range(rows):
        parts.append(
            f'<text class="tick" x="{head - 6}" y="{head + (r + 0.5) * size + 4:.1f}" '
            f'text-anchor="end">{row_name(r)}</text>'
        )
        for c in range(columns):
            parts.append(
                f'<rect class="well none" x="{head + c * size + 1}" y="{head + r * size + 1}" '
                f'width="{size - 2}" height="{size - 2}" rx="4"/>'
            )
    for well, value in values.items():
        parts.append(_well(well, value, _share(value, low, high), size=size, head=head))
    width, height = head + columns * size + 2, head + rows * size + 2
    return (
        f'<svg class="plate" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="group" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _well(well: Well, value: float, share: float, *, size: int, head: int) -> str:
    x, y = head + well.column * size, head + well.row * size
    text = ""
    if size == _WELL and math.isfinite(value):
        strong = " on" if share > 0.55 else ""
        text = (
            f'<text class="value{strong}" x="{x + size / 2}" y="{y + size / 2 + 3.5}" '
            f'text-anchor="middle">{short(value)}</text>'
        )
    where = f"{well.plate} {well.name}".strip()
    return (
        f'<g class="pick" tabindex="0" role="button" data-plate="{escape(well.plate)}" '
        f'data-well="{well.name}"><title>{escape(where)}: {number(value)}</title>'
        f'<rect class="well" x="{x + 1}" y="{y + 1}" width="{size - 2}" height="{size - 2}" '
        f'rx="4" fill-opacity="{0.08 + 0.92 * share:.2f}"/>{text}</g>'
    )


def _share(value: float, low: float, high: float) -> float:
    if not math.isfinite(value):
        return 0.0
    return 1.0 if high <= low else min(max((value - low) / (high - low), 0.0), 1.0)


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers that cover a range.

    Examples
    --------
    >>> nice_ticks(0, 9)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    span = high - low
    if not span > 0:
        span = abs(low) or 1.0
        high = low + span
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    start = math.floor(low / step)
    stop = math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(start, stop + 1)]


def number(value: float) -> str:
    """Show a number with three or four digits, thousands apart by a thin space.

    Examples
    --------
    >>> number(1234.5).replace(_THIN_SPACE, " "), number(0.1234), number(float("nan"))
    ('1 234', '0.123', '-')
    """
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", _THIN_SPACE)
    return f"{value:.3g}"


def short(value: float) -> str:
    """Show a number in four characters.

    Examples
    --------
    >>> short(12345.0), short(431.2), short(0.25)
    ('12k', '431', '0.25')
    """
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            divisor = 1000 if letter == "k" else limit
            return f"{value / divisor:.0f}{letter}"
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2g}"


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie on the drawing."""

    xs: tuple[float, float]
    ys: tuple[float, float]
    width: int = _WIDTH
    height: int = _HEIGHT

    def x(self, value: float) -> float:
        low, high = self.xs
        part = (value - low) / (high - low) if high > low else 0.0
        return _LEFT + part * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.ys
        part = (value - low) / (high - low) if high > low else 0.0
        return self.height - _BOTTOM - part * (self.height - _TOP - _BOTTOM)

    def points(self, pairs: object) -> str:
        return " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in pairs)  # type: ignore[attr-defined]


def _axes(frame: _Frame, across: Sequence[float], up: Sequence[float], *, label: str) -> str:
    right, bottom = frame.width - _RIGHT, frame.height - _BOTTOM
    parts = []
    for value in up:
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{short(value)}</text>"
        )
    for value in across:
        x = frame.x(value)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{short(value)}</text>"
        )
    parts.append(
        f'<text class="label" x="{(_LEFT + right) / 2}" y="{frame.height - 4}" '
        f'text-anchor="middle">{escape(label)}</text>'
    )
    return "".join(parts)


def _svg(label: str, body: str, frame: _Frame | None = None) -> str:
    width, height = (frame.width, frame.height) if frame else (_WIDTH, _HEIGHT)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _weighted_percentile(values: Values, weights: Values, percent: float) -> float:
    order = np.argsort(values)
    summed = np.cumsum(weights[order])
    at = int(np.searchsorted(summed, summed[-1] * percent / 100))
    return float(values[order][min(at, len(values) - 1)])
