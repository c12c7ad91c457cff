"""What the benchmarks share: the images they look at, tables, and clocks."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cellrim.core.labels import median_diameter
from cellrim.datasets import open_dataset
from cellrim.datasets.base import Sample, Truth
from cellrim.evaluation import Counts, Scores, scores
from cellrim.prediction import Segmenter

K = TypeVar("K")

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"


def data_folder() -> Path:
    """The folder of ``CELLRIM_DATA``."""
    folder = os.environ.get("CELLRIM_DATA")
    if not folder:
        sys.exit("Expected the data's folder in the environment variable CELLRIM_DATA.")
    return Path(folder)


# ------------------------------------------------------------------ images


def recipe_samples(part: str) -> list[Sample]:
    """Samples of recipes/general.toml for ``train`` or ``validation``."""
    from cellrim.training.prepare import find_samples
    from cellrim.training.recipe import load_recipe

    found, _ = find_samples(load_recipe(RECIPE), data_folder())
    return [sample for _, which, sample in found if which == part]


def unseen_samples() -> list[Sample]:
    """Samples of deepcell, on which nothing was ever trained."""
    return list(open_dataset(data_folder() / "plain" / "deepcell").samples)


def by_set(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Group samples by data set, and by modality where a data set has several; sorted by name."""
    samples = list(samples)
    modalities: dict[str, set[str]] = defaultdict(set)
    for s in samples:
        modalities[s.dataset].add(s.modality)
    groups: dict[str, list[Sample]] = defaultdict(list)
    for s in samples:
        many = len(modalities[s.dataset]) > 1
        groups[f"{s.dataset} {s.modality}" if many else s.dataset].append(s)
    return dict(sorted(groups.items()))


def truth_of(sample: Sample) -> Truth:
    """Read the annotation of a sample that has one."""
    assert sample.read_truth is not None
    return sample.read_truth()


def score_set(segmenter: Segmenter, samples: list[Sample], *, told: bool) -> Scores:
    """Pooled scores of one set, of boxes where the truth is boxes.

    With ``told`` the true median diameter is given instead of estimated.
    """
    from cellrim.training.validate import score_image

    total = Counts()
    for sample in samples:
        truth = truth_of(sample)
        diameter = median_diameter(truth.labels) if told else None
        labels = segmenter.segment(sample.read_image(), diameter=diameter or None).labels
        masks, boxes = score_image(labels, truth)
        total += boxes or masks
    return scores(total)


# ------------------------------------------------------------------ tables


class Table:
    """A markdown table that is printed row by row, as the rows become known."""

    def __init__(self, *columns: str, show: bool = True) -> None:
        self._lines: list[str] = []
        self._columns, self._show = columns, show
        self._add(f"| {' | '.join(columns)} |")
        self._add("|" + "---|" * len(columns))

    def row(self, *values: object) -> None:
        """Add one row; floats are shown with three digits."""
        if len(values) != len(self._columns):
            raise ValueError(f"Expected {len(self._columns)} values, but got {len(values)}.")
        self._add(f"| {' | '.join(cell(v) for v in values)} |")

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if self._show:
            print(line, flush=True)

    def __str__(self) -> str:
        return "\n".join(self._lines)


def cell(value: object) -> str:
    """One value as a table shows it."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------ clocks


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: CPU-seconds (user + system, all threads) and seconds."""

    cpu: float
    wall: float


def cost_of(work: Callable[[], Any]) -> Cost:
    """Run something and say what it took in this process."""
    used, begin = cpu_seconds(), time.perf_counter()
    work()
    return Cost(cpu_seconds() - used, time.perf_counter() - begin)


def cost_of_process(*arguments: str) -> Cost:
    """Run ``cellrim`` once and say what its process took, from start to end."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "cellrim", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=as_installed())
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def as_installed() -> dict[str, str]:
    """Return the environment, in which modules are compiled once, as where they are installed."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def cpu_seconds() -> float:
    """User and system seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> int:
    """Most memory this process ever held, in bytes.

    On Linux ``getrusage`` also counts what the parent held when it started the process, so the
    kernel's own mark of this program is read there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="ascii").splitlines()
        mark = next((line for line in lines if line.startswith("VmHWM:")), None)
        if mark is not None:
            return int(mark.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def interleaved(works: Mapping[K, Callable[[], Any]], *, rounds: int) -> dict[K, Cost]:
    """Median cost of each piece of work, all of them run in turn, after one run to warm up.

    What else the machine does then hits all of them alike.
    """
    seen: dict[K, list[Cost]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            cost = cost_of(work)
            if turn:
                seen[name].append(cost)
    return {name: median_cost(costs) for name, costs in seen.items()}


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Median of each figure."""
    return Cost(statistics.median(c.cpu for c in costs), statistics.median(c.wall for c in costs))
