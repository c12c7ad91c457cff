"""The network's twin in 8-bit integers: of several, the one that loses least anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from cellrim.io.atomic import atomic_path
from cellrim.models.card import CARD_NAME, INT8_NAME, ModelCard, read_card, sha256_of, write_card
from cellrim.models.precision import FLOAT32, INT8
from cellrim.models.twin.quantise import quantise
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.views import make_views
from cellrim.training.crops import Crops
from cellrim.training.places import Places, Say
from cellrim.training.ranges import fit_twin
from cellrim.training.recipe import Recipe
from cellrim.training.store import Index
from cellrim.training.validate import (
    SetScore,
    by_set,
    choose,
    exported,
    mean_over,
    overall,
    score_all,
)

LARGEST_INT8_LOSS = 0.005
"""What the twin may lose: of the score that training maximises, and of the mAP of any set."""

# A set's looks, 64 with the default model, tell its mAP to 0.003: what loses half as much as it may
# is likely to keep within.
_SURELY_LITTLE = LARGEST_INT8_LOSS / 2
# Crops that a twin learns from at a time.
_BATCH = 8


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
    folder: Path, recipe: Recipe, places: Places, index: Index, *, say: Say
) -> ModelCard:
    """Give a model folder the network's twin in 8-bit integers, unless that is less accurate.

    Its ranges are measured, then learnt. Twins of other crops are made until one loses at most half
    of :data:`LARGEST_INT8_LOSS` in every set, or as many as the recipe allows: then the one whose
    worst set loses least is taken. Sets of few images are looked at in several views: one look
    moves by more than that.

    Parameters
    ----------
    folder
        The model's, with its card.
    recipe, places, index
        Of its training.
    say
        Told what the twins that are made lose.

    Returns
    -------
    ModelCard
        As it was written: it says whether there is a twin.
    """
    card = read_card(folder / CARD_NAME)
    looks = recipe.decode.int8_looks
    sets = list(_reached(exported(folder, card, FLOAT32), places, index, looks))
    crops = Crops(recipe, places.packed_folder, index)
    best = Twin(b"", lost=np.inf, worst=np.inf)
    for draw in range(recipe.decode.int8_draws):
        digest = quantised(folder, recipe, crops, draw=draw, stride=card.stride)
        segmenter = exported(folder, msgspec.structs.replace(card, int8_sha256=digest), INT8)
        say(f"int8, ranges of draw {draw + 1}:")
        rounded = _reached(segmenter, places, index, looks)
        best = _better(best, (folder / INT8_NAME).read_bytes(), sets, rounded, say=say)
        if best.worst <= _SURELY_LITTLE:
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


def quantised(folder: Path, recipe: Recipe, crops: Crops, *, draw: int, stride: int) -> str:
    """Write a twin with ranges that are measured on some crops, then learnt from others."""
    count, steps = recipe.decode.int8_patches, recipe.decode.int8_steps
    measured = [crops[draw * count + i][np.newaxis] for i in range(count)]
    digest = quantise(folder, measured, stride=stride)
    if not steps:
        return digest
    batches = (batch_of(crops, draw * steps + step) for step in range(steps))
    fitted = fit_twin(folder, batches, steps, recipe.training)
    return quantise(folder, measured[:1], stride=stride, fitted=fitted)


def batch_of(crops: Crops, number: int) -> Tensor:
    """Return the crops ``(B, 3, P, P)`` of a batch."""
    return torch.from_numpy(np.stack([crops[number * _BATCH + i] for i in range(_BATCH)]))


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


def _reached(segmenter: Segmenter, places: Places, index: Index, looks: int) -> Iterator[SetScore]:
    """Predict and score all validation images, set by set: those of small sets in several views."""
    for _, samples in groupby(choose(index, None), key=lambda sample: sample[0]):
        members = list(samples)
        yield from mean_over(
            [
                by_set(score_all(segmenter, places.packed_folder, members, view=view))
                for view in make_views(-(-looks // len(members)))
            ]
        )
