"""How far is the int8 twin from its network, with ranges as measured and after learning them?

Usage: CELLRIM_DATA=path/to/data python benchmarks/learnt_ranges.py [MODEL] --packed FOLDER
       [--steps 0,300]

Makes the int8 twin of a model anew, learns its ranges and biases for so many batches, and prints
how far its flow is from float32's inside cells: the root mean square over the held-back images of
each set of recipes/general.toml, and of deepcell, and that of the image that is worst off. At most
five images of a set, at the scale that float32 estimates. The packed data are those of
recipes/general.toml. Needs the ``train`` extra.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from shared import RECIPE, Table, by_set, data_folder, recipe_samples, unseen_samples

from cellrim.core.image import Image
from cellrim.models.card import CARD_NAME, read_card, write_card
from cellrim.models.precision import FLOAT32, INT8
from cellrim.models.registry import find_model
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.segmenter import Prediction
from cellrim.training.crops import Crops
from cellrim.training.places import Places, packed_index
from cellrim.training.recipe import Recipe, load_recipe
from cellrim.training.twins import quantised

IMAGES_PER_SET = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="general")
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--steps", default="0,300", help="separated by commas")
    given = parser.parse_args()
    recipe = load_recipe(RECIPE)
    places = Places(run=given.packed, data=data_folder(), packed=given.packed)
    crops = Crops(recipe, places.packed_folder, packed_index(recipe, places, lambda *_: None))
    steps = [int(number) for number in given.steps.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        twins = [make(Path(scratch) / str(n), given.model, recipe, crops, n) for n in steps]
        network = load_model(given.model, precision=FLOAT32)
        columns = [f"{title}{n} batches" for n in steps for title in ("", "worst image, ")]
        table = Table("set", "images", *columns)
        for samples in (recipe_samples("validation"), unseen_samples()):
            for name, found in by_set(samples).items():
                images = [sample.read_image() for sample in found[:IMAGES_PER_SET]]
                exact = [network.predict(image) for image in images]
                errors = np.array(
                    [list(map(partial(error, twin), images, exact)) for twin in twins]
                )
                shown = np.sqrt(np.stack([errors.mean(1), errors.max(1)], axis=1))
                table.row(name, len(images), *(f"{value:.4f}" for value in shown.ravel()))


def make(folder: Path, model: str, recipe: Recipe, crops: Crops, steps: int) -> Segmenter:
    """Give a copy of a model the first twin that a training would try."""
    shutil.copytree(find_model(model).path, folder)
    card = read_card(folder / CARD_NAME)
    decoding = recipe.decode.model_copy(update={"int8_steps": steps})
    recipe = recipe.model_copy(update={"decode": decoding})
    digest = quantised(folder, recipe, crops, draw=0, stride=card.stride)
    write_card(folder / CARD_NAME, msgspec.structs.replace(card, int8_sha256=digest))
    return load_model(folder, precision=INT8)


def error(twin: Segmenter, image: Image, exact: Prediction) -> float:
    """Mean squared error of a component of the flow in the cells of float32's maps."""
    maps = twin.predict(image, diameter=exact.diameter).maps
    inside = exact.maps[0] > 0
    return float(np.square((maps - exact.maps)[1:3, inside]).mean())


if __name__ == "__main__":
    main()
