"""Which runtime runs a network where it is asked for."""

from __future__ import annotations

from pathlib import Path

from cellrim.models.backend import Backend
from cellrim.models.card import ModelCard
from cellrim.models.devices import AUTO, OPENVINO
from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.precision import check_precision


def open_backend(
    folder: Path,
    card: ModelCard,
    *,
    threads: int | None = None,
    device: str = AUTO,
    precision: str = AUTO,
) -> Backend:
    """Open what runs a network where it is asked for.

    Parameters
    ----------
    folder, card, threads, precision
        As for :class:`~cellrim.models.onnx_runtime.OnnxBackend`.
    device
        As for :class:`~cellrim.models.onnx_runtime.OnnxBackend`, or ``openvino``:
        :class:`~cellrim.models.openvino.OpenVinoBackend`, whose precision is its own choice.

    Raises
    ------
    ModelError
        If the model is damaged or the device does not work.
    UsageError
        If there is no such device or precision.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    check_precision(precision)
    if device == OPENVINO:
        from cellrim.models.openvino import OpenVinoBackend

        return OpenVinoBackend(folder, card, threads=threads)
    return OnnxBackend(folder, card, threads=threads, device=device, precision=precision)
