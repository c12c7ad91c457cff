"""The models a server offers, by name, loaded when first used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path

from cellrim.errors import ModelError
from cellrim.models.card import ModelCard
from cellrim.models.devices import AUTO
from cellrim.models.registry import embedded_models, find_model
from cellrim.prediction.loading import load_model
from cellrim.prediction.segmenter import Segmenter

MOST_LOADED = 2
"""Models that are kept loaded, each with the memory that its network took at most."""


class Models:
    """A registry of models and a small pool of the loaded ones. Safe to use from any thread.

    Parameters
    ----------
    folders
        Model folders to offer beside the embedded ones, by the names in their cards. A name that
        is there twice means the later folder.
    threads
        Threads of each network.
    device, precision
        Where they are to run and in which numbers, as for
        :func:`~cellrim.prediction.loading.load_model`.
    """

    def __init__(
        self,
        folders: tuple[Path, ...] = (),
        *,
        threads: int = 1,
        device: str = AUTO,
        precision: str = AUTO,
    ) -> None:
        self._load = partial(load_model, threads=threads, device=device, precision=precision)
        self.device: str | None = None
        """Where the network runs that was loaded last."""
        self._lock = threading.Lock()
        self._folders: dict[str, Path] = dict(embedded_models())
        self._loaded: OrderedDict[str, Segmenter] = OrderedDict()
        for folder in folders:
            self.add(folder)

    def add(self, folder: Path) -> ModelCard:
        """Offer a model folder from now on, in place of another of its name.

        Raises
        ------
        ModelError
            If it is no model folder.
        """
        card = find_model(folder).card
        with self._lock:
            self._folders[card.name] = folder
            self._loaded.pop(card.name, None)
        return card

    def remove(self, name: str) -> None:
        """Offer a model no longer; nothing happens if there is none of this name."""
        with self._lock:
            self._folders.pop(name, None)
            self._loaded.pop(name, None)

    def cards(self) -> dict[str, ModelCard]:
        """Cards of all models, by name."""
        with self._lock:
            folders = dict(self._folders)
        return {name: find_model(folder).card for name, folder in folders.items()}

    def folder(self, name: str) -> Path:
        """Return the folder of a model.

        Raises
        ------
        ModelError
            If there is none of this name.
        """
        with self._lock:
            return self._folder(name)

    def get(self, name: str) -> Segmenter:
        """Return a model, loaded; the least recently used one is let go for it.

        Parameters
        ----------
        name
            One of :meth:`cards`; never a path.

        Raises
        ------
        ModelError
            If there is none of this name, it is damaged, or the device does not work.
        """
        with self._lock:
            folder = self._folder(name)
            if name not in self._loaded:
                self._loaded[name] = self._load(folder)
                self.device = self._loaded[name].device
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def _folder(self, name: str) -> Path:
        if name not in self._folders:
            raise ModelError(
                f"Expected one of the models {', '.join(self._folders)}, but got {name!r}."
            )
        return self._folders[name]
