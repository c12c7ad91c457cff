"""Image to labels: normalise, scale, tile, network, decode, result."""

from cellrim.prediction.loading import load_model
from cellrim.prediction.result import Result
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.targets import PairedResult, Target, segment_target

__all__ = ["PairedResult", "Result", "Segmenter", "Target", "load_model", "segment_target"]
