"""The network's twin in 8-bit integers: of several, the one that loses least anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from cellrim.io.atomic import atomic_path
from cellrim.models.card import CARD_NAME, INT8_NAME, ModelCard, read_card, sha256_of, write_card
from cellrim.models.precision import FLOAT32, INT8
from cellrim.models.twin.quantise import quantise
from cellrim.prediction.segmenter import Segmenter
from cellrim.training.patches import PatchSource
from cellrim.training.places import Places, Say
from cellrim.training.recipe import Recipe
from cellrim.training.store import Index
from cellrim.training.validate import SetScore, by_set, choose, exported, overall, score_all

LARGEST_INT8_LOSS = 0.005
"""What the twin may lose: of the score that training maximises, and of the mAP of any set."""


class Twin(NamedTuple):
    """A twin that was tried.

    Parameters
    ----------
    network
        The content of its file.
    lost
        What it loses of the score of float32.
    worst
        What it loses of the mAP of the set that loses most.
    """

    network: bytes
    lost: float
    worst: float


def add_int8_twin(
    folder: Path,
    recipe: Recipe,
    places: Places,
    index: Index,
    *,
    sets: Sequence[SetScore] | None = None,
    say: Say,
) -> ModelCard:
    """Give a model folder the network's twin in 8-bit integers, unless that is less accurate.

    Twins with ranges of other patches are made until one loses at most
    :data:`LARGEST_INT8_LOSS` in every set, or as many as the recipe allows: then the one whose
    worst set loses least is taken.

    Parameters
    ----------
    folder
        The model's, with its card.
    recipe, places, index
        Of its training.
    sets
        What it reaches in float32 on all validation images, as the twin is judged; measured where
        left out.
    say
        Told what the twins that are made lose.

    Returns
    -------
    ModelCard
        As it was written: it says whether there is a twin.
    """
    card = read_card(folder / CARD_NAME)
    if sets is None:
        sets = list(_reached(exported(folder, card, FLOAT32), places, index))
    source = PatchSource(recipe, places.packed_folder, index)
    best = Twin(b"", lost=np.inf, worst=np.inf)
    for draw in range(recipe.decode.int8_draws):
        first = draw * recipe.decode.int8_patches
        patches = (source[first + i].image[np.newaxis] for i in range(recipe.decode.int8_patches))
        digest = quantise(folder, patches, stride=card.stride)
        segmenter = exported(folder, msgspec.structs.replace(card, int8_sha256=digest), INT8)
        say(f"int8, ranges of patches {first} on:")
        rounded = _reached(segmenter, places, index)
        best = _better(best, (folder / INT8_NAME).read_bytes(), sets, rounded, say=say)
        if best.worst <= LARGEST_INT8_LOSS:
            break
    if best.lost > LARGEST_INT8_LOSS:
        say(f"no {INT8_NAME}: it would lose more than {LARGEST_INT8_LOSS} of the score")
        (folder / INT8_NAME).unlink()
        card = msgspec.structs.replace(card, int8_sha256=None)
    else:
        with atomic_path(folder / INT8_NAME) as partial:
            partial.write_bytes(best.network)
        card = msgspec.structs.replace(card, int8_sha256=sha256_of(best.network))
    write_card(folder / CARD_NAME, card)
    return card


def _better(
    best: Twin,
    network: bytes,
    sets: Sequence[SetScore],
    rounded: Iterable[SetScore],
    *,
    say: Say,
) -> Twin:
    """Compare a twin with float32, set by set, for as long as it may still be the best."""
    before = {s.name: s for s in sets}
    seen: list[SetScore] = []
    worst = -np.inf
    for reached in rounded:
        seen.append(reached)
        lost = before[reached.name].values["map"] - reached.values["map"]
        worst = max(worst, lost)
        if worst >= best.worst:
            say(f"  loses {lost:.4f} of the mAP of {reached.name}: not the best")
            return best
    score = overall(sets)["score"] - overall(seen)["score"]
    say(f"  loses {score:.4f} of the score, and at most {worst:.4f} of the mAP of a set")
    return Twin(network, score, worst)


def _reached(segmenter: Segmenter, places: Places, index: Index) -> Iterator[SetScore]:
    """Predict and score all validation images, set by set."""
    for _, samples in groupby(choose(index, None), key=lambda sample: sample[0]):
        yield from by_set(score_all(segmenter, places.packed_folder, list(samples)))
