"""What runs the network: a batch of normalised tiles in, maps out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import ModelError
from cellrim.models.card import ONNX_NAME, ModelCard, sha256_of
from cellrim.representation.flow import MAPS


class Backend(Protocol):
    """Anything that runs the network."""

    @property
    def device(self) -> str:
        """Where it runs, as ``--device`` calls it: ``cpu``, ``cuda:0``, ``openvino``, ..."""
        ...

    @property
    def precision(self) -> str:
        """The numbers it computes in: ``float32``, ``int8``, ..."""
        ...

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Parameters
        ----------
        batch
            float32, ``(B, 3, H, W)``, normalised by :mod:`cellrim.core.normalise`; H and W are
            multiples of the card's stride.

        Returns
        -------
        ndarray
            float32, ``(B, 4, H, W)``, the maps of :data:`cellrim.representation.flow.MAPS`.
        """
        ...


class CheckedBackend(ABC):
    """What all that run ``model.onnx`` share: threads, and checks of what goes in and comes out.

    Parameters
    ----------
    folder
        Model folder with ``model.onnx``.
    card
        The folder's model card.
    threads
        Threads within one operator; :func:`default_threads` where left out.
    """

    def __init__(self, folder: Path, card: ModelCard, *, threads: int | None = None) -> None:
        self.threads = count_threads(threads)
        self._stride, self._path = card.stride, folder / ONNX_NAME

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; see :meth:`Backend.predict`.

        Raises
        ------
        ModelError
            If the batch does not fit, the network fails, or it returns NaN.
        """
        check_batch(batch, self._stride)
        try:
            maps = self._run(batch)
        except Exception as error:  # runtimes raise types of their own, and MemoryError
            failed = f"The network {self._path} failed on {batch.shape}: {error}"
            raise ModelError(failed) from error
        check_maps(maps, batch, self._path)
        return maps

    @abstractmethod
    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the maps of a batch that fits."""


def default_threads() -> int:
    """Threads to use: ``OMP_NUM_THREADS`` where set, else the CPUs this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_batch(batch: NDArray[Any], stride: int) -> None:
    """Check a batch before it enters a network.

    Raises
    ------
    ModelError
        If it is not float32 ``(B, 3, H, W)`` with H and W multiples of the stride.
    """
    if batch.dtype != np.float32 or batch.ndim != 4 or batch.shape[1] != 3:
        raise ModelError(
            f"Expected a float32 batch (B, 3, H, W), but got {batch.dtype} {batch.shape}."
        )
    if batch.shape[2] % stride or batch.shape[3] % stride:
        raise ModelError(
            f"Expected height and width to be multiples of {stride}, but got {batch.shape}."
        )


def check_maps(maps: NDArray[np.float32], batch: NDArray[np.float32], path: Path) -> None:
    """Check what a network made of a batch.

    Raises
    ------
    ModelError
        If it is not float32 ``(B, 4, H, W)``, or not all finite.
    """
    expected = (len(batch), len(MAPS), *batch.shape[2:])
    if maps.shape != expected:
        raise ModelError(f"Expected maps {expected} of {path}, but got {maps.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        total = maps.sum()  # not finite if any number is not; large ones may add up to infinity
    if not (np.isfinite(total) or np.isfinite(maps).all()):
        raise ModelError(f"The network {path} returned NaN or infinity.")


def count_threads(asked: int | None) -> int:
    """Return how many threads to use: as asked, or :func:`default_threads`.

    Raises
    ------
    ModelError
        If less than one is asked for.
    """
    if asked is not None and asked < 1:
        raise ModelError(f"Expected at least one thread, but got {asked}.")
    return asked or default_threads()


def read_network(path: Path, expected: str) -> bytes:
    """Read a network file, checked by the hash of its card.

    Raises
    ------
    ModelError
        If it cannot be read, or is another one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"Cannot read the network {path}: {error.strerror}.") from error
    found = sha256_of(data)
    if found != expected:
        raise ModelError(
            f"The network {path} is not the one of its card: expected sha256 {expected}, but "
            f"got {found}. Install the model again."
        )
    return data
