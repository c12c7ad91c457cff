"""The version, read by the build and by ``cellrim --version``."""

__version__ = "0.1.0"
