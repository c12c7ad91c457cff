"""Finds models: those that ship in the package by name, others by their folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cellrim.errors import ModelError
from cellrim.models.card import CARD_NAME, ONNX_NAME, ModelCard, read_card

_EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk: the folder with ``model.onnx`` and ``card.json``, and the card, read."""

    path: Path
    card: ModelCard

    @property
    def network(self) -> Path:
        """The ONNX file."""
        return self.path / ONNX_NAME


def embedded_models(root: Path = _EMBEDDED) -> dict[str, Path]:
    """Folders of the models that ship in the package, by name, sorted."""
    if not root.is_dir():
        return {}
    return {p.name: p for p in sorted(root.iterdir()) if (p / CARD_NAME).is_file()}


def find_model(name: str | Path, *, root: Path = _EMBEDDED) -> ModelFolder:
    """Find a model by the name of an embedded one or by the path of its folder.

    Parameters
    ----------
    name
        A string without a path separator is a name first and a folder second; anything else is a
        folder.
    root
        Where the embedded models are.

    Raises
    ------
    ModelError
        If there is none; the message lists the choices. Another model is never used instead.
    """
    models = embedded_models(root)
    folder = Path(name)
    if isinstance(name, str) and not _has_separator(name) and name in models:
        folder = models[name]
    elif not (folder / CARD_NAME).is_file():
        choices = ", ".join(models) or "none"
        raise ModelError(
            f"Expected an embedded model ({choices}) or a folder with {CARD_NAME} and "
            f"{ONNX_NAME}, but got {str(name)!r}."
        )
    return ModelFolder(folder, read_card(folder / CARD_NAME))


def _has_separator(name: str) -> bool:
    return os.sep in name or (os.altsep is not None and os.altsep in name)
