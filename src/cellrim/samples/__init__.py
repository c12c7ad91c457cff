"""A small image that ships with cellrim, to try it without any data of one's own.

``nuclei.tif`` is synthetic: ``python -m cellrim.samples.make`` draws it again.
"""

from __future__ import annotations

from pathlib import Path


def sample_images() -> tuple[Path, ...]:
    """Paths of the sample images."""
    return tuple(sorted(Path(__file__).parent.glob("*.tif")))
