"""Where a training reads and writes, and the packed data there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cellrim.training.prepare import data_root, prepare
from cellrim.training.recipe import Recipe
from cellrim.training.store import Index, read_index

RECIPE = "recipe.json"
LOG = "log.csv"
MODEL = "model"
PACKED = "packed"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a training reads and writes.

    Parameters
    ----------
    run
        The run folder: recipe, log, checkpoint, model, report.
    data
        Root of the recipe's data paths; ``CELLRIM_DATA`` or the current folder where left out.
    packed
        Folder of the packed data; ``packed`` in the run folder where left out. May be shared by
        runs with the same data, and carried to a machine without the data.
    """

    run: Path
    data: Path | None = None
    packed: Path | None = None

    @property
    def packed_folder(self) -> Path:
        """The folder of the packed data."""
        return self.packed or self.run / PACKED


def packed_index(recipe: Recipe, places: Places, live: Say) -> Index:
    """Pack the data where that is still to do.

    Raises
    ------
    RecipeError
        If neither packed data nor the data itself is there.
    """
    index = read_index(places.packed_folder)
    if index is not None and index.data_key == recipe.data_key():
        return index
    return prepare(recipe, data_root(places.data), places.packed_folder, progress=live)
