"""Errors as clients get them: RFC 9457, ``application/problem+json``, with a type each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

MEDIA_TYPE = "application/problem+json"

Kind = Literal[
    "bad-request",
    "unauthorised",
    "forbidden",
    "not-found",
    "method-not-allowed",
    "not-acceptable",
    "too-slow",
    "conflict",
    "too-large",
    "too-many-pixels",
    "unreadable-image",
    "wrong-input",
    "busy",
    "took-too-long",
    "disk-full",
    "over-quota",
    "internal",
]

_TITLES: dict[Kind, tuple[int, str]] = {
    "bad-request": (400, "The request is malformed"),
    "unauthorised": (401, "A token is needed"),
    "forbidden": (403, "Requests from other sites are refused"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This cannot be done here"),
    "not-acceptable": (406, "No answer of the asked form"),
    "too-slow": (408, "The request came too slowly"),
    "conflict": (409, "Not possible in this state"),
    "too-large": (413, "The upload is too large"),
    "too-many-pixels": (413, "The image has too many pixels"),
    "unreadable-image": (422, "The image cannot be read"),
    "wrong-input": (422, "An argument does not fit"),
    "busy": (503, "The server is busy"),
    "took-too-long": (504, "The image took too long"),
    "disk-full": (507, "The server's disk is full"),
    "over-quota": (507, "The space for the server's files is used up"),
    "internal": (500, "The server failed"),
}


class Problem(BaseModel):
    """The body of an error."""

    type: Annotated[str, Field(description="What kind of problem; a relative reference.")]
    title: Annotated[str, Field(description="The kind in words.")]
    status: Annotated[int, Field(ge=400, le=599, description="The HTTP status.")]
    detail: Annotated[str, Field(description="What was expected, what came, and what to do.")]


class ApiError(Exception):
    """Raised anywhere in a request; becomes the answer.

    Parameters
    ----------
    kind
        What kind; decides status and title.
    detail
        What was expected, what came, and what to do.
    retry_after
        Seconds after which it may work.
    """

    def __init__(self, kind: Kind, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _TITLES[self.kind][0]

    @property
    def body(self) -> Problem:
        """What the client gets."""
        status, title = _TITLES[self.kind]
        return Problem(
            type=f"/problems/{self.kind}", title=title, status=status, detail=self.detail
        )

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.kind == "unauthorised":
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def answer(error: ApiError) -> JSONResponse:
    """Return the answer that tells a client of an error."""
    return JSONResponse(
        error.body.model_dump(),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Describe errors of a route for the OpenAPI, with an example each.

    Parameters
    ----------
    kinds
        What the route itself may answer; what every route may answer is added.
    """
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, "bad-request", "unauthorised", "forbidden", "too-slow", "internal"):
        error = ApiError(kind, "What was expected, what came, and what to do.")
        entry = by_status.setdefault(
            error.status,
            {
                "description": error.body.title,
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        entry["content"][MEDIA_TYPE]["examples"][kind] = {"value": error.body.model_dump()}
    return by_status
