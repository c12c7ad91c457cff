"""Run-length codecs: Sartorius (Kaggle) text, and COCO counts, plain and compressed.

Two customs for one mask. Sartorius writes pairs of start (from 1) and length along the rows. COCO
writes the lengths alone, along the columns, of background and object in turn, background first;
compressed, the lengths are differences packed five bits to a character.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.core.parts import CellPart, whole
from cellrim.errors import DatasetError, InputError

Mask = NDArray[np.bool_]

# The compressed form (maskApi.c of https://github.com/cocodataset/cocoapi): five bits of value and
# one that says that more follow, from character "0" on.
_BITS = 5
_MORE = 1 << _BITS
_VALUE = _MORE - 1
_SIGN = 1 << (_BITS - 1)
_FIRST_CHARACTER = 48
_MAX_CHARACTERS = 12  # 60 bits: more is no length of this world, and would overflow


def encode_sartorius(mask: Mask) -> str:
    """Encode a mask as pairs of start and length, counted from 1 along the rows.

    Parameters
    ----------
    mask
        bool, axes ``YX``.

    Returns
    -------
    str
        Numbers separated by spaces; empty for an empty mask.

    Raises
    ------
    InputError
        If the mask is not a bool array with axes ``YX``.

    Examples
    --------
    >>> encode_sartorius(np.array([[1, 0, 1], [1, 0, 0]], bool))
    '1 1 3 2'
    """
    texts = encode_sartorius_labels(_checked(mask).astype(np.int32))
    return texts[0] if texts else ""


def encode_sartorius_labels(labels: Labels) -> list[str]:
    """Encode each instance of a label image, in the order of the ids.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background.
    """
    return sartorius_texts(whole(labels), (labels.shape[0], labels.shape[1]))


def sartorius_texts(part: CellPart, shape: tuple[int, int]) -> list[str]:
    """Encode each cell of a part of an image of this shape, in the order of the ids."""
    cells, runs = _part_runs(part, shape, columns=False)
    return [
        " ".join(map(str, runs[begin:end].ravel().tolist()))
        for begin, end in pairwise(cells.tolist())
    ]


def decode_sartorius(text: str, shape: tuple[int, int]) -> Mask:
    """Decode pairs of start and length, counted from 1 along the rows.

    Parameters
    ----------
    text
        Numbers separated by white space; runs in order and apart from each other or adjacent.
    shape
        Height and width.

    Returns
    -------
    ndarray
        bool, axes ``YX``.

    Raises
    ------
    DatasetError
        If the text is no list of pairs of numbers, or a run is empty, beyond the image, or not
        behind the run before it.
    """
    size = shape[0] * shape[1]
    starts, lengths = sartorius_runs(text, size)
    change = np.zeros(size + 1, np.int8)
    change[starts] += 1
    change[starts + lengths] -= 1
    flat: Mask = np.cumsum(change[:-1], dtype=np.int8).astype(bool)
    return flat.reshape(shape)


def sartorius_runs(text: str, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read pairs of start and length without making a mask of them.

    Parameters
    ----------
    text
        As for :func:`decode_sartorius`.
    size
        Pixels of the image.

    Returns
    -------
    tuple
        Starts, counted from 0 along the rows, and lengths.

    Raises
    ------
    DatasetError
        As :func:`decode_sartorius`.
    """
    numbers = _numbers(text.split())
    if len(numbers) % 2:
        raise DatasetError(
            f"Expected pairs of start and length, but got {len(numbers)} numbers, which is odd."
        )
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    _require_runs(starts, lengths, size=size)
    return starts, lengths


def encode_coco(mask: Mask) -> NDArray[np.int64]:
    """Encode a mask as COCO counts: run lengths along the columns, background first.

    Parameters
    ----------
    mask
        bool, axes ``YX``.

    Returns
    -------
    ndarray
        int64, one-dimensional; the first is 0 where the mask begins with the object. The sum is
        the number of pixels.

    Raises
    ------
    InputError
        If the mask is not a bool array with axes ``YX``.

    Examples
    --------
    >>> encode_coco(np.array([[1, 0], [1, 1]], bool))
    array([0, 2, 1, 1])
    """
    every = encode_coco_labels(_checked(mask).astype(np.int32))
    return every[0] if every else np.array([mask.size])


