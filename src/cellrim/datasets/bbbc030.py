"""BBBC030 v1: Chinese hamster ovary cells in DIC, with outlines.

https://bbbc.broadinstitute.org/BBBC030. Touching cells share one line, and a line may end at the
frame; see :func:`cellrim.io.outlines.shared_line_labels`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellrim.datasets.base import Listing
from cellrim.datasets.records import outlined_images, reject_options
from cellrim.io.outlines import shared_line_labels

IMAGES = "images"
OUTLINES = "ground_truth"


class Bbbc030:
    """``images/choNN.png`` and ``ground_truth/choNN.png``."""

    name = "bbbc030"
    title = "BBBC030 v1: CHO cells, DIC, outlines"
    licence = "CC BY 3.0"

    def matches(self, root: Path) -> bool:
        """Whether there is an image ``cho*.png`` where this archive has them."""
        return any((root / IMAGES).glob("cho*.png"))

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
            suffixes=(".png",),
            rule=shared_line_labels,
            dataset=self.name,
            modality="dic",
            licence=self.licence,
        )


READER = Bbbc030()
