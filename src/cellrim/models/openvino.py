"""Runs the network with OpenVINO: on CPUs that are fast at bfloat16, in bfloat16."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.errors import MissingExtraError, ModelError
from cellrim.models.backend import CheckedBackend, read_network
from cellrim.models.card import ModelCard
from cellrim.models.devices import OPENVINO


class OpenVinoBackend(CheckedBackend):
    """Runs ``model.onnx`` with OpenVINO on the CPU.

    Threads belong to this backend: the process's own settings are not touched.

    Parameters
    ----------
    folder
        Model folder with ``model.onnx``.
    card
        The folder's model card.
    threads
        Threads within one operator; :func:`~cellrim.models.backend.default_threads` where left
        out.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    ModelError
        If the file is missing, has another hash than the card states, or is no ONNX model.
    """

    device = OPENVINO

    def __init__(self, folder: Path, card: ModelCard, *, threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingExtraError("--device openvino", "openvino") from None
        super().__init__(folder, card, threads=threads)
        read_network(self._path, card.sha256)
        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if "BF16" in able else "f32"
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # others run on this machine, too
        }
        try:
            self._network = core.compile_model(core.read_model(self._path), "CPU", settings)
        except Exception as error:  # openvino raises its own types
            raise ModelError(
                f"{self._path} is no network that OpenVINO can run: {error}"
            ) from error
        self._own = threading.local()

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._request().infer({0: batch})[0], np.float32)

    def _request(self) -> Any:
        """Return the request of this thread: one cannot be used by two at the same time."""
        if not hasattr(self._own, "request"):
            self._own.request = self._network.create_infer_request()
        return self._own.request
