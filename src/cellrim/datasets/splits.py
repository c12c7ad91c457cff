"""Training and validation, decided group by group with a hash, so that nothing ever moves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from cellrim.datasets.base import Sample
from cellrim.errors import InputError

Part = Literal["train", "validation"]
VALIDATION = 0.15
# With fewer groups than this, chance alone may take most of a set away from training.
FEW_GROUPS = 10


def group_key(sample: Sample) -> str:
    """Name of the sample's group, unique over all data sets."""
    return f"{sample.dataset}/{sample.group}"


def split_of(group_key: str, validation: float = VALIDATION) -> Part:
    """Tell on which side a group falls. The same on every machine, whatever else there is.

    Parameters
    ----------
    group_key
        See :func:`group_key`.
    validation
        Fraction of the groups that go to validation on average, 0..1.

    Raises
    ------
    InputError
        If the fraction is not in 0..1.

    Examples
    --------
    >>> split_of("bbbc009/6hr-001", 0.0), split_of("bbbc009/6hr-001", 1.0)
    ('train', 'validation')
    """
    if not 0.0 <= validation <= 1.0:
        raise InputError(f"Expected a fraction between 0 and 1, but got {validation}.")
    return "validation" if _position(group_key) < validation else "train"


def split(
    samples: Iterable[Sample], validation: float = VALIDATION
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split samples by group, each data set by itself.

    A data set with two groups or more has at least one on each side: where the hash alone leaves a
    side empty, the group nearest to it by the hash goes there. With fewer than
    :data:`FEW_GROUPS` groups exactly one is held out, the first by the hash. A single group is for
    training.
    With a fraction of exactly 0 or 1 everything is on one side, as asked.

    Parameters
    ----------
    samples
        Any number, of any data sets.
    validation
        Fraction of the groups that go to validation on average, 0..1.

    Returns
    -------
    tuple
        Samples for training and for validation, each in the order given.

    Raises
    ------
    InputError
        If the fraction is not in 0..1.
    """
    samples = tuple(samples)
    groups: dict[str, set[str]] = {}
    for sample in samples:
        groups.setdefault(sample.dataset, set()).add(group_key(sample))
    held_out = frozenset(
        key for keys in groups.values() for key in _held_out(keys, validation=validation)
    )
    return (
        tuple(s for s in samples if group_key(s) not in held_out),
        tuple(s for s in samples if group_key(s) in held_out),
    )


def _held_out(keys: set[str], *, validation: float) -> set[str]:
    chosen = {key for key in keys if split_of(key, validation) == "validation"}
    if validation in (0.0, 1.0):
        return chosen
    if len(keys) == 1:
        return set()
    if len(keys) < FEW_GROUPS or not chosen:
        return {min(keys, key=_position)}
    if chosen == keys:
        return chosen - {max(keys, key=_position)}
    return chosen


def _position(key: str) -> float:
    """Where a group stands in 0..1, evenly spread and for ever the same."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
