"""Delineate and quantify every cell in microscope images."""

from cellrim._version import __version__

__all__ = ["__version__"]
