"""Image to labels: normalise, scale, tile, network, decode, result."""

from cellrim.prediction.result import Result
from cellrim.prediction.segmenter import Segmenter, load_model

__all__ = ["Result", "Segmenter", "load_model"]
