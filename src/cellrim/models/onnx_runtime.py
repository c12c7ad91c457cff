"""Runs the network with ONNX Runtime: on the CPU, in 8-bit integers where it pays, or on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import ModelError
from cellrim.models.backend import CheckedBackend, read_network
from cellrim.models.card import INT8_NAME, ONNX_NAME, ModelCard
from cellrim.models.devices import AUTO, CPU, KINDS, Device, devices_to_try
from cellrim.models.precision import FLOAT32, INT8, check_precision, fast_at_int8
from cellrim.representation.flow import MAPS


def available_providers() -> tuple[str, ...]:
    """Name the execution providers of the installed ONNX Runtime."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


class OnnxBackend(CheckedBackend):
    """Runs ``model.onnx``, or its twin in 8-bit integers, with ONNX Runtime.

    Threads belong to this backend's session: the process's own settings are not touched. So does
    the memory of the largest batch, which the next one uses again: to get it from the system anew
    each time takes a tenth longer.

    Parameters
    ----------
    folder
        Model folder with ``model.onnx``.
    card
        The folder's model card.
    threads
        Threads within one operator; :func:`~cellrim.models.backend.default_threads` where left
        out.
    device
        Where it runs, as for :func:`~cellrim.models.devices.devices_to_try`. Where a device is
        asked for by name, no other takes its place.
    precision
        ``float32``; ``int8``: the twin, on the CPU; ``auto``: the twin where the model has one,
        the device is the CPU, and it is fast at 8-bit integers.

    Attributes
    ----------
    device, precision
        What they became.

    Raises
    ------
    ModelError
        If a file is missing, has another hash than the card states, is no ONNX model, takes or
        returns something else than the card says, or the device does not work; or if the model has
        no twin and is to run as one.
    UsageError
        If there is no such device or precision.
    """

    def __init__(
        self,
        folder: Path,
        card: ModelCard,
        *,
        threads: int | None = None,
        device: str = AUTO,
        precision: str = AUTO,
    ) -> None:
        check_precision(precision)
        super().__init__(folder, card, threads=threads)
        devices = devices_to_try(device, available_providers())
        opened = _open(folder, card, self.threads, devices, precision)
        self._session, found, self.precision = opened
        self.device = str(found)
        self._alone: AbstractContextManager[Any] = (
            nullcontext() if KINDS[found.kind].shared else Lock()
        )
        _check_ports(self._session, self._path, card)
        self._input = self._session.get_inputs()[0].name

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._alone:
            outputs = self._session.run(None, {self._input: batch})
        maps: NDArray[np.float32] = outputs[0]
        return maps


def _open(
    folder: Path, card: ModelCard, threads: int, devices: tuple[Device, ...], precision: str
) -> tuple[Any, Device, str]:
    """Open a session on the first of the devices that works, in the precision that pays there."""
    *preferred, last = devices
    path, twin = folder / ONNX_NAME, folder / INT8_NAME
    for device in preferred:
        network = read_network(path, card.sha256)
        with suppress(ModelError):
            return _session_on(device, network, path, threads), device, FLOAT32
    if _runs_as_int8(card, last, precision, folder):
        read_network(twin, card.int8_sha256 or "")
        try:
            # By its path: twins once had their weights from the file beside them.
            return _session_on(last, str(twin), twin, threads), last, INT8
        except ModelError:  # an ONNX Runtime that cannot read it
            if precision == INT8:
                raise
    return _session_on(last, read_network(path, card.sha256), path, threads), last, FLOAT32


def _runs_as_int8(card: ModelCard, device: Device, precision: str, folder: Path) -> bool:
    possible = card.int8_sha256 is not None and KINDS[device.kind].provider == CPU
    if precision == INT8 and not possible:
        raise ModelError(
            f"Expected a model with {INT8_NAME}, and the device cpu, to compute in {INT8}, but got "
            f"{folder} and {device}. Leave the precision to {AUTO}."
        )
    return possible and (precision == INT8 or (precision == AUTO and fast_at_int8()))


def _session_on(device: Device, network: bytes | str, path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors come as exceptions
    options.enable_mem_pattern = False  # tiles come in many sizes; DirectML demands it
    # Spinning threads burn the cores of everything else that runs on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(network, options, providers=device.providers)
    except Exception as error:  # onnxruntime raises its own types
        raise ModelError(
            f"{path} is no network that ONNX Runtime can run on {device}: {error}"
        ) from error
    kind = KINDS[device.kind]
    if kind.provider not in session.get_providers():  # it went on without, and only logged why
        raise ModelError(
            f"Expected the device {device} to work, but ONNX Runtime cannot start it: it needs "
            f"{kind.needs}. Choose another, for example cpu."
        )
    return session


def _check_ports(session: Any, path: Path, card: ModelCard) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"Expected one input and one output of {path}, but got {len(inputs)} and "
            f"{len(outputs)}."
        )
    for port, channels in ((inputs[0], card.channels), (outputs[0], len(MAPS))):
        shape = port.shape
        fits = len(shape) == 4 and (not isinstance(shape[1], int) or shape[1] == channels)
        if port.type != "tensor(float)" or not fits:
            raise ModelError(
                f"Expected {port.name!r} of {path} to be float32 (B, {channels}, H, W), but got "
                f"{port.type} {shape}."
            )
    if any(isinstance(size, int) for size in inputs[0].shape[2:]):
        raise ModelError(
            f"Expected any height and width for {path}, but it takes {inputs[0].shape} only."
        )
