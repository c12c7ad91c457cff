"""``cellrim serve``: the REST API and the page for the browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from cellrim.cli.parsing import PATH, FloatRange
from cellrim.cli.segment import DEVICES, PRECISIONS
from cellrim.errors import MissingExtraError, UsageError

_MB = 1_000_000


@click.command()
@click.option(
    "--data",
    metavar="FOLDER",
    type=PATH,
    default=Path("cellrim-data"),
    help="Where jobs and corrected images are kept.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    help="Address to listen at; others than this machine's need --token.",
)
@click.option(
    "--port", type=click.IntRange(min=0, max=65535), default=8000, help="0: any that is free."
)
@click.option(
    "--token",
    envvar="CELLRIM_TOKEN",
    show_envvar=True,
    help="What clients must show: 16 or more of A-Z a-z 0-9 _ . ~ -",
)
@click.option(
    "--model",
    "models",
    metavar="NAME|PATH",
    multiple=True,
    help="An embedded model or a trained one's folder; again for more. "
    "The first is used where none is asked for.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Images at the same time; else two.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads for each; else the CPUs shared out."
)
@click.option(
    "--device",
    metavar=DEVICES,
    default="auto",
    help="Where the networks run; auto: a GPU that works.",
)
@click.option(
    "--precision",
    metavar=PRECISIONS,
    default="auto",
    help="Numbers they compute in; auto: int8 on CPUs fast at it.",
)
@click.option(
    "--max-upload-mb", type=click.IntRange(min=1), default=200, help="Largest image file."
)
@click.option(
    "--max-megapixels",
    type=FloatRange(min=0.001),
    default=36,
    help="Largest image, told from its header.",
)
@click.option(
    "--memory-gb",
    type=FloatRange(min=0.001),
    default=12,
    help="Memory of the process at most: fewer images run at once.",
)
@click.option("--max-files", type=click.IntRange(min=1), default=2000, help="Most images of a job.")
@click.option(
    "--max-seconds", type=FloatRange(min=0.1), default=600, help="Longest time for an image."
)
@click.option(
    "--keep-days",
    type=FloatRange(min=0.001),
    default=7,
    help="Results of jobs are removed after this time.",
)
@click.option(
    "--quota-gb",
    type=FloatRange(min=0.001),
    default=20,
    help="Most disk space for all files; old ones are removed.",
)
@click.option(
    "--training-patches",
    type=click.IntRange(min=1),
    help="Longest training on corrected images; else that of train.",
)
def serve(
    data: Path,
    host: str,
    port: int,
    token: str | None,
    models: tuple[str, ...],
    workers: int | None,
    threads: int | None,
    device: str,
    precision: str,
    max_upload_mb: int,
    max_megapixels: float,
    memory_gb: float,
    max_files: int,
    max_seconds: float,
    keep_days: float,
    quota_gb: float,
    training_patches: int | None,
) -> None:
    """Serve cellrim in the browser and by REST.

    Open the address it prints in a browser. The API is described at /openapi.json.
    """
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise MissingExtraError("cellrim serve", "serve")
    from cellrim.server.listen import serve as run

    run(
        _settings(
            models or ("general",),
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


def _settings(models: tuple[str, ...], **given: Any) -> Any:
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
