"""Delineate and quantify every cell in microscope images.

>>> import cellrim
>>> cellrim.__version__ != ""
True

The public names are loaded when first used, so that ``import cellrim`` is fast and loads neither
onnxruntime nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cellrim._version import __version__

if TYPE_CHECKING:
    from cellrim.core.image import Image, image_from_array
    from cellrim.core.stack import Stack
    from cellrim.errors import CellrimError
    from cellrim.io.images import open_stack, read_image
    from cellrim.io.labels import read_labels, write_labels
    from cellrim.prediction.loading import load_model
    from cellrim.prediction.result import Result
    from cellrim.prediction.segmenter import Segmenter
    from cellrim.prediction.stacks import StackResult, segment_stack

__all__ = [
    "CellrimError",
    "Image",
    "Result",
    "Segmenter",
    "Stack",
    "StackResult",
    "__version__",
    "image_from_array",
    "load_model",
    "open_stack",
    "read_image",
    "read_labels",
    "segment_stack",
    "write_labels",
]

_HOMES = {
    "CellrimError": "cellrim.errors",
    "Image": "cellrim.core.image",
    "Result": "cellrim.prediction.result",
    "Segmenter": "cellrim.prediction.segmenter",
    "Stack": "cellrim.core.stack",
    "StackResult": "cellrim.prediction.stacks",
    "image_from_array": "cellrim.core.image",
    "load_model": "cellrim.prediction.loading",
    "open_stack": "cellrim.io.images",
    "read_image": "cellrim.io.images",
    "read_labels": "cellrim.io.labels",
    "segment_stack": "cellrim.prediction.stacks",
    "write_labels": "cellrim.io.labels",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cellrim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
