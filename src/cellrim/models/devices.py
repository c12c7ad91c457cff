"""Where the network runs: the CPU, or a device that the installed ONNX Runtime can use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cellrim.errors import UsageError

CPU = "CPUExecutionProvider"
AUTO = "auto"
"""A GPU that works here, else the CPU."""

OPENVINO = "openvino"
"""The CPU, by OpenVINO in place of ONNX Runtime; only where asked for."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of device.

    Parameters
    ----------
    provider
        The execution provider, by ONNX Runtime's name.
    needs
        What has to be there for it.
    numbered
        Whether there may be several of them, counted from 0.
    shared
        Whether several threads may run one session at the same time.
    options
        Further options of the provider.
    """

    provider: str
    needs: str
    numbered: bool = False
    shared: bool = True
    options: Mapping[str, str] = field(default_factory=dict)


KINDS = {
    "cpu": Kind(CPU, "ONNX Runtime"),
    "cuda": Kind(
        "CUDAExecutionProvider",
        "an NVIDIA GPU with its driver, and onnxruntime-gpu in place of onnxruntime",
        numbered=True,
        # Tiles come in many sizes, for each of which an exhaustive search takes seconds.
        options={"cudnn_conv_algo_search": "HEURISTIC"},
    ),
    "directml": Kind(
        "DmlExecutionProvider",
        "Windows with a GPU, and onnxruntime-directml in place of onnxruntime",
        numbered=True,
        shared=False,
    ),
    "coreml": Kind("CoreMLExecutionProvider", "a Mac, and its onnxruntime"),
}
"""Kinds of devices by name. CoreML computes in half precision and prepares anew for each size of
tile, so it is only used where it is asked for."""

_AUTOMATIC = ("cuda", "directml", "cpu")


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Parameters
    ----------
    kind
        A key of :data:`KINDS`.
    number
        Which of them, counted from 0.
    """

    kind: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}" if KINDS[self.kind].numbered else self.kind

    @property
    def providers(self) -> list[tuple[str, dict[str, str]]]:
        """What ONNX Runtime is asked for: the device, and the CPU for what it cannot do."""
        kind = KINDS[self.kind]
        options = dict(kind.options)
        if kind.numbered:
            options["device_id"] = str(self.number)
        own = [(kind.provider, options)]
        return own if kind.provider == CPU else [*own, (CPU, {})]


def devices_to_try(asked: str, available: Collection[str]) -> tuple[Device, ...]:
    """Return the devices to try, the best first; only the first that works is used.

    Parameters
    ----------
    asked
        ``auto``, a key of :data:`KINDS`, or one with a number, such as ``cuda:1``.
    available
        The execution providers of the installed ONNX Runtime.

    Raises
    ------
    UsageError
        If there is no such device, or this ONNX Runtime cannot use it.

    Examples
    --------
    >>> [str(device) for device in devices_to_try("auto", ["CUDAExecutionProvider", CPU])]
    ['cuda:0', 'cpu']
    """
    if asked == AUTO:
        return tuple(Device(k) for k in _AUTOMATIC if KINDS[k].provider in available)
    name, colon, number = asked.partition(":")
    kind = KINDS.get(name)
    numbered = bool(colon)
    if kind is None or (numbered and not (kind.numbered and number.isdecimal())):
        choices = (f"{n} or {n}:N" if k.numbered else n for n, k in KINDS.items())
        raise UsageError(
            f"Expected the device {AUTO}, {', '.join(choices)}, {OPENVINO}, but got {asked!r}."
        )
    if kind.provider not in available:
        there = (n for n, k in KINDS.items() if k.provider in available)
        raise UsageError(
            f"Expected a device that the installed ONNX Runtime can use ({', '.join(there)}), but "
            f"got {asked}, which needs {kind.needs}."
        )
    return (Device(name, int(number) if numbered else 0),)