def encode_coco_labels(labels: Labels) -> list[NDArray[np.int64]]:
    """Encode each instance of a label image as COCO counts, in the order of the ids.

    Parameters
    ----------
    labels
        int32, axes ``YX``; 0 is background.
    """
    counts, cuts = _part_counts(whole(labels), (labels.shape[0], labels.shape[1]))
    return [counts[begin:end] for begin, end in pairwise(cuts.tolist())]


def coco_texts(part: CellPart, shape: tuple[int, int]) -> list[str]:
    """Encode each cell of a part of an image of this shape as compressed COCO counts, by the ids.

    All cells are compressed at once.
    """
    counts, cuts = _part_counts(part, shape)
    characters, width = _compressed(counts, cuts)
    text = characters.tobytes().decode("ascii")
    places = np.append(0, np.cumsum(width))[cuts].tolist()
    return [text[begin:end] for begin, end in pairwise(places)]


def decode_coco(counts: Sequence[int] | NDArray[np.int64] | str, shape: tuple[int, int]) -> Mask:
    """Decode COCO counts, plain or compressed.

    Parameters
    ----------
    counts
        Run lengths along the columns, background first, or the string they are compressed to.
    shape
        Height and width.

    Returns
    -------
    ndarray
        bool, axes ``YX``.

    Raises
    ------
    DatasetError
        If the counts are malformed or do not fill the image exactly.
    """
    runs = coco_counts(counts, shape)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(shape, order="F"))


