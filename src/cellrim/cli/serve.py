"""``cellrim serve``: the REST API and the page for the browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from cellrim.cli.segment import DEVICES, PRECISIONS
from cellrim.errors import MissingExtraError, UsageError

_MB = 1_000_000


def serve(
    data: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Where jobs and corrected images are kept."),
    ] = Path("cellrim-data"),
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="CELLRIM_TOKEN",
            help="What clients must show: 16 or more of A-Z a-z 0-9 _ . ~ -",
            show_envvar=True,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="An embedded model or a trained one's folder; again for more. "
            "The first is used where none is asked for.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Images at the same time; else two.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for each; else the CPUs shared out.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(metavar=DEVICES, help="Where the networks run; auto: a GPU that works."),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            metavar=PRECISIONS, help="Numbers they compute in; auto: int8 on CPUs fast at it."
        ),
    ] = "auto",
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest image file.")] = 200,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, help="Largest image, told from its header.")
    ] = 36,
    memory_gb: Annotated[
        float,
        typer.Option(min=0.001, help="Memory of the process at most: fewer images run at once."),
    ] = 12,
    max_files: Annotated[int, typer.Option(min=1, help="Most images of a job.")] = 2000,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest time for an image.")] = 600,
    keep_days: Annotated[
        float, typer.Option(min=0.001, help="Results of jobs are removed after this time.")
    ] = 7,
    quota_gb: Annotated[
        float, typer.Option(min=0.001, help="Most disk space for all files; old ones are removed.")
    ] = 20,
    training_patches: Annotated[
        int | None,
        typer.Option(min=1, help="Longest training on corrected images; else that of train."),
    ] = None,
) -> None:
    """Serve cellrim in the browser and by REST.

    Open the address it prints in a browser. The API is described at /openapi.json.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise MissingExtraError("cellrim serve", "serve")
    from cellrim.server.listen import serve as run

    run(
        _settings(
            model or ["general"],
            data=data,
            host=host,
            port=port,
            token=token,
            workers=workers,
            threads=threads,
            device=device,
            precision=precision,
            max_upload_bytes=max_upload_mb * _MB,
            max_pixels=int(max_megapixels * _MB),
            max_memory_bytes=int(memory_gb * 1000 * _MB),
            max_files=max_files,
            max_seconds=max_seconds,
            keep_days=keep_days,
            quota_bytes=int(quota_gb * 1000 * _MB),
            training_patches=training_patches,
        )
    )


def _settings(models: list[str], **given: Any) -> Any:
    """Check the options; what is None is left to the settings' own defaults."""
    from pydantic import ValidationError

    from cellrim.models.registry import embedded_models, find_model
    from cellrim.server.settings import Settings

    folders = tuple(find_model(name).path for name in models if name not in embedded_models())
    try:
        return Settings(
            model=find_model(models[0]).card.name,
            model_folders=folders,
            **{name: value for name, value in given.items() if value is not None},
        )
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"Expected other options: {wrong}.") from error
