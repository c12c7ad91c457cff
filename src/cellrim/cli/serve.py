"""``cellrim serve``: the REST API and the page for the browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cellrim.errors import MissingExtraError


def serve(
    data: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where jobs and corrected images are kept.")
    ] = Path("cellrim-data"),
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="CELLRIM_TOKEN", help="What clients must show, 16 letters or more."),
    ] = None,
) -> None:
    """Serve cellrim in the browser and by REST."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise MissingExtraError("cellrim serve", "serve")
    import uvicorn

    from cellrim.server.app import create_app
    from cellrim.server.settings import Settings

    settings = Settings(data=data, host=host, port=port, token=token)
    uvicorn.run(create_app(settings), host=host, port=port)
