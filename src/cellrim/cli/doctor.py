"""``cellrim doctor``: what is installed, and whether the embedded models are whole."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from cellrim._version import __version__
from cellrim.errors import CellrimError

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "tifffile",
    "imagecodecs",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "msgspec",
    "click",
    "rich",
)
_OPTIONAL = ("torch", "onnx", "matplotlib")


@click.command()
def doctor() -> None:
    """Show versions, threads, providers and models, and check that the models work."""
    click.echo(f"cellrim {__version__}, Python {platform.python_version()}, {platform.platform()}")
    click.echo("Packages:  " + _versions(_PACKAGES))
    click.echo("Optional:  " + (_versions(_OPTIONAL) or "none installed"))
    _show_runtime()
    if not _show_models():
        raise click.exceptions.Exit(1)


def _versions(packages: tuple[str, ...]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _show_runtime() -> None:
    from cellrim.models.backend import default_threads
    from cellrim.models.devices import AUTO, devices_to_try
    from cellrim.models.onnx_runtime import available_providers
    from cellrim.models.precision import FLOAT32, INT8, fast_at_int8

    click.echo(f"Threads:   {default_threads()}")
    providers = available_providers()
    click.echo(f"Providers: {', '.join(providers)}")
    tried = ", then ".join(map(str, devices_to_try(AUTO, providers)))
    click.echo(f"Device:    {tried}, where --device does not say another")
    numbers = INT8 if fast_at_int8() else FLOAT32
    click.echo(f"Precision: {numbers} on the CPU, where --precision does not say another")


def _show_models() -> bool:
    """Show each embedded model; whether all are whole."""
    from cellrim.models.registry import embedded_models

    models = embedded_models()
    click.echo(f"Models:    {len(models) or 'none embedded'}")
    whole = [
        _show_model(name, folder) for name, folder in models.items()
    ]  # all are checked, also after a broken one
    return all(whole)


def _show_model(name: str, folder: Path) -> bool:
    import numpy as np

    from cellrim.models.onnx_runtime import OnnxBackend
    from cellrim.models.precision import FLOAT32, INT8
    from cellrim.models.registry import find_model

    try:
        found = find_model(folder)
        nothing = np.zeros((1, 3, found.card.stride, found.card.stride), np.float32)
        precisions = (FLOAT32, INT8) if found.card.int8_sha256 else (FLOAT32,)
        for precision in precisions:
            backend = OnnxBackend(
                found.path, found.card, threads=1, device="cpu", precision=precision
            )
            backend.predict(nothing)
    except CellrimError as error:
        click.echo(f"  {name}: broken. {error}")
        return False
    card = found.card
    size = sum(f.stat().st_size for f in folder.iterdir()) / 1e6
    click.echo(
        f"  {name} {card.version}: {size:.1f} MB, sha256 {card.sha256} verified, "
        f"runs in {' and '.join(precisions)}"
    )
    return True
