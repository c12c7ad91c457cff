"""Joins the blocks of a large image: pieces of one cell get one number."""

from __future__ import annotations

import numpy as np

from cellrim.prediction.certainty import joined_certainty
from cellrim.prediction.large.plan import LargePlan
from cellrim.prediction.large.store import Store, block_name
from cellrim.representation.blocks import SUMMARY_KEYS, BlockSummary, Joined, Ways, join_blocks
from cellrim.representation.flow import DecodeOptions

JOINED = "cells"
"""Name of what is known of all cells: where each block's table starts, the tables, the sums."""

WAYS = "ways"
"""Field of a block: the paths through it, needed where they go round and round."""
CERTAINTY = "certainty"
"""Field of a block: how sure the network is of it."""
DEVICE = "device"
"""What a block calls the device on which the network saw it."""


def join(store: Store, plan: LargePlan, count: int, options: DecodeOptions) -> Joined:
    """Join the first ``count`` blocks, or read what was joined before.

    Parameters
    ----------
    store, plan
        Of the image.
    count
        How many blocks there are; 0 where the image has no contrast.
    options
        Which instances are kept.

    Returns
    -------
    Joined
        The sums over the instances; the tables are in the store.

    Raises
    ------
    OutputError
        If a block cannot be read, or the outcome not be written.
    """
    if store.has(JOINED):
        (sums,) = store.read(JOINED, "sums")
        return Joined((), sums)
    blocks = [BlockSummary(*store.read(block_name(n), *SUMMARY_KEYS)) for n in range(count)]
    if not blocks:
        return Joined((), np.zeros((5, 0)))

    def ways(number: int) -> Ways:
        return store.read(block_name(number), WAYS)[0]

    joined = join_blocks(blocks, ways, width=plan.network_shape[1], options=options)
    starts = np.concatenate([[0], np.cumsum([len(t) for t in joined.tables])]).astype(np.int64)
    store.write(JOINED, starts=starts, tables=np.concatenate(joined.tables), sums=joined.sums)
    return Joined((), joined.sums)


def certainty_of_blocks(store: Store, count: int) -> float:
    """How sure the network is of the whole image, 0..1, by its first ``count`` blocks.

    Raises
    ------
    OutputError
        If a block cannot be read.
    """
    sums = (store.read(block_name(n), CERTAINTY)[0].tolist() for n in range(count))
    return joined_certainty((total, pixels) for total, pixels in sums)


def devices_of(store: Store, count: int) -> tuple[str, ...]:
    """Name the devices on which the network saw the first ``count`` blocks, sorted.

    Raises
    ------
    OutputError
        If a block cannot be read.
    """
    return tuple(sorted({str(store.read(block_name(n), DEVICE)[0]) for n in range(count)}))
