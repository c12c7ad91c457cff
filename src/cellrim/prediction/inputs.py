"""Which images a run takes, and where the results of each go. All of it before any work."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from cellrim.errors import CellrimError, UsageError
from cellrim.io.exports import FORMATS
from cellrim.io.images import IMAGE_SUFFIXES, STACK_SUFFIXES, is_zarr, scene_names
from cellrim.io.sources import Scene
from cellrim.io.tracking import is_ctc
from cellrim.prediction.records import read_records

OUTPUT_ENDINGS = {kind: known.ending for kind, known in FORMATS.items()}
"""What a run can save for each image, and how the file's name goes on after the image's stem."""

DEFAULT_SAVE = ("labels", "overlay", "cells")
"""What it saves where nothing is said."""

TRACKS_ENDING = "_RES"
"""End of the folder of an image's tracks, as the Cell Tracking Challenge names it."""

PLANES_ENDING = "_planes"
"""End of the folder of a stack's results that are one file for each plane."""

ALL_SCENES = "all"
"""What is asked for to segment every image of files that hold several."""

_SUFFIXES = IMAGE_SUFFIXES + STACK_SUFFIXES
_ZARR_SUFFIX = ".zarr"
# Two-part suffixes of OME files, which no result should carry in its name.
_DOUBLE_SUFFIX = ".ome"
PAIRED_ENDINGS = {"labels": "_cells.tif", "nuclei": "_nuclei.tif"}
"""What takes the place of ``labels`` where both cells and nuclei are asked for."""

_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Job:
    """One image of a run.

    Parameters
    ----------
    source
        The image file.
    target
        Path below the output folder, without suffix, to which :data:`OUTPUT_ENDINGS` are added.
    root
        The folder that was asked for; ``target`` follows the path below it.
    named
        Whether the file itself was asked for, not a folder or pattern.
    paired
        Whether cells and nuclei are asked for, so that the results are those of
        :data:`PAIRED_ENDINGS` too.
    scene
        Which image of a file that holds several.
    """

    source: Path
    target: PurePath
    root: Path
    named: bool = False
    paired: bool = False
    scene: Scene | None = None

    def outputs(self, folder: Path) -> dict[str, Path]:
        """Return the path of each kind of result."""
        endings = OUTPUT_ENDINGS | (PAIRED_ENDINGS if self.paired else {})
        return {kind: self._beside(folder, end) for kind, end in endings.items()}

    def tracks(self, folder: Path) -> Path:
        """Return the folder of the tracks."""
        return self._beside(folder, TRACKS_ENDING)

    def planes(self, folder: Path) -> Path:
        """Return the folder of results that are one file for each plane of a stack."""
        return self._beside(folder, PLANES_ENDING)

    def _beside(self, folder: Path, ending: str) -> Path:
        base = folder / self.target
        return base.with_name(base.name + ending)


def find_jobs(
    inputs: Sequence[str | Path],
    out: Path,
    *,
    paired: bool = False,
    scene: Scene | None = None,
) -> tuple[Job, ...]:
    """Find the images that are asked for and name their results.

    Parameters
    ----------
    inputs
        Files, folders (searched recursively for the known suffixes; hidden entries are left out)
        and patterns with ``*``, ``?``, ``[...]`` and ``**``.
    out
        The output folder. Nothing below it is an input, and no file that is a result of another
        input or of the run before is one, so that a run can be repeated into the folder of the
        images.
    paired
        Whether cells and nuclei are asked for.
    scene
        Which image of files that hold several, or :data:`ALL_SCENES`: each is a job of its own,
        and ``_s00``, ``_s01`` ... is added to its name.

    Returns
    -------
    tuple of Job
        In the order of the inputs, sorted within each; every file once. Results are named after
        the path below the input folder. Where two images would get one name, those that differ
        in their suffix keep it (``a.png``, ``a.tif``), and those of two folders get the folder's
        name in front.

    Raises
    ------
    UsageError
        If an input does not exist, cannot be searched or holds no image, if results would
        overwrite an image that was named, or if two images would still write the same file.
    """
    jobs: dict[Path, Job] = {}
    for given in inputs:
        with _searching():
            found = list(_expand(given, out))
        for job in found:
            jobs.setdefault(job.source.resolve(), replace(job, paired=paired))
    named = [part for job in _name(list(jobs.values())) for part in _scenes(job, scene)]
    kept = _without_results(named, out)
    if not kept:
        raise UsageError(
            f"Expected images ({', '.join((*_SUFFIXES, _ZARR_SUFFIX))}), but found none in: "
            f"{', '.join(map(str, inputs))}."
        )
    _check_unique(kept)
    return tuple(kept)