def coco_counts(
    counts: Sequence[int] | NDArray[np.int64] | str, shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Check COCO counts, plain or compressed, and return them plain.

    Parameters
    ----------
    counts, shape
        As for :func:`decode_coco`.

    Raises
    ------
    DatasetError
        As :func:`decode_coco`.
    """
    runs = decompress_counts(counts) if isinstance(counts, str) else _numbers(counts)
    size = shape[0] * shape[1]
    if len(runs) and runs.min() < 0:
        raise DatasetError(f"Expected run lengths >= 0, but got {runs.min()}.")
    if (len(runs) and runs.max() > size) or runs.sum() != size:
        raise DatasetError(
            f"Expected run lengths that sum to {shape[0]} x {shape[1]} = {size} pixels, "
            f"but they sum to {sum(runs.tolist())}."
        )
    return runs


def compress_counts(counts: NDArray[np.int64]) -> str:
    """Compress COCO counts to a string, exactly as pycocotools does.

    Parameters
    ----------
    counts
        int64, one-dimensional, see :func:`encode_coco`.
    """
    values = np.asarray(counts, np.int64)
    characters, _ = _compressed(values, np.array([0, len(values)]))
    return characters.tobytes().decode("ascii")


def _compressed(
    counts: NDArray[np.int64], cuts: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Compress the counts of many masks, each from one cut to the next.

    Returns
    -------
    tuple
        The characters of all, and how many of them each count has.
    """
    values = counts.copy()
    position = np.arange(len(counts)) - np.repeat(cuts[:-1], np.diff(cuts))
    later = np.flatnonzero(position > 2)  # each the difference to the one before the last
    values[later] -= counts[later - 2]
    characters = np.zeros((len(values), _MAX_CHARACTERS), np.uint8)
    used = np.zeros(characters.shape, bool)
    pending = np.ones(len(values), bool)
    for place in range(_MAX_CHARACTERS):
        if not pending.any():
            break
        low = values & _VALUE
        values >>= _BITS
        used[:, place] = pending
        pending = pending & (values != np.where(low & _SIGN, -1, 0))
        characters[:, place] = low + np.where(pending, _MORE, 0) + _FIRST_CHARACTER
    return characters[used], used.sum(axis=1)


def decompress_counts(text: str) -> NDArray[np.int64]:
    """Decompress the string form of COCO counts.

    Returns
    -------
    ndarray
        int64, one-dimensional.

    Raises
    ------
    DatasetError
        If there are characters that do not belong, or the last number is cut off.
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST_CHARACTER
    except UnicodeEncodeError:
        codes = np.array([-1])
    if len(codes) == 0:
        return codes
    if codes.min() < 0 or codes.max() >= 2 * _MORE:
        raise DatasetError(
            "Expected compressed run lengths of characters '0' to 'o', but got others."
        )
    ends = np.flatnonzero(codes & _MORE == 0)
    if len(ends) == 0 or ends[-1] != len(codes) - 1:
        raise DatasetError("Expected complete compressed run lengths, but the last is cut off.")
    starts = np.concatenate([[0], ends[:-1] + 1])
    widths = ends - starts + 1
    if widths.max() > _MAX_CHARACTERS:
        raise DatasetError(
            f"Expected at most {_MAX_CHARACTERS} characters for a run length, "
            f"but got {widths.max()}."
        )
    places = np.arange(len(codes)) - np.repeat(starts, widths)
    values = np.add.reduceat((codes & _VALUE) << (_BITS * places), starts)
    values -= np.where(codes[ends] & _SIGN, 1 << (_BITS * widths), 0)
    for first in (1, 2):  # from the fourth on, each is the difference to the one before the last
        values[first::2] = np.cumsum(values[first::2])
    return values


def _part_counts(
    part: CellPart, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """COCO counts of the cells of a part one after another; where each begins, and the end."""
    cells, runs = _part_runs(part, shape, columns=True)
    starts, lengths = runs[:, 0] - 1, runs[:, 1]
    ends, last = starts + lengths, cells[1:] - 1
    before = np.append(0, ends)[: len(ends)]  # where the run before ends
    before[cells[:-1]] = 0
    rest = np.zeros(len(runs), np.int64)
    rest[last] = shape[0] * shape[1] - ends[last]
    kept = np.ones((len(runs), 3), bool)
    kept[:, 2] = rest > 0
    counts = np.stack([starts - before, lengths, rest], axis=1)[kept]
    return counts, np.append(0, np.cumsum(kept.sum(axis=1)))[cells]


def _part_runs(
    part: CellPart, shape: tuple[int, int], *, columns: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the runs of the cells of a part in the flattened image.

    Returns
    -------
    tuple
        Where each cell begins in the runs, and the end; and (k, 2): start of each run, counted
        from 1 along the rows (columns) of the whole image, and length.
    """
    turned = part.labels.T if columns else part.labels
    (first_line, first_place), length = part.origin, shape[1]
    if columns:
        first_line, first_place, length = first_place, first_line, shape[0]
    padded = np.pad(turned, ((0, 0), (0, 1)))  # so that no run goes on in the next line
    flat = padded.ravel()
    begin = np.flatnonzero(np.diff(flat, prepend=0))
    size = np.diff(begin, append=flat.size)
    begin, size = begin[flat[begin] > 0], size[flat[begin] > 0]
    order = np.argsort(flat[begin], kind="stable")
    begin, size = begin[order], size[order]
    line, place = np.divmod(begin, padded.shape[1])
    ids, start = flat[begin], (line + first_line) * length + place + first_place
    # What ends one line of the image and begins the next is one run there.
    fresh = np.ones(len(ids), bool)
    fresh[1:] = (ids[1:] != ids[:-1]) | (start[1:] != start[:-1] + size[:-1])
    head = np.flatnonzero(fresh)
    size = np.add.reduceat(size, head) if len(head) else size
    cells = np.flatnonzero(np.diff(ids[head], prepend=0, append=0))
    return cells, np.stack([start[head] + 1, size], axis=1).astype(np.int64)


def _checked(mask: Mask) -> Mask:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InputError(
            f"Expected a bool mask with axes YX, but got {mask.dtype} of shape {mask.shape}."
        )
    return mask


def _numbers(items: Sequence[object] | NDArray[np.int64]) -> NDArray[np.int64]:
    try:
        numbers = np.asarray(items, dtype=np.int64 if len(items) == 0 else None)
        if numbers.dtype.kind in "US":
            numbers = numbers.astype(np.int64)
        elif numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise ValueError
    except (ValueError, OverflowError, TypeError) as error:
        raise DatasetError("Expected whole numbers in run lengths, but got others.") from error
    return numbers.astype(np.int64)


def _require_runs(starts: NDArray[np.int64], lengths: NDArray[np.int64], *, size: int) -> None:
    # Each alone against the size, since the sum of two absurd numbers could overflow.
    bad = (starts < 0) | (starts >= size) | (lengths < 1) | (lengths > size)
    bad |= starts > size - lengths
    if bad.any():
        first = int(bad.argmax())
        raise DatasetError(
            f"Expected runs of at least one pixel within 1..{size}, "
            f"but got start {starts[first] + 1} and length {lengths[first]}."
        )
    behind = starts[1:] >= (starts + lengths)[:-1]
    if not behind.all():
        first = int(behind.argmin()) + 1
        raise DatasetError(
            f"Expected runs in order that do not overlap, but the one that starts at "
            f"{starts[first] + 1} follows one that starts at {starts[first - 1] + 1} and has "
            f"length {lengths[first - 1]}."
        )
