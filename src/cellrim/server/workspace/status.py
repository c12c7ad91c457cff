"""Where an image of the page is and what is known of it, as clients get it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict

from cellrim.server.workspace.desk import Workspace
from cellrim.server.workspace.picture import Picture

Key = Annotated[
    str, InPath(pattern=r"^[0-9a-f]{32}$", description="Of an image.", examples=["0" * 32])
]


class Body(BaseModel):
    """What clients send; a field that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Status(BaseModel):
    """Where an image is and what is known of it."""

    id: str
    name: str
    state: Literal["waiting", "working", "ready", "failed"]
    error: str | None
    seconds: float
    expected_seconds: float
    waiting: int
    height: int | None
    width: int | None
    channels: list[str]
    light: bool
    pixel_size: float | None
    model: str
    asked_diameter: float | None
    diameter: float | None
    used_channels: list[int] | None
    threshold: float
    min_confidence: float
    count: int
    revision: int
    undo: int
    redo: int
    edits: int


def status_of(workspace: Workspace, picture: Picture) -> Status:
    """Return the status of a picture."""
    settled, edited = picture.settled, picture.edited
    shape = picture.image.shape if picture.channels else (None, None)
    return Status(
        id=picture.key,
        name=picture.name,
        state=picture.state,
        error=picture.error,
        seconds=picture.seconds,
        expected_seconds=workspace.rate * picture.cost.megapixels,
        waiting=workspace.waiting,
        height=shape[0],
        width=shape[1],
        channels=list(picture.channels),
        light=picture.is_light if picture.channels else False,
        pixel_size=picture.pixel_size,
        model=settled.model,
        asked_diameter=settled.asked_diameter,
        diameter=settled.diameter,
        used_channels=None if settled.channels is None else list(settled.channels),
        threshold=settled.threshold,
        min_confidence=settled.min_confidence,
        count=picture.count(),
        revision=edited.revision if edited else 0,
        undo=edited.undoable if edited else 0,
        redo=edited.redoable if edited else 0,
        edits=picture.edits,
    )
