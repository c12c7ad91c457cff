"""All formats cellrim reads. A new one is a module with a ``READER`` and one line here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellrim.datasets import (
    bbbc007,
    bbbc009,
    bbbc018,
    bbbc030,
    bbbc041,
    coco,
    masks,
    pairs,
    sartorius,
)
from cellrim.datasets.base import Listing, Reader
from cellrim.errors import DatasetError, InputError

READERS: dict[str, Reader] = {
    "bbbc007": bbbc007.READER,
    "bbbc009": bbbc009.READER,
    "bbbc018": bbbc018.READER,
    "bbbc030": bbbc030.READER,
    "bbbc041": bbbc041.READER,
    "sartorius": sartorius.READER,
    "pairs": pairs.READER,
    "coco": coco.READER,
    "masks": masks.READER,
}


def open_dataset(path: Path, name: str | None = None, **options: Any) -> Listing:
    """List what is in a data set, of whatever format it is.

    Parameters
    ----------
    path
        The folder (or file) as the archive unpacks it, whole or partial.
    name
        A format of :data:`READERS`; recognised by the files where left out.
    options
        What the format's reader takes besides, for example ``target="cells"`` for ``bbbc018``.

    Returns
    -------
    Listing
        The usable samples and what is wrong with the other records. Pixels are not read yet.

    Raises
    ------
    InputError
        If the name or an option is unknown.
    DatasetError
        If there is nothing at the path, or no format (or more than one) fits it.
    """
    if not path.exists():
        raise DatasetError(f"Expected a data set at {path}, but there is nothing.")
    return find_reader(path, name).read(path, **options)


def find_reader(path: Path, name: str | None = None) -> Reader:
    """Return the reader of this name, or the one whose format the path has.

    Raises
    ------
    InputError
        If the name is unknown.
    DatasetError
        If no format, or more than one, fits the path.
    """
    choices = ", ".join(READERS)
    if name is not None:
        if name not in READERS:
            raise InputError(f"Expected a data set format, one of {choices}, but got {name!r}.")
        return READERS[name]
    fitting = [reader for reader in READERS.values() if reader.matches(path)]
    if not fitting:
        raise DatasetError(
            f"Expected a data set at {path}, but it has the layout of none of: {choices}. "
            "Open the folder that the archive unpacks to, or say the format by name."
        )
    if len(fitting) > 1:
        names = ", ".join(reader.name for reader in fitting)
        raise DatasetError(f"{path} has the layout of {names}: say which by name.")
    return fitting[0]
