"""From a model's name to a segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cellrim.models.backend import open_backend
from cellrim.models.devices import AUTO
from cellrim.models.registry import find_model
from cellrim.prediction.accurate import AccurateSegmenter
from cellrim.prediction.segmenter import DEFAULT_TILE, Segmenter


def load_model(
    name: str | Path = "general",
    *,
    threads: int | None = None,
    tile_size: int = DEFAULT_TILE,
    accurate: bool = False,
    device: str = AUTO,
) -> Segmenter:
    """Load a model.

    Parameters
    ----------
    name
        An embedded model's name, or the folder of a trained one.
    threads
        Threads to use; one per CPU where left out.
    tile_size
        Edge of a tile at the network's scale.
    accurate
        Average the maps of eight orientations and two scales
        (:class:`~cellrim.prediction.accurate.AccurateSegmenter`) instead of one look.

    Returns
    -------
    Segmenter

    Raises
    ------
    ModelError
        If there is no such model, it is damaged, or the device does not work.
    UsageError
        If there is no such device.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    folder = find_model(name)
    backend = open_backend(folder.path, folder.card, threads=threads, device=device)
    kind = AccurateSegmenter if accurate else Segmenter
    return kind(backend, folder.card, tile_size=tile_size)


@dataclass(frozen=True, slots=True)
class Model:
    """How a worker gets the model: called once in each process.

    Parameters
    ----------
    name
        An embedded model's name, or the folder of a trained one.
    threads, tile_size, accurate, device
        As for :func:`load_model`.
    """

    name: str | Path = "general"
    threads: int | None = None
    tile_size: int = DEFAULT_TILE
    accurate: bool = False
    device: str = AUTO

    def __call__(self) -> Segmenter:
        """Load it."""
        return load_model(
            self.name,
            threads=self.threads,
            tile_size=self.tile_size,
            accurate=self.accurate,
            device=self.device,
        )
