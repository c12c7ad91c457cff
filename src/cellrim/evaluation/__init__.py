"""Matching, counts, metrics with intervals, plots."""
