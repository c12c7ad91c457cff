"""``report.html`` of a run: what came out, the images that need a look first.

What the page needs of an image is made while its pixels are at hand and kept as one line of
``.report.jsonl``, so that a killed run can go on. At the end the page holds it all and the lines
are removed; a later run with ``--resume`` reads it back from the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import areas
from cellrim.errors import CellrimError
from cellrim.io.atomic import append_line, remove
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.io.structs import to_builtins, to_json
from cellrim.measure.quality import CHECKS, Quality, sentences
from cellrim.prediction.large import LargeResult
from cellrim.prediction.records import Record
from cellrim.prediction.result import Result
from cellrim.prediction.single import is_large
from cellrim.prediction.stacks import StackResult
from cellrim.report.charts import histogram, number, plate_map
from cellrim.report.page import (
    Card,
    Section,
    picture_budget,
    read_cards,
    table,
    write_page,
)
from cellrim.report.pictures import Layer, Picture, make_picture
from cellrim.report.plates import Well, find_wells

REPORT_NAME = "report.html"
LINES_NAME = ".report.jsonl"

# So many values stand for the cells of an image in the histograms.
_SKETCH = 65
_MOST_CHANNELS = 4
_MANY_PROBLEMS = 12


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the page needs of one image.

    Parameters
    ----------
    target
        As in the record.
    cells
        Number of cells.
    diameters
        Diameter of the disc of equal area of each cell, in pixels; of more than 65 cells evenly
        spaced quantiles.
    intensities
        Channel name to mean intensity of each cell, in raw units, in the same way.
    covered
        Share of the image in cells, 0..1.
    confidence
        Median over the cells, if known.
    size
        Height and width in pixels.
    pixel_size
        Micrometres per pixel, if known.
    picture
        The small picture.
    """

    target: str
    cells: int
    diameters: tuple[float, ...]
    intensities: dict[str, tuple[float, ...]]
    covered: float
    confidence: float | None
    size: tuple[int, int]
    pixel_size: float | None
    picture: dict[str, Any]


def keep(result: Result | StackResult | LargeResult, target: str, *, images: int) -> Kept:
    """Make of a result what the page needs.

    Parameters
    ----------
    result
        Of one image; a stack is shown by its plane with most cells, a streamed image by a view of
        about two megapixels.
    target
        As in its record.
    images
        How many images the run has: the more, the smaller the pictures.
    """
    plane = result.fullest if isinstance(result, StackResult) else result
    assert plane is not None  # a stack has at least one plane
    columns: Mapping[str, NDArray[Any]] = (
        result.columns if isinstance(result, StackResult) else result.cells.columns
    )
    seen = plane.thinned if isinstance(plane, LargeResult) else plane
    means = [columns[n] for n in columns if n.startswith("mean_")][:_MOST_CHANNELS]
    picture = make_picture(seen.image, {"cells": Layer(seen.labels)}, budget=picture_budget(images))
    sure = columns.get("confidence", np.zeros(0))
    return Kept(
        target=target,
        cells=result.count,
        diameters=_sketch(np.sqrt(columns["area"] * 4 / np.pi)),
        intensities={n: _sketch(m) for n, m in zip(plane.image.channels, means, strict=False)},
        covered=plane.covered,
        confidence=float(np.median(sure)) if len(sure) and np.isfinite(sure).all() else None,
        size=plane.image.shape,
        pixel_size=plane.image.pixel_size,
        picture=picture.as_json(),
    )


def start_kept(folder: Path, targets: set[str]) -> None:
    """Begin a run: keep what earlier runs made for these targets.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    known = {t: k for t, k in read_kept(folder).items() if t in targets}
    remove(folder / REPORT_NAME)
    remove(folder / LINES_NAME)
    for kept in known.values():
        append_kept(folder, kept)


def append_kept(folder: Path, kept: Kept) -> None:
    """Add one image; it survives a kill of the process.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    append_line(folder / LINES_NAME, to_json(kept).decode())


def read_kept(folder: Path) -> dict[str, Kept]:
    """Read what is kept, by target: from a finished page, and from the lines of a killed run."""
    values = [
        card["keep"] | {"picture": card.get("picture")}
        for card in read_cards(folder / REPORT_NAME)
        if isinstance(card.get("keep"), dict)
    ]
    with suppress(OSError):
        for line in (folder / LINES_NAME).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                values.append(json.loads(line))
    found = {}
    for value in values:
        with suppress(msgspec.ValidationError):
            kept = msgspec.convert(value, Kept)
            found[kept.target] = kept
    return found


