"""Learning from corrections: the set of corrected images, and a training on it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cellrim.server.workspace.comparison import Comparison
from cellrim.server.workspace.corrected import CorrectedSet
from cellrim.server.workspace.desk import In, Route
from cellrim.server.workspace.picture import Picture
from cellrim.server.workspace.status import Body, Key
from cellrim.server.workspace.trainer import why_not
from cellrim.server.workspace.training import Mark, Stage, State

router = APIRouter(prefix="/learning", route_class=Route)

MOST_MINUTES = 24 * 60.0


class InSet(BaseModel):
    """One image of the set to learn from."""

    id: str
    name: str
    cells: int


class Learning(BaseModel):
    """The set, and the latest training on it."""

    images: list[InSet]
    impossible: Annotated[str | None, Field(description="Why nothing can be trained here.")]
    state: State
    stage: Annotated[Stage, Field(description="Of the state training.")]
    base: str
    model: str
    minutes: float
    seconds: float
    seconds_left: Annotated[
        float | None, Field(description="Of the training itself; null before its first steps.")
    ]
    fraction: float
    loss: float | None
    marks: list[Mark]
    log: list[str]
    error: str | None
    comparison: list[Comparison]


class StartTraining(Body):
    """How long to train, and from which model."""

    minutes: Annotated[float, Field(ge=0.1, le=MOST_MINUTES, examples=[10])] = 10.0
    model: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100, examples=["general"])
    ] = "general"


class AddToSet(Body):
    """The image to put into the set, as it is corrected now."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["0" * 32])]


@router.get("", summary="See the set and the training")
def learning(workspace: In) -> Learning:
    """Tell what is in the set and how the latest training goes."""
    training = workspace.trainer.training
    return Learning(
        images=[InSet(id=c.key, name=c.name, cells=c.cells) for c in workspace.corrected.all()],
        impossible=why_not(),
        state=training.state,
        stage=training.stage,
        base=training.base,
        model=training.model,
        minutes=training.minutes,
        seconds=training.seconds,
        seconds_left=training.seconds_left,
        fraction=training.fraction,
        loss=training.loss,
        marks=list(training.marks),
        log=list(training.log)[-20:],
        error=training.error,
        comparison=list(training.comparison),
    )


@router.post("/images", status_code=201, summary="Put an image into the set")
async def add_to_set(asked: AddToSet, workspace: In) -> Learning:
    """Put an image into the set as it is corrected now."""
    picture = workspace.pictures.get(asked.id)
    await workspace.look(picture, partial(_collect, workspace.corrected, picture))
    return learning(workspace)


def _collect(corrected: CorrectedSet, picture: Picture) -> None:
    corrected.add(picture.key, picture.name, upload=picture.upload, result=picture.result())


@router.delete("/images/{key}", summary="Take an image out of the set")
def take_from_set(key: Key, workspace: In) -> Learning:
    """Take an image out of the set."""
    workspace.corrected.remove(key)
    return learning(workspace)


@router.post("/training", status_code=202, summary="Train on the set")
async def start_training(asked: StartTraining, workspace: In) -> Learning:
    """Train a model on the set; the new model is offered when it is done."""
    await workspace.start_training(asked.model, minutes=asked.minutes)
    return learning(workspace)


@router.delete("/training", summary="Stop the training")
async def stop_training(workspace: In) -> Learning:
    """Stop the training; its model is lost."""
    await asyncio.to_thread(workspace.trainer.stop)
    return learning(workspace)
