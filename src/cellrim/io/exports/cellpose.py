"""The ``_seg.npy`` of Cellpose: a pickled dict in an npy file, for its GUI and its training.

A pickle can run any code when it is loaded. Here it is loaded by an unpickler that knows the few
names that arrays of numpy need and refuses every other, so that a file from anywhere is safe to
read. Fields: https://cellpose.readthedocs.io/en/latest/outputs.html.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cellrim.core.labels import as_labels, median_diameter, relabel
from cellrim.errors import ImageReadError, InputError
from cellrim.io.atomic import atomic_path
from cellrim.io.exports.base import CellSet, Format, ShapeOf, stored
from cellrim.io.overlay import outlines

# All that arrays and scalars of numpy are made of, under its names before and since numpy 2.
_KNOWN = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


def _write(path: Path, cells: CellSet) -> None:
    labels = relabel(cells.labels)  # Cellpose takes the highest number for the count
    masks = stored(labels)
    diameter = median_diameter(labels)
    content = {
        "filename": cells.name,
        "masks": masks,
        "outlines": np.where(outlines(labels), masks, 0).astype(masks.dtype),
        "chan_choose": [0, 0],
        "ismanual": np.zeros(int(labels.max(initial=0)), bool),
        "diameter": None if np.isnan(diameter) else diameter,
    }
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.save(file, np.array(content, object), allow_pickle=True)


def _read(path: Path, _shape: ShapeOf) -> Iterator[CellSet]:
    try:
        with path.open("rb") as file:
            content = _load(file)
        yield CellSet(FORMAT.name_of(path), as_labels(content["masks"]))
    except OSError as error:
        raise ImageReadError(f"Cannot read {path}: {error.strerror or error}.") from error
    except InputError as error:
        raise ImageReadError(f"Cannot use the masks in {path}: {error}") from error
    except Exception as error:  # a broken pickle raises any type
        raise ImageReadError(
            f"Cannot read {path}: expected a _seg.npy of Cellpose, but it is broken or another "
            f"file ({error})."
        ) from error


def _load(file: BinaryIO) -> dict[str, Any]:
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(file)
    if shape != () or dtype.kind != "O":
        raise ValueError(f"an array of {dtype} and shape {shape}, not a dict")
    array = _ArraysOnly(file).load()
    content = array.item() if isinstance(array, np.ndarray) else array
    if not isinstance(content, dict) or "masks" not in content:
        raise ValueError("no dict with masks")
    return content


class _ArraysOnly(pickle.Unpickler):
    """Loads numbers, text, lists, dicts and arrays; refuses whatever else a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the known names.

        Raises
        ------
        pickle.UnpicklingError
            For any other.
        """
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it wants to load {module}.{name}, which is refused")
        return super().find_class(module, name)


FORMAT = Format(
    kind="cellpose",
    ending="_seg.npy",
    title="masks for the Cellpose GUI and its training",
    write=_write,
    read=_read,
)
