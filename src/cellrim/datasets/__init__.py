"""Public data sets as they are shipped: files to samples."""

from cellrim.datasets.registry import open_dataset

__all__ = ["open_dataset"]
