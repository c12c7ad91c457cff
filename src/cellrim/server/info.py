"""What the server is and how it does: models, health, metrics."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

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

    models: list[Model]


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
        models=[_shown(name, card, state.settings.model) for name, card in cards.items()]
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
