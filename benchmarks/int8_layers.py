"""What does int8 cost in accuracy, with other layers in float32, and with ranges of other crops?

Usage: python benchmarks/int8_layers.py MODEL_FOLDER --packed FOLDER [--draws N]

Makes the int8 twin of a model folder several times, each with other layers in float32 or, with
--draws, each with the ranges of activations measured on other crops, and prints what mAP each
loses on the held-back images of each set of recipes/general.toml. The packed data are those of its
training. Needs the ``train`` extra.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import msgspec
from shared import RECIPE, Table, data_folder

from cellrim.models.card import CARD_NAME, read_card, write_card
from cellrim.models.precision import FLOAT32, INT8
from cellrim.models.twin.quantise import OUTERMOST, quantise
from cellrim.prediction import load_model
from cellrim.training.crops import Crops
from cellrim.training.places import Places, packed_index
from cellrim.training.recipe import load_recipe
from cellrim.training.store import Index
from cellrim.training.validate import by_set, choose, overall, score_all

VARIANTS = {
    "the outermost (as shipped)": OUTERMOST,
    "and the stem": (*OUTERMOST, "/stem/"),
    "and what leads to the rim": (*OUTERMOST, "/to_rim/"),
    "and the last block": (*OUTERMOST, "/to_rim/", "/up.0/"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--draws", type=int, help="draws of crops, instead of layers")
    given = parser.parse_args()
    recipe = load_recipe(RECIPE)
    places = Places(run=given.packed, data=data_folder(), packed=given.packed)
    index = packed_index(recipe, places, lambda *_: None)
    crops = Crops(recipe, places.packed_folder, index)
    score, exact = scores(given.model, FLOAT32, places, index)
    count = recipe.decode.int8_patches
    if given.draws:
        starts = range(0, given.draws * count, count)
        twins = {f"ranges of crops from {start} on": (start, OUTERMOST) for start in starts}
    else:
        twins = {f"in float32 {name}": (0, spared) for name, spared in VARIANTS.items()}
    table = Table("twin", "score", *exact)
    table.row("none: all in float32", score, *exact.values())
    for name, (start, spared) in twins.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            shutil.copytree(given.model, folder)
            patches = (crops[i][None] for i in range(start, start + count))
            card = read_card(folder / CARD_NAME)
            digest = quantise(folder, patches, stride=card.stride, spared=spared)
            write_card(folder / CARD_NAME, msgspec.structs.replace(card, int8_sha256=digest))
            score, found = scores(folder, INT8, places, index)
        table.row(name, score, *(f"{found[n] - exact[n]:+.3f}" for n in exact))


def scores(
    folder: Path, precision: str, places: Places, index: Index
) -> tuple[float, dict[str, float]]:
    """Score that training maximises, and mAP of each set."""
    model = load_model(folder, precision=precision, device="cpu")
    sets = by_set(score_all(model, places.packed_folder, choose(index, None)))
    return overall(sets)["score"], {s.name: s.values["map"] for s in sets}


if __name__ == "__main__":
    main()
