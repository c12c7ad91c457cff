"""The report of a run: curves, panels, a table per set, in one page that needs no other host."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cellrim.evaluation import scores
from cellrim.evaluation.plots import Panel, plot_curves, plot_panels
from cellrim.io.atomic import atomic_path
from cellrim.prediction.segmenter import Segmenter
from cellrim.training.loop import summarise
from cellrim.training.recipe import Recipe
from cellrim.training.validate import ImageScore, SetScore, overall, panel_of

CURVES, PANELS, PAGE = "curves.png", "panels.png", "report.html"
_COLUMNS = ("ap50", "ap75", "ap90", "map", "f1", "dice", "iou")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em;
  color: #1b1f24; }
table { border-collapse: collapse; }
td, th { padding: .25em .8em; text-align: right; border-bottom: 1px solid #d8dee4; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
pre { background: #f6f8fa; padding: 1em; overflow: auto; }
"""


def write_report(
    run: Path,
    recipe: Recipe,
    history: list[dict[str, float]],
    images: Sequence[ImageScore],
    sets: Sequence[SetScore],
    *,
    segmenter: Segmenter,
    packed: Path,
    export_difference: dict[str, float],
) -> None:
    """Write ``report.html``, ``curves.png`` and ``panels.png`` into the run folder.

    Parameters
    ----------
    run
        The run folder.
    recipe, history
        What was trained, and one row per epoch.
    images, sets
        Scores of the final model on all validation images.
    segmenter
        The final model.
    packed
        Folder of the packed data, where the validation images lie.
    export_difference
        Largest differences between the ONNX file and torch, see ``models.export``.
    """
    if history:
        plot_curves(summarise(history), run / CURVES)
    panels = [_panel(segmenter, packed, image) for image in representative(images)]
    plot_panels(panels, run / PANELS)
    with atomic_path(run / PAGE) as partial:
        partial.write_text(_page(recipe, history, sets, export_difference), encoding="utf-8")


def representative(images: Sequence[ImageScore]) -> list[ImageScore]:
    """Choose the median image of each set by AP50: neither the best nor the worst."""
    groups: dict[str, list[ImageScore]] = {}
    for image in images:
        groups.setdefault(image.set_name, []).append(image)
    chosen = []
    for name in sorted(groups):
        ranked = sorted(groups[name], key=lambda i: (_ap50(i), i.sample.key))
        chosen.append(ranked[len(ranked) // 2])
    return chosen


def _ap50(image: ImageScore) -> float:
    value = scores(image.boxes or image.counts).ap50
    return value if value == value else 1.0


def _panel(segmenter: Segmenter, packed: Path, score: ImageScore) -> Panel:
    image, truth, predicted = panel_of(segmenter, packed, score.sample)
    title = f"{score.set_name}: {score.sample.name}"
    return Panel(
        image=image,
        truth=truth.labels,
        predicted=predicted,
        title=title,
        ap50=_ap50(score),
        ignore=truth.ignore,
    )


def _page(
    recipe: Recipe,
    history: list[dict[str, float]],
    sets: Sequence[SetScore],
    export_difference: dict[str, float],
) -> str:
    rows = [_row(s.name + (" (boxes)" if s.boxes else ""), s.images, s.values) for s in sets]
    mean = overall(sets)
    cells = {c: mean.get(f"val_{c}", float("nan")) for c in _COLUMNS}
    rows.append(_row("mean of sets", sum(s.images for s in sets), cells))
    head = "".join(f"<th>{c}</th>" for c in ("set", "images", *_COLUMNS))
    minutes = history[-1]["minutes"] if history else 0.0
    patches = history[-1]["patches"] if history else 0.0
    differs = ", ".join(f"{name} {value:.2g}" for name, value in export_difference.items())
    curves = f'<img src="{CURVES}" alt="Dice, IoU, loss and AP50 over epochs">' if history else ""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(recipe.name)}: training report</title>
<style>{_STYLE}</style>
<h1>{escape(recipe.name)}</h1>
<p>{patches:,.0f} patches in {minutes:.0f} minutes. Metrics are of the held-back images, predicted
whole, without being told the cells' diameter.</p>
<h2>Validation by set</h2>
<table><tr>{head}</tr>{"".join(rows)}</table>
<p>The exported network against torch on real images, largest differences: {differs}.</p>
<h2>Curves</h2>
{curves}
<h2>Image, ground truth, predicted: the median image of each set</h2>
<img src="{PANELS}" alt="Original, ground truth and predicted outlines">
<h2>Recipe</h2>
<pre>{escape(recipe.model_dump_json(indent=1))}</pre>
</html>
"""


def _row(name: str, images: int, values: dict[str, float]) -> str:
    numbers = "".join(f"<td>{_number(values.get(c, float('nan')))}</td>" for c in _COLUMNS)
    return f"<tr><td>{escape(name)}</td><td>{images}</td>{numbers}</tr>"


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "–"
