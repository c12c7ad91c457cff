"""Matching, counts, metrics with intervals, plots."""

from cellrim.evaluation.compare import CompareOptions, Evaluation, evaluate
from cellrim.evaluation.counts import Counts, Scores, count_boxes, count_image, scores

__all__ = [
    "CompareOptions",
    "Counts",
    "Evaluation",
    "Scores",
    "count_boxes",
    "count_image",
    "evaluate",
    "scores",
]