def images_by_name(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Find the images in a folder, at any depth, by what a run calls their results.

    Returns
    -------
    dict
        Path below the folder without suffix, which may be a double one such as ``.ome.tif``, to
        the files of that name. Results of a run lie among them where they are in the folder.

    Raises
    ------
    UsageError
        If a folder cannot be searched.
    """
    found: dict[str, tuple[Path, ...]] = {}
    with _searching():
        jobs = list(_walk(folder, folder, folder))
    for job in jobs:
        key = job.target.as_posix()
        found[key] = (*found.get(key, ()), job.source)
    return found


@contextmanager
def _searching() -> Iterator[None]:
    """Refuse a folder that cannot be searched: its images would be left out without a word."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"Cannot search {error.filename}: {error.strerror or error}.") from error


def _expand(given: str | Path, out: Path) -> Iterator[Job]:
    if given == "":
        raise UsageError("Expected an image, a folder or a pattern, but got an empty name.")
    path = Path(given)
    if path.exists() and not _is_folder(path):
        yield Job(path, _target(path, path.parent), path.parent, named=True)
    elif path.is_dir():
        yield from _walk(path, path, out)
    elif _MAGIC & set(str(given)):
        yield from _match(str(given), out)
    else:
        raise UsageError(f"Expected an image, a folder or a pattern, but {given} does not exist.")


def _walk(folder: Path, root: Path, out: Path) -> Iterator[Job]:
    skipped = out.resolve()
    for here, folders, files in os.walk(folder, onerror=_raise):
        at = Path(here)
        for name in sorted(f for f in folders if not f.startswith(".") and not _is_folder(at / f)):
            if name.lower().endswith(_ZARR_SUFFIX):
                yield Job(at / name, _target(at / name, root), root)
        # The output folder may be the input folder itself; only what lies below is left out.
        folders[:] = sorted(f for f in folders if _is_searched(at / f, skipped))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(_SUFFIXES):
                yield Job(at / name, _target(at / name, root), root)


def _raise(error: OSError) -> None:
    raise error


def _is_searched(folder: Path, skipped: Path) -> bool:
    if folder.name.startswith(".") or folder.resolve() == skipped:
        return False
    return _is_folder(folder) and not is_ctc(folder)


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder with images, and not itself the folder of a zarr image."""
    return path.is_dir() and not is_zarr(path) and path.suffix.lower() != _ZARR_SUFFIX


def _target(source: Path, root: Path) -> PurePath:
    """Path below the root, without the suffix, which may be a double one."""
    target = source.relative_to(root).with_suffix("")
    return target.with_suffix("") if target.suffix.lower() == _DOUBLE_SUFFIX else target


def _match(pattern: str, out: Path) -> Iterator[Job]:
    root = _fixed_part(pattern)
    # Path.glob takes no absolute patterns and matches hidden files.
    found = [Path(p) for p in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    if not found:
        raise UsageError(f"Expected images, but nothing matches {pattern}.")
    for path in found:
        if _is_folder(path) and "**" not in pattern:
            yield from _walk(path, root, out)
        elif _is_image(path) and not _is_below(path, out, root):
            yield Job(path, _target(path, root), root)


def _is_image(path: Path) -> bool:
    suffixes = _SUFFIXES if path.is_file() else (_ZARR_SUFFIX,)
    return path.name.lower().endswith(suffixes)


def _is_below(path: Path, out: Path, root: Path) -> bool:
    skipped = out.resolve()
    return skipped != root.resolve() and skipped in path.resolve().parents


def _fixed_part(pattern: str) -> Path:
    parts = Path(pattern).parts
    fixed = []
    for part in parts:
        if _MAGIC & set(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _name(jobs: list[Job]) -> list[Job]:
    """Make targets differ: by the suffix within a folder, by the folder's name between folders."""
    within = _crowded((job.root, job.target) for job in jobs)
    jobs = [
        replace(job, target=job.target.with_name(job.source.name))
        if (job.root, _folded(job.target)) in within
        else job
        for job in jobs
    ]
    if not _crowded((Path(), job.target) for job in jobs):
        return jobs
    return [replace(job, target=PurePath(job.root.resolve().name) / job.target) for job in jobs]


def _scenes(job: Job, scene: Scene | None) -> list[Job]:
    """Return the job with its scene, or one for each scene where all are asked for."""
    if scene != ALL_SCENES:
        return [replace(job, scene=scene)]
    try:
        count = len(scene_names(job.source))
    except CellrimError:  # whoever reads the image says what is wrong with it
        count = 1
    if count == 1:
        return [replace(job, scene=0)]
    digits = max(2, len(str(count - 1)))
    return [
        replace(job, scene=n, target=job.target.with_name(f"{job.target.name}_s{n:0{digits}d}"))
        for n in range(count)
    ]


def _crowded(keys: Iterable[tuple[Path, PurePath]]) -> set[tuple[Path, str]]:
    counts = Counter((root, _folded(target)) for root, target in keys)
    return {key for key, count in counts.items() if count > 1}


def _folded(target: PurePath) -> str:
    """Compare as file systems that ignore case do."""
    return target.as_posix().casefold()


def _without_results(jobs: list[Job], out: Path) -> list[Job]:
    """Leave out files that are results of other inputs, as on a second run into one folder."""
    results = {path.resolve() for job in jobs for path in job.outputs(out).values()}
    before = read_records(out).values()
    results |= {(out / output).resolve() for record in before for output in record.outputs}
    kept = []
    for job in jobs:
        if job.source.resolve() not in results:
            kept.append(job)
        elif job.named:
            raise UsageError(
                f"{job.source} is asked for as an image, but the results of another input would "
                "overwrite it: choose another output folder."
            )
    return kept


def _check_unique(jobs: list[Job]) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(_folded(job.target), job)
        if other is not job:
            raise UsageError(
                f"{other.source} and {job.source} would write the same files: run them with "
                "different output folders."
            )
