"""What the server is and how it does: models, health, metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from cellrim._version import __version__
from cellrim.models.card import ModelCard
from cellrim.server.metrics import MEDIA_TYPE
from cellrim.server.problems import documented

router = APIRouter(tags=["server"])


class Model(BaseModel):
    """A model that can be asked for."""

    name: str
    version: str
    created: str
    licence: str
    default: bool
    canonical_diameter: float
    min_confidence: float
    validation: dict[str, dict[str, float]]
    limitations: list[str]
    sha256: str


class ModelList(BaseModel):
    """All models."""

    device: Annotated[
        str | None, Field(description="Where the networks run.", examples=["cpu", "cuda:0"])
    ]
    models: list[Model]


class Used(BaseModel):
    """Bytes of each kind of files, those that what is in work will have included."""

    jobs: int
    images: Annotated[int, Field(description="Images in the page.")]
    corrected: Annotated[int, Field(description="Corrected images to learn from.")]
    models: Annotated[int, Field(description="Trained models, and a training that runs.")]
    passing: Annotated[int, Field(description="Uploads and answers on their way.")]


class SpaceUsed(BaseModel):
    """How much of its space on the disk the server has used."""

    quota_bytes: int
    used_bytes: int
    free_bytes: Annotated[int, Field(description="Of the whole disk, whoever uses it.")]
    used: Used


class Health(BaseModel):
    """Whether the server can work."""

    status: Literal["ok"]
    version: str


@router.get("/v1/models", summary="List models", responses=documented())
def models(request: Request) -> ModelList:
    """List the models with what their cards say of them."""
    state = request.app.state
    cards = state.models.cards()
    return ModelList(
        device=state.models.device,
        models=[_shown(name, card, state.settings.model) for name, card in cards.items()],
    )


@router.get("/v1/space", summary="See the space that is used", responses=documented())
def space(request: Request) -> SpaceUsed:
    """Tell how much of the quota is used, and by what."""
    state = request.app.state
    used = state.space.usage()
    return SpaceUsed(
        quota_bytes=state.space.quota,
        used_bytes=sum(used.values()),
        free_bytes=state.free_bytes(),
        used=Used(**used),
    )


@router.get("/healthz", summary="Ask whether it works", responses=documented("disk-full"))
def health(request: Request) -> Health:
    """Answer if the server can take images; needs no token."""
    request.app.state.check_space()
    request.app.state.store.open_jobs()
    return Health(status="ok", version=__version__)


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses=documented()
    | {
        200: {
            "description": "Prometheus text.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
def metrics(request: Request) -> Response:
    """Give counters and gauges in Prometheus' text form."""
    return Response(request.app.state.metrics.text(), media_type=MEDIA_TYPE)


def _shown(name: str, card: ModelCard, default: str) -> Model:
    return Model(
        name=name,
        version=card.version,
        created=card.created,
        licence=card.licence,
        default=name == default,
        canonical_diameter=card.canonical_diameter,
        min_confidence=card.least_confidence,
        validation=card.validation,
        limitations=list(card.limitations),
        sha256=card.sha256,
    )
