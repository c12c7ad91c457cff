"""From a model's name to a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cellrim.models.precision import AUTO, FLOAT32, INT8, fast_at_int8
from cellrim.models.registry import find_model
from cellrim.models.runtimes import open_backend
from cellrim.prediction.accurate import AccurateSegmenter
from cellrim.prediction.segmenter import Segmenter


def load_model(
    name: str | Path = "general",
    *,
    threads: int | None = None,
    tile_size: int | None = None,
    accurate: bool = False,
    device: str = AUTO,
    precision: str = AUTO,
) -> Segmenter:
    """Load a model.

    Parameters
    ----------
    name
        An embedded model's name, or the folder of a trained one.
    threads
        Threads to use; one per CPU where left out.
    tile_size
        As for :class:`~cellrim.prediction.segmenter.Segmenter`.
    accurate
        Average the maps of eight orientations and two scales
        (:class:`~cellrim.prediction.accurate.AccurateSegmenter`) instead of one look.
    device, precision
        Where the network runs and in which numbers: see
        :func:`~cellrim.models.runtimes.open_backend`.

    Returns
    -------
    Segmenter

    Raises
    ------
    ModelError
        If there is no such model, it is damaged, or the device does not work.
    UsageError
        If there is no such device or precision.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    folder = find_model(name)
    backend = open_backend(
        folder.path, folder.card, threads=threads, device=device, precision=precision
    )
    kind = AccurateSegmenter if accurate else Segmenter
    return kind(backend, folder.card, tile_size=tile_size)


@dataclass(frozen=True, slots=True)
class Model:
    """How a worker gets the model: called once in each process.

    Parameters
    ----------
    name
        An embedded model's name, or the folder of a trained one.
    threads, tile_size, accurate, device, precision
        As for :func:`load_model`.
    """

    name: str | Path = "general"
    threads: int | None = None
    tile_size: int | None = None
    accurate: bool = False
    device: str = AUTO
    precision: str = AUTO

    def settled(self) -> Model:
        """Return the same with what ``auto`` means here, for other machines to do likewise.

        Raises
        ------
        ModelError
            If there is no such model.
        """
        if self.precision != AUTO:
            return self
        twin = find_model(self.name).card.int8_sha256 is not None
        return replace(self, precision=INT8 if twin and fast_at_int8() else FLOAT32)

    def __call__(self) -> Segmenter:
        """Load it."""
        return load_model(
            self.name,
            threads=self.threads,
            tile_size=self.tile_size,
            accurate=self.accurate,
            device=self.device,
            precision=self.precision,
        )
