"""Which predicted file belongs to which true image, by name, from whatever tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from cellrim.core.image import Image
from cellrim.datasets.base import Sample, Truth
from cellrim.io.labels import LABEL_SUFFIXES, read_labels

# What tools append to the name of the image; taken off on both sides. Longest first.
ENDINGS = (
    "_cp_masks",
    "_instances",
    "_predicted",
    "_prediction",
    "_labels",
    "_label",
    "_masks",
    "_mask",
    "_truth",
    "_pred",
    "_gt",
)
# Files that tools write beside their label images, and that are none.
_OTHERS = ("_overlay", "_seg", "_flows", "_cp_output", "_outlines", "_probabilities")


@dataclass(frozen=True)
class Reference:
    """One true image to compare with.

    Parameters
    ----------
    dataset, name
        For tables and messages.
    keys
        Names that a prediction of it may have, most exact first.
    group
        What tables are split by: the data set, with the modality where it has several.
    read
        Reads the truth.
    read_image
        Reads the image; None where only the truth is known.
    """

    dataset: str
    name: str
    keys: tuple[str, ...]
    group: str
    read: Callable[[], Truth]
    read_image: Callable[[], Image] | None = None


@dataclass(frozen=True)
class Pairing:
    """What belongs together, and what has no partner.

    Parameters
    ----------
    pairs
        Predicted file and true image, in the order of the true images.
    missing
        Names of true images without a prediction.
    extra
        Names of predictions without a true image.
    unclear
        Name to the files that all could be its prediction.
    """

    pairs: tuple[tuple[Path, Reference], ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    unclear: Mapping[str, tuple[Path, ...]]


def strip_ending(stem: str) -> str:
    """Take off what tools append to an image's name.

    Examples
    --------
    >>> strip_ending("field1_cp_masks"), strip_ending("field1"), strip_ending("_mask")
    ('field1', 'field1', '_mask')
    """
    stem = stem.removesuffix(".ome")
    lowered = stem.lower()
    for ending in ENDINGS:
        if lowered.endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return stem


def label_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Find the label images in a folder, at any depth.

    Returns
    -------
    dict
        Path below the folder without ending and suffix, to the files of that name. A file with an
        ending such as ``_labels`` hides one without: that is the image it was made of.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in below.parts)
        if hidden or path.suffix.lower() not in LABEL_SUFFIXES or not path.is_file():
            continue
        if not path.stem.lower().endswith(_OTHERS):
            found.setdefault(_key(below), []).append(path)
    return {key: _preferred(paths) for key, paths in found.items()}


def references_in_folder(
    folder: Path,
) -> tuple[tuple[Reference, ...], dict[str, tuple[Path, ...]]]:
    """Make references of a folder of label images; say which names several files have."""
    files = label_files(folder)
    unclear = {key: paths for key, paths in files.items() if len(paths) > 1}
    references = tuple(
        Reference(
            dataset=folder.name,
            name=key,
            keys=(key, PurePosixPath(key).name),
            group=folder.name,
            read=partial(_read_truth, paths[0]),
        )
        for key, paths in files.items()
        if key not in unclear
    )
    return references, unclear


def references_in_dataset(root: Path, samples: Sequence[Sample]) -> tuple[Reference, ...]:
    """Make references of the samples of a data set; those without annotation are left out."""
    modalities: dict[str, set[str]] = {}
    for sample in samples:
        modalities.setdefault(sample.dataset, set()).add(sample.modality)
    return tuple(
        Reference(
            dataset=sample.dataset,
            name=sample.name,
            keys=_sample_keys(root, sample),
            group=sample.dataset
            if len(modalities[sample.dataset]) == 1
            else f"{sample.dataset} {sample.modality}",
            read=sample.read_truth,
            read_image=sample.read_image,
        )
        for sample in samples
        if sample.read_truth is not None
    )


def pair(predicted: Mapping[str, tuple[Path, ...]], references: Iterable[Reference]) -> Pairing:
    """Find the prediction of each true image.

    The path below the folder has to agree, or else the file name alone where it is the only one on
    the side of the predictions.
    """
    by_name: dict[str, list[str]] = {}
    for key in predicted:
        by_name.setdefault(PurePosixPath(key).name, []).append(key)
    pairs, missing = [], []
    unclear: dict[str, tuple[Path, ...]] = {}
    used: set[str] = set()
    for reference in references:
        keys = _candidates(reference, predicted, by_name)
        files = tuple(path for key in keys for path in predicted[key])
        used.update(keys)
        if not files:
            missing.append(reference.name)
        elif len(files) > 1:
            unclear[reference.name] = files
        else:
            pairs.append((files[0], reference))
    extra = tuple(key for key in predicted if key not in used)
    return Pairing(tuple(pairs), tuple(missing), extra, unclear)


def _candidates(
    reference: Reference,
    predicted: Mapping[str, tuple[Path, ...]],
    by_name: Mapping[str, Sequence[str]],
) -> Sequence[str]:
    for key in reference.keys:
        if key in predicted:
            return [key]
    for key in reference.keys:
        if key in by_name:
            return by_name[key]
    return []


def _sample_keys(root: Path, sample: Sample) -> tuple[str, ...]:
    base = root if root.is_dir() else root.parent
    paths = [_key(path.relative_to(base)) for path in sample.paths if path.is_relative_to(base)]
    names = [sample.name, f"{sample.dataset}/{sample.name}", *(path.stem for path in sample.paths)]
    keys = [*paths, *(_key(PurePosixPath(f"{name}.x")) for name in names)]
    keys += [PurePosixPath(key).name for key in keys]
    return tuple(dict.fromkeys(keys))


def _key(below: PurePosixPath | Path) -> str:
    return (below.parent / strip_ending(below.stem)).as_posix()


def _preferred(paths: Sequence[Path]) -> tuple[Path, ...]:
    marked = tuple(path for path in paths if strip_ending(path.stem) != path.stem)
    plain = tuple(path for path in marked if not path.stem.endswith(".ome"))
    return plain or marked or tuple(paths)


def _read_truth(path: Path) -> Truth:
    return Truth(read_labels(path))
