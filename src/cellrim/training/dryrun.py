"""Would this recipe work, how long would it take, how much memory? Without training."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from cellrim.core.labels import areas
from cellrim.errors import CellrimError, RecipeError
from cellrim.training.loop import Limits, Trainer
from cellrim.training.places import Places
from cellrim.training.prepare import data_root, find_samples, prepare
from cellrim.training.recipe import Recipe
from cellrim.training.store import read_index

_STEPS = 2
# Images per set and part that are really read and packed to try the recipe.
_TRIED = 1


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a training would be.

    ``images`` and ``cells`` by (data set, part); ``seconds`` of the whole schedule without
    validation; ``memory`` peak of this process so far, in bytes; ``problems`` one line each.
    """

    images: dict[tuple[str, str], int]
    cells: dict[tuple[str, str], int]
    seconds: float
    memory: int
    problems: tuple[str, ...]

    def describe(self) -> str:
        """Tell it in a few lines."""
        lines = [
            f"{name:<12} {part:<10} {self.images[name, part]:>6} images "
            f"{self.cells[name, part]:>8} cells"
            for name, part in sorted(self.images)
        ]
        lines += [f"problem: {p}" for p in self.problems[:10]]
        if len(self.problems) > 10:
            lines.append(f"... and {len(self.problems) - 10} problems more")
        lines.append(
            f"about {self.seconds / 3600:.1f} hours and {self.memory / 2**30:.1f} GB of memory here"
        )
        return "\n".join(lines)


def dry_run(recipe: Recipe, places: Places, *, limits: Limits | None = None) -> Outlook:
    """Read every annotation, count, and time a few training steps.

    Raises
    ------
    RecipeError
        If the recipe cannot work: a path is missing, there are no labels, a split is empty.
    """
    limits = limits or Limits()
    found, problems = find_samples(recipe, data_root(places.data))
    images: Counter[tuple[str, str]] = Counter()
    cells: Counter[tuple[str, str]] = Counter()
    for _, part, sample in found:
        assert sample.read_truth is not None
        try:
            count = len(areas(sample.read_truth().labels))
        except CellrimError as error:
            problems.append(f"{sample.dataset}: {sample.name}: {error}")
            continue
        images[sample.dataset, part] += 1
        cells[sample.dataset, part] += count
    for part in ("train", "validation"):
        if not sum(n for (_, p), n in cells.items() if p == part):
            raise RecipeError(f"The {part} images have no cell; problems: {'; '.join(problems)}")
    seconds = _time_steps(recipe, places, limits)
    return Outlook(dict(images), dict(cells), seconds, _peak_memory(), tuple(problems))


def _time_steps(recipe: Recipe, places: Places, limits: Limits) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = places.packed_folder
        index = read_index(folder)
        if index is None or index.data_key != recipe.data_key():
            folder = Path(scratch)
            index = prepare(
                recipe, data_root(places.data), folder, progress=lambda _: None, per_set=_TRIED
            )
        trainer = Trainer(recipe, folder, index, limits=replace(limits, workers=0))
        trainer.try_steps(1)  # compiles kernels, fills caches
        begin = time.monotonic()
        trainer.try_steps(_STEPS)
        step = (time.monotonic() - begin) / _STEPS
    return step * recipe.training.patches / recipe.training.batch


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
