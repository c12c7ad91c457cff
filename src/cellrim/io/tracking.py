"""Tracks in the form of the Cell Tracking Challenge: ``maskT.tif`` and ``res_track.txt``.

One folder holds a 16-bit label image for each frame, whose values are the numbers of the tracks,
and one line ``L B E P`` for each track: its number, its first and last frame, and the number of the
track that divided into it, or 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim.core.labels import Labels
from cellrim.errors import OutputError
from cellrim.io.atomic import atomic_folder, remove

TRACKS_NAME = "res_track.txt"


def write_ctc(
    folder: Path,
    frames: Iterable[Labels],
    *,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    parent: NDArray[np.int64],
) -> None:
    """Write tracks as the Cell Tracking Challenge wants results, whole or not at all.

    Parameters
    ----------
    folder
        Where to, by custom ``NAME_RES``. Replaced where it is such a folder already.
    frames
        Label images ``YX`` whose values are track numbers, first frame first.
    begin, end, parent
        One value for each of the tracks 1..n.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds other files.
    """
    import tifffile

    _check_replaceable(folder)
    digits = max(3, len(str(int(end.max(initial=0)))))
    dtype = np.uint16 if len(begin) <= np.iinfo(np.uint16).max else np.uint32
    with atomic_folder(folder) as partial:
        for frame, labels in enumerate(frames):
            tifffile.imwrite(
                partial / f"mask{frame:0{digits}d}.tif", labels.astype(dtype), compression="zlib"
            )
        rows = enumerate(zip(begin, end, parent, strict=True), start=1)
        lines = (f"{n} {b} {e} {p}\n" for n, (b, e, p) in rows)
        (partial / TRACKS_NAME).write_text("".join(lines), encoding="ascii")


def remove_ctc(folder: Path) -> None:
    """Remove what :func:`write_ctc` wrote, if it is there; a folder with other files stays.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    if is_ctc(folder):
        remove(folder)


def is_ctc(folder: Path) -> bool:
    """Whether a folder holds what :func:`write_ctc` writes and nothing else."""
    if not (folder / TRACKS_NAME).is_file():
        return False
    return all(
        path.name == TRACKS_NAME or (path.name.startswith("mask") and path.suffix == ".tif")
        for path in folder.iterdir()
    )


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not is_ctc(folder):
        raise OutputError(
            f"Cannot write {folder}: it is there already and holds other files. Choose another "
            "output folder."
        )
