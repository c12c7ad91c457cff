"""Learning from corrections: the set of corrected images, and a training on it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from cellrim.server.options import MODEL_NAME
from cellrim.server.workspace.comparison import Comparison
from cellrim.server.workspace.desk import In, Route
from cellrim.server.workspace.status import Body, Key
from cellrim.server.workspace.trainer import why_not
from cellrim.server.workspace.training import Mark, Stage, State

router = APIRouter(prefix="/learning", route_class=Route)

MOST_MINUTES = 24 * 60.0

ModelName = Annotated[
    str,
    Path(
        pattern=MODEL_NAME,
        max_length=100,
        description="Of a model that was trained here.",
        examples=["general-fit-1"],
    ),
]


class InSet(BaseModel):
    """One image of the set to learn from."""

    id: str
    name: str
    cells: int


class TrainedModel(BaseModel):
    """One model that was trained on this server."""

    name: str
    bytes: int
    created: datetime


class Learning(BaseModel):
    """The set, the models trained on it, and the latest training."""

    images: list[InSet]
    models: list[TrainedModel]
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
    model: Annotated[str, Field(pattern=MODEL_NAME, max_length=100, examples=["general"])] = (
        "general"
    )


class AddToSet(Body):
    """The image to put into the set, as it is corrected now."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["0" * 32])]


@router.get("", summary="See the set and the training")
def learning(workspace: In) -> Learning:
    """Tell what is in the set and how the latest training goes."""
    training = workspace.trainer.training
    return Learning(
        images=[InSet(id=c.key, name=c.name, cells=c.cells) for c in workspace.corrected.all()],
        models=[
            TrainedModel(name=m.name, bytes=m.size, created=datetime.fromtimestamp(m.created, UTC))
            for m in workspace.trainer.trained()
        ],
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
    await workspace.look(picture, partial(workspace.collect, picture))
    return learning(workspace)


@router.delete("/images/{key}", summary="Take an image out of the set")
def take_from_set(key: Key, workspace: In) -> Learning:
    """Delete an image of the set, with its corrected labels."""
    workspace.corrected.remove(key)
    return learning(workspace)


@router.delete("/models/{name}", summary="Delete a trained model")
def remove_model(name: ModelName, workspace: In) -> Learning:
    """Delete a model that was trained on this server, for good."""
    workspace.remove_model(name)
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
