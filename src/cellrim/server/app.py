"""The application: state, routes, page."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from cellrim._version import __version__
from cellrim.server import info, jobs, segment, workspace
from cellrim.server.guard import Guard
from cellrim.server.memory import pixels_at_once
from cellrim.server.metrics import Metrics
from cellrim.server.models import Models
from cellrim.server.parts import Parts
from cellrim.server.problems import ApiError, Kind, Problem, answer
from cellrim.server.runner import Runner
from cellrim.server.settings import Settings
from cellrim.server.space import Folder, Space
from cellrim.server.store import Store
from cellrim.server.work import Work

_log = logging.getLogger("cellrim.server")

PAGE = Path(__file__).parent / "page"

_ABOUT = """Delineates and measures every cell in microscope images.

Errors are `application/problem+json` (RFC 9457); `type` says which kind. Where the server was
started with a token, every request but `/healthz` needs `Authorization: Bearer TOKEN`.
"""
_KINDS: dict[int, Kind] = {
    401: "unauthorised",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    422: "wrong-input",
}


def create_app(settings: Settings) -> FastAPI:
    """Make the application.

    Its ``state`` has ``settings``, ``models`` (:class:`~cellrim.server.models.Models`), ``work``
    (:class:`~cellrim.server.work.Work`, through which all segmentation goes), ``metrics``,
    ``free_bytes`` (of the disk), ``check_space`` (raises ``disk-full``), and while it runs
    ``store``, ``space`` (:class:`~cellrim.server.space.Space`), ``workspace`` and ``runner``.

    Raises
    ------
    ModelError
        If a model folder is none, the default model is not there, or the device does not work.
    UsageError
        If the memory is not enough for one image, or there is no such device.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    app = FastAPI(
        title="cellrim",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # their pages would fetch from other hosts
        redoc_url=None,
        lifespan=_lifespan,
    )
    state = app.state
    state.settings = settings
    state.metrics = Metrics()
    state.models = Models(
        settings.model_folders,
        threads=settings.threads,
        device=settings.device,
        precision=settings.precision,
    )
    state.models.get(settings.model)
    state.work = Work(
        workers=settings.workers,
        max_waiting=settings.max_waiting,
        max_pixels=pixels_at_once(settings),
        max_seconds=settings.max_seconds,
    )
    state.free_bytes = lambda: _free_bytes(settings.data)
    state.check_space = lambda: _check_space(settings)
    _add_errors(app)
    app.include_router(info.router)
    app.include_router(segment.router)
    app.include_router(jobs.router)
    app.include_router(workspace.router)
    if (PAGE / "index.html").is_file():
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    app.add_middleware(Guard, settings=settings, metrics=state.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    state.store = Store(state.settings.data)
    state.space = Space(state.settings.quota_bytes)
    state.space.add("jobs", state.store)
    state.space.add("passing", Folder(state.store.incoming().parent))
    parts = Parts(state.settings, state.models, state.work, state.store, state.space, state.metrics)
    state.workspace = workspace.Workspace(parts)  # first: jobs may ask for models trained in it
    state.runner = Runner(parts)
    _add_gauges(state)
    state.runner.start()
    try:
        yield
    finally:
        await state.workspace.close()
        await state.runner.stop()
        state.work.close()
        state.store.close()


def _add_gauges(state: Any) -> None:
    gauge = state.metrics.gauge
    gauge("waiting_images", "Images that wait for a worker.", lambda: state.work.waiting)
    gauge("running_images", "Images that are worked on.", lambda: state.work.running)
    gauge("running_pixels", "Pixels that are worked on.", lambda: state.work.pixels)
    gauge("open_jobs", "Jobs that are not finished.", lambda: state.store.open_jobs())
    gauge("job_bytes", "Bytes of all jobs on the disk.", lambda: state.store.used_bytes())
    gauge("used_bytes", "Bytes of all files together.", lambda: state.space.used_bytes())
    gauge("free_bytes", "Bytes free on the disk.", state.free_bytes)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _check_space(settings: Settings) -> None:
    if _free_bytes(settings.data) < settings.min_free_bytes:
        raise ApiError(
            "disk-full",
            "The server's disk is nearly full: remove old jobs, or ask who runs the server.",
            retry_after=60,
        )


def _add_errors(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(sqlite3.OperationalError, _on_database)


async def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return answer(error)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(
        f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}"
        for each in error.errors()
    )
    return answer(ApiError("wrong-input", f"{wrong}."))


async def _on_database(_request: Request, error: Exception) -> JSONResponse:
    _log.warning("The database of jobs: %s", error)
    text = "The server cannot write down what was asked; its disk may be full."
    return answer(ApiError("disk-full", text, retry_after=60))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = _KINDS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    said = answer(ApiError(kind, f"{request.method} {request.url.path}: {error.detail}."))
    for name, value in (error.headers or {}).items():
        said.headers[name] = value
    return said


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API; the problems' schema and the token are what FastAPI cannot know."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=[
                {"name": "segment", "description": "One image, answered at once."},
                {"name": "jobs", "description": "Many images, in the background."},
                {"name": "workspace", "description": "Images in the page, and learning."},
                {"name": "server", "description": "Models, health, numbers."},
            ],
        )
        parts = schema.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        if app.state.settings.token is not None:
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}]
            schema["paths"]["/healthz"]["get"]["security"] = []
        app.openapi_schema = schema
    return app.openapi_schema
