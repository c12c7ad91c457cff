"""Matching, counts, metrics with intervals, plots."""

from cellrim.evaluation.counts import Counts, Scores, count_boxes, count_image, scores

__all__ = ["Counts", "Scores", "count_boxes", "count_image", "scores"]
