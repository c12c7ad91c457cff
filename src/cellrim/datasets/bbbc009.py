"""BBBC009 v1: human red blood cells in DIC, with outlines.

https://bbbc.broadinstitute.org/BBBC009. Every cell has a closed line of its own, in a 1-bit TIFF
with MinIsWhite; see :func:`cellrim.io.outlines.own_line_labels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellrim.datasets.base import Listing
from cellrim.datasets.records import outlined_images, reject_options
from cellrim.io.outlines import own_line_labels

IMAGES = "BBBC009_v1_images"
OUTLINES = "BBBC009_v1_outlines"


class Bbbc009:
    """``BBBC009_v1_images/**/*.tif`` and ``BBBC009_v1_outlines/**/*.tif`` of the same name."""

    name = "bbbc009"
    title = "BBBC009 v1: human red blood cells, DIC, outlines"
    licence = "CC BY 3.0"

    def matches(self, root: Path) -> bool:
        """Whether the folder of the images is there; the outlines may be missing."""
        return (root / IMAGES).is_dir()

    def read(self, root: Path, **options: Any) -> Listing:
        """List the fields; without any outline they are samples without annotation.

        Raises
        ------
        InputError
            If there is an option; this reader has none.
        """
        reject_options(self.name, options)
        return outlined_images(
            root / IMAGES,
            root / OUTLINES,
            suffixes=(".tif", ".tiff"),
            rule=own_line_labels,
            dataset=self.name,
            modality="dic",
            licence=self.licence,
        )


READER = Bbbc009()
