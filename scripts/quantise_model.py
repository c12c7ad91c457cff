"""Give a model folder the network's twin in 8-bit integers, as the end of a training does.

Usage: CELLRIM_DATA=path/to/data python scripts/quantise_model.py FOLDER PACKED [RECIPE]

For models that were made before there were twins. PACKED holds the data of the recipe, as
``cellrim train RECIPE --pack-only --packed PACKED`` packs them; RECIPE is recipes/general.toml
where left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cellrim.training.places import Places, packed_index
from cellrim.training.recipe import load_recipe
from cellrim.training.twins import add_int8_twin

RECIPE = Path(__file__).parents[1] / "recipes" / "general.toml"


def main() -> None:
    folder, packed = Path(sys.argv[1]), Path(sys.argv[2])
    recipe = load_recipe(Path(sys.argv[3]) if len(sys.argv) > 3 else RECIPE)
    places = Places(run=folder.parent, packed=packed)
    index = packed_index(recipe, places, print)
    add_int8_twin(folder, recipe, places, index, say=print)


if __name__ == "__main__":
    main()
