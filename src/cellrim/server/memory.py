"""How much memory the server takes, and how many pixels at once keep it below its bound.

The bytes here are upper bounds of what ``python benchmarks/serve.py --memory`` measures with 16-bit
colour images. Files that come and go, waiting requests and the history of edits lie on the disk.
"""

from __future__ import annotations

from cellrim.errors import UsageError
from cellrim.prediction.segmenter import MOST_ENLARGED_PIXELS
from cellrim.server.models import MOST_LOADED
from cellrim.server.settings import GB, MB, Settings

BASE_BYTES = 500 * MB
"""Of the process with its libraries, the loaded models and everything small."""
TILE_BYTES = 700 * MB
"""Of the network on its largest tile; each worker has one of each loaded model."""
PIXEL_BYTES = 80
"""For each pixel that the network sees: image, maps, labels."""
LOOK_BYTES = 60
"""For each pixel of a picture of the page that is viewed, corrected, measured or given out."""


def pixels_at_once(settings: Settings) -> int:
    """Return how many pixels the networks may see at the same time, in all images together.

    Raises
    ------
    UsageError
        If the memory is not enough for one image.
    """
    least = least_bytes(settings)
    if settings.max_memory_bytes < least:
        raise UsageError(
            f"Expected at least {least / GB:.1f} GB of memory for {settings.workers} worker(s) and "
            f"images of {settings.max_pixels / MB:g} megapixels, but got "
            f"{settings.max_memory_bytes / GB:g} GB: allow more, fewer workers or smaller images."
        )
    return (settings.max_memory_bytes - _fixed(settings)) // PIXEL_BYTES


def least_bytes(settings: Settings) -> int:
    """Return the least memory with which a server of these settings can do one image."""
    # An image whose scale is estimated may be enlarged this far.
    most_of_one = max(settings.max_pixels, MOST_ENLARGED_PIXELS)
    return _fixed(settings) + most_of_one * PIXEL_BYTES


def _fixed(settings: Settings) -> int:
    look = LOOK_BYTES * settings.max_pixels
    return BASE_BYTES + settings.workers * MOST_LOADED * TILE_BYTES + look
