"""One mask per object: ``<id>/images/<id>.png`` and ``<id>/masks/*.png``.

As the Data Science Bowl 2018 ships (https://bbbc.broadinstitute.org/BBBC038). Where masks overlap,
a pixel belongs to the first mask by file name. An empty ``masks`` folder is an image without
objects.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.datasets.base import Listing, Problem, Sample, Truth
from cellrim.datasets.records import (
    UNKNOWN,
    files_below,
    image_size,
    merge_masks,
    missing_annotations,
    reject_options,
    require_one_size,
    size_problem,
)
from cellrim.io.images import IMAGE_SUFFIXES, read_image


class Masks:
    """A folder for each image, with a file for each of its objects."""

    name = "masks"
    title = "One mask per object: <id>/images/*, <id>/masks/* (Data Science Bowl 2018)"
    licence = "unknown"

    def matches(self, root: Path) -> bool:
        """Whether there is a folder with both an ``images`` and a ``masks`` folder."""
        return root.is_dir() and any(
            (path.parent / "masks").is_dir() for path in root.glob("*/images")
        )

    def read(self, root: Path, **options: Any) -> Listing:
        """List the images; where none has masks, they are samples without annotation.

        Raises
        ------
        InputError
            If there is an option; this reader has none.
        """
        reject_options(self.name, options)
        records = {
            folder.name: folder
            for folder in sorted(root.iterdir())
            if (folder / "images").is_dir() or (folder / "masks").is_dir()
        }
        annotated = {name for name, folder in records.items() if (folder / "masks").is_dir()}
        problems = list(missing_annotations(records, annotated, what="folder masks/"))
        samples = []
        for name, folder in records.items():
            if annotated and name not in annotated:
                continue
            images = files_below(folder / "images", IMAGE_SUFFIXES)
            masks = files_below(folder / "masks", IMAGE_SUFFIXES)
            if len(images) != 1:
                problems.append(Problem(name, f"Expected one image, but it has {len(images)}."))
                continue
            problem = size_problem(name, (*images, *masks))
            if problem:
                problems.append(problem)
                continue
            samples.append(
                Sample(
                    dataset=root.name,
                    name=name,
                    paths=(*images, *masks),
                    kind="masks" if annotated else "none",
                    group=name,
                    modality=UNKNOWN,
                    licence=UNKNOWN,
                    read_image=partial(read_image, images[0]),
                    read_truth=partial(read_truth, masks, image=images[0]) if annotated else None,
                )
            )
        return Listing(root.name, tuple(samples), tuple(problems))


READER = Masks()


def read_truth(masks: tuple[Path, ...], *, image: Path) -> Truth:
    """Read the masks of one image; what is not 0 in any channel is the object.

    Raises
    ------
    ImageReadError
        If a file cannot be read.
    DatasetError
        If a mask is of another size than the image.
    """
    shape = image_size(image)

    def read(path: Path) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = (read_image(path).pixels != 0).any(axis=2)
        require_one_size({image: shape, path: mask.shape})
        return mask

    return Truth(merge_masks(map(read, masks), shape))