def write_report(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``report.html`` of a run.

    Parameters
    ----------
    folder
        The output folder.
    summary
        What ``run.json`` holds.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    records = [msgspec.convert(file, Record) for file in summary["files"]]
    kept = read_kept(folder)
    for record in records:
        if record.status == "ok" and record.target not in kept:
            remade = _remade(folder, record, len(records))
            if remade is not None:
                kept[record.target] = remade
    wells = find_wells([r.target for r in records])
    ranked = sorted(records, key=lambda r: (r.status == "ok", -len(r.flags), r.target))
    write_page(
        folder / REPORT_NAME,
        title=_title(summary),
        tiles=_tiles(records, summary),
        before=[
            *_problems(records),
            *_plates(records, kept, wells),
            *_charts(records, kept),
        ],
        gallery="Images",
        cards=[_card(r, kept.get(r.target), wells.get(r.target)) for r in ranked],
        after=[_made(summary)],
    )
    remove(folder / LINES_NAME)


def _remade(folder: Path, record: Record, images: int) -> Kept | None:
    """Make what an earlier run without a report did not keep, from the files it wrote."""
    saved = next((p for p in record.outputs if p.endswith("_labels.tif")), None)
    if saved is None or is_large(Path(record.source)):  # it would have to be read whole
        return None
    try:
        labels = read_labels(folder / saved)
        image = read_image(Path(record.source), scene=record.scene)
        nobody = np.full(len(areas(labels)), np.nan, np.float32)
        return keep(
            Result(labels, nobody, record.diameter or 0.0, image), record.target, images=images
        )
    except CellrimError:
        return None


def _sketch(values: NDArray[Any]) -> tuple[float, ...]:
    known = values[np.isfinite(values)]
    if len(known) > _SKETCH:
        known = np.quantile(known, np.linspace(0, 1, _SKETCH))
    return tuple(float(f"{v:.5g}") for v in np.sort(known))


def _title(summary: Mapping[str, Any]) -> str:
    model = summary["model"]
    return (
        f"{_count(summary['images'], 'image')}, {_count(summary['cells'], 'cell')}, {model['name']}"
    )


def _count(value: int, word: str) -> str:
    return f"{number(value)} {word}" if value == 1 else f"{number(value)} {word}s"


def _tiles(records: Sequence[Record], summary: Mapping[str, Any]) -> dict[str, str]:
    flagged = sum(bool(r.flags) for r in records)
    failed = sum(r.status == "failed" for r in records)
    sizes = [r.diameter for r in records if r.diameter and r.cells]
    return {
        "images": number(len(records)),
        "cells": number(summary["cells"]),
        "images to look at": number(flagged),
        "failed": number(failed),
        "median cell diameter, px": number(float(np.median(sizes))) if sizes else "-",
    }


def _problems(records: Sequence[Record]) -> list[Section]:
    failed = [r for r in records if r.status == "failed"]
    sections = []
    if failed:
        sections.append(
            Section(
                f"Failed: {_count(len(failed), 'image')}",
                _list([f"{r.target}: {r.error}" for r in failed]),
            )
        )
    rows = [
        f"{check.flag}: {_count(sum(check.flag in r.flags for r in records), 'image')}"
        for check in CHECKS
        if any(check.flag in r.flags for r in records)
    ]
    if rows:
        text = "<p class=muted>They come first below; each says why.</p>"
        sections.append(Section("Look at these before you trust the numbers", _list(rows) + text))
    return sections


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    long = " long" if len(lines) > _MANY_PROBLEMS else ""
    return f'<ul class="problems{long}">{items}</ul>'


def _charts(records: Sequence[Record], kept: Mapping[str, Kept]) -> list[Section]:
    """Histograms over the cells of all images, and of the counts."""
    those = [kept[r.target] for r in records if r.target in kept]
    if not any(k.cells for k in those):
        return []
    charts = [_pooled([(k.diameters, k.cells) for k in those], label="diameter of the cells, px")]
    for name in dict.fromkeys(name for k in those for name in k.intensities):
        pairs = [(k.intensities.get(name, ()), k.cells) for k in those]
        if len({value for values, _ in pairs for value in values}) > 1:  # else an empty channel
            charts.append(_pooled(pairs, label=f"mean intensity of the cells, {name}"))
    if len(those) > 1:
        counts = np.array([k.cells for k in those], float)
        charts.append(histogram(counts, np.ones(len(counts)), label="cells per image"))
    return [Section("Cells", f"<div class=charts>{''.join(map(_figure, charts))}</div>")]


def _figure(chart: str) -> str:
    return f"<div>{chart}</div>"


def _pooled(parts: Sequence[tuple[Sequence[float], int]], *, label: str) -> str:
    """Histogram of all cells, each value of a sketch standing for its share of the cells."""
    values = np.concatenate([np.asarray(v, float) for v, _ in parts])
    weights = np.concatenate([np.full(len(v), n / max(len(v), 1)) for v, n in parts])
    return histogram(values, weights, label=label)


def _plates(
    records: Sequence[Record], kept: Mapping[str, Kept], wells: Mapping[str, Well]
) -> list[Section]:
    """Draw each plate for each quantity; the sites of a well are taken together."""
    by_well: dict[Well, list[Kept]] = {}
    for record in records:
        if record.target in kept and record.target in wells:
            by_well.setdefault(wells[record.target], []).append(kept[record.target])
    if not by_well:
        return []
    buttons, panels = [], []
    for k, (label, value) in enumerate(_QUANTITIES.items()):
        values = {well: value(images) for well, images in by_well.items()}
        pressed, hidden = ("true", "") if k == 0 else ("false", " hidden")
        buttons.append(
            f'<button type=button data-show="map{k}" aria-pressed="{pressed}">{label}</button>'
        )
        panels.append(f'<div class=plates id="map{k}"{hidden}>{_maps(values, label)}</div>')
    text = (
        "<p class=muted>The images of a well are taken together; all plates share one scale. "
        "Choose a well to see its images.</p>"
    )
    return [Section("Plates", " ".join(buttons) + "".join(panels) + text)]


def _maps(values: Mapping[Well, float], label: str) -> str:
    known = [v for v in values.values() if np.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    figures = []
    for plate in sorted({well.plate for well in values}):
        those = {well: v for well, v in values.items() if well.plate == plate}
        drawn = plate_map(those, label=f"{label} {plate}".strip(), low=low, high=high)
        figures.append(f"<figure><h3>{escape(plate or 'plate')}</h3>{drawn}</figure>")
    return "".join(figures)


def _cells_of(images: Sequence[Kept]) -> float:
    return float(sum(k.cells for k in images))


def _diameter_of(images: Sequence[Kept]) -> float:
    return _median([k.diameters for k in images])


def _intensity_of(images: Sequence[Kept]) -> float:
    return _median([next(iter(k.intensities.values()), ()) for k in images])


def _covered_of(images: Sequence[Kept]) -> float:
    return 100 * float(np.mean([k.covered for k in images]))


def _median(parts: Sequence[Sequence[float]]) -> float:
    values = np.concatenate([np.asarray(part, float) for part in parts])
    return float(np.median(values)) if len(values) else float("nan")


_QUANTITIES = {
    "cells": _cells_of,
    "median diameter, px": _diameter_of,
    "mean intensity, first channel": _intensity_of,
    "covered, %": _covered_of,
}


def _card(record: Record, kept: Kept | None, well: Well | None) -> Card:
    quality = Quality(**{n: v for n, v in record.quality.items() if v is not None})
    return Card(
        name=record.target,
        facts=_facts(record, kept, quality, well),
        caption="" if record.cells is None else _count(record.cells, "cell"),
        order=_order(record, kept),
        picture=Picture(**kept.picture) if kept else None,
        flags=record.flags,
        sentences=sentences(quality),
        error=record.error,
        links={Path(path).name: quote(path) for path in record.outputs},
        plate=well.plate if well else None,
        well=well.name if well else None,
        keep=_without_picture(kept) if kept else None,
    )


def _without_picture(kept: Kept) -> dict[str, Any]:
    values: dict[str, Any] = to_builtins(kept)
    del values["picture"]
    return values


def _order(record: Record, kept: Kept | None) -> dict[str, float | None]:
    return {
        "most cells": record.cells,
        "largest cells": record.diameter if record.cells else None,
        "most covered": kept.covered if kept else None,
        "least confidence": -kept.confidence if kept and kept.confidence is not None else None,
    }


def _facts(
    record: Record, kept: Kept | None, quality: Quality, well: Well | None
) -> dict[str, str]:
    facts = {"file": record.source}
    if well:
        facts["well"] = f"{well.plate} {well.name}".strip()
    if record.cells is not None:
        facts["cells"] = number(record.cells)
    if kept:
        height, width = kept.size
        facts["size"] = f"{width} x {height} px"
        if kept.pixel_size:
            facts["pixel size"] = f"{kept.pixel_size:.4g} µm"
        facts["covered by cells"] = f"{kept.covered:.1%}"
        if len(kept.diameters):
            facts["median diameter"] = f"{number(float(np.median(kept.diameters)))} px"
        if kept.confidence is not None:
            facts["median confidence"] = f"{kept.confidence:.2f}"
    for name, value in quality.as_numbers().items():
        if value is not None:
            facts[name.replace("_", " ")] = number(value)
    if record.seconds:
        facts["time"] = f"{sum(record.seconds.values()):.1f} s"
    return facts


def _made(summary: Mapping[str, Any]) -> Section:
    model = summary["model"]
    options = {k: v for k, v in summary["options"].items() if v is not None}
    rows = {
        "begun": str(summary["begun"]),
        "took": f"{summary['seconds']:.1f} s, {summary['done_before']} images done before",
        "model": f"{model['name']} {model['version']}",
        "hash of the model": str(model["sha256"]),
        "the network ran on": ", ".join(summary["devices"]),
        **{f"option {k}": _shown(v) for k, v in options.items()},
        "cellrim": str(summary["cellrim"]),
        "Python": str(summary["python"]),
        "platform": str(summary["platform"]),
        "packages": ", ".join(f"{n} {v}" for n, v in summary["packages"].items() if v),
    }
    return Section("How this was made", table(rows))


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
