"""Every error cellrim raises on purpose.

One base class, so that callers can catch all of them, and each class is also the built-in it
refines, so that generic code works too. Messages say what was expected, what came, and what to
do. The command line prints them without a traceback.
"""


class CellrimError(Exception):
    """Base of all errors raised on purpose by cellrim."""


class InputError(CellrimError, ValueError):
    """An argument has the wrong shape, type or value."""


class UsageError(CellrimError, ValueError):
    """The command line or its options cannot work (exit code 2, before any work)."""


class ImageReadError(CellrimError, OSError):
    """An image or label file cannot be read or is not of a supported form."""


class OutputError(CellrimError, OSError):
    """A result cannot be written, or would overwrite one that exists."""


class DatasetError(CellrimError, ValueError):
    """A data set, or one record of it, is unreadable or inconsistent."""


class ModelError(CellrimError, ValueError):
    """A model is unknown, damaged, or does not fit what it is asked to do."""


class RecipeError(CellrimError, ValueError):
    """A training recipe cannot work."""


class ClusterError(CellrimError, ConnectionError):
    """The workers or the scheduler that should do the work are gone."""


class MissingExtraError(CellrimError, ImportError):
    """An optional dependency is needed and not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the optional dependencies {extra!r}: pip install 'cellrim[{extra}]'"
        )
        self._told = (feature, extra)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Errors travel from worker processes to the one that shows them."""
        return type(self), self._told
