"""The application: state, routes, page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from cellrim._version import __version__
from cellrim.server.models import Models
from cellrim.server.problems import MEDIA_TYPE, ApiError
from cellrim.server.settings import Settings
from cellrim.server.work import Work

PAGE = Path(__file__).parent / "page"


def create_app(settings: Settings) -> FastAPI:
    """Make the application.

    Its ``state`` has ``settings``, ``models`` (:class:`~cellrim.server.models.Models`) and
    ``work`` (:class:`~cellrim.server.work.Work`), through which all segmentation goes.
    """
    app = FastAPI(
        title="cellrim", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan
    )
    app.state.settings = settings
    app.state.models = Models(settings.model_folders, threads=settings.threads)
    app.state.work = Work(workers=settings.workers, max_waiting=settings.max_waiting)
    app.add_exception_handler(ApiError, _answer)
    if find_spec("cellrim.server.workspace") is not None:
        app.include_router(import_module("cellrim.server.workspace").router)
    if (PAGE / "index.html").is_file():
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.work.close()


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return JSONResponse(
        error.body.model_dump(),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )
