"""Truth for images that nobody annotated: what a model is sure of; the rest is left open.

Self-training: Lee, "Pseudo-label", ICML workshop 2013, and Xie et al., "Self-training with noisy
student", CVPR 2020. The teacher looks calmly, at the image in eight orientations and two sizes
(:mod:`cellrim.prediction.accurate`); the student sees it turned, noisy and at other scales. Pixels
that are neither a sure cell nor sure ground are ignored by the loss, so that what the teacher
misses does not become background.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from cellrim.core.image import Image
from cellrim.core.resize import resize
from cellrim.datasets.base import Sample, Truth
from cellrim.datasets.records import files_below
from cellrim.errors import RecipeError
from cellrim.io.images import read_image
from cellrim.models.precision import FLOAT32
from cellrim.models.registry import find_model
from cellrim.prediction import Segmenter, load_model

SURE = 0.6
"""Calibrated confidence from which an instance is a cell."""
GROUND = 0.05
"""Probability of a cell below which a pixel is background."""
# Background pieces smaller than this many cells are likelier cells that are not seen at all.
_LEAST_GROUND = 4.0
# Around a sure cell, this share of the diameter wide, what is rather background is background.
_RIM = 0.12


def unannotated_samples(root: Path, teacher: str, *, dataset: str, licence: str) -> list[Sample]:
    """List the images of a folder, with the truth that a model is sure of.

    Parameters
    ----------
    root
        The folder; images at any depth.
    teacher
        Name or folder of the model, opened when the first truth is read.
    dataset, licence
        Of the samples.

    Raises
    ------
    RecipeError
        If there is no image.
    ModelError
        If there is no such model.
    """
    find_model(teacher)
    paths = files_below(root)
    if not paths:
        raise RecipeError(f"Expected images in {root} to label, but there are none.")
    return [
        Sample(
            dataset=dataset,
            name=path.relative_to(root).as_posix(),
            paths=(path,),
            kind="none",
            group=path.stem,
            modality="unannotated",
            licence=licence,
            read_image=partial(read_image, path),
            read_truth=partial(_read_truth, path, teacher),
        )
        for path in paths
    ]


def _read_truth(path: Path, teacher: str) -> Truth:
    return sure_truth(_opened(teacher), read_image(path))


@lru_cache(maxsize=1)
def _opened(name: str) -> Segmenter:
    return load_model(name, accurate=True, precision=FLOAT32)


def sure_truth(teacher: Segmenter, image: Image) -> Truth:
    """Label an image with what a model is sure of.

    Parameters
    ----------
    teacher
        The model; one that looks several times is calmer.
    image
        The image.

    Returns
    -------
    Truth
        Cells of at least :data:`SURE`; ignored is all that is neither in one nor background. Small
        holes in a sheet of cells are ignored, too.
    """
    prediction = teacher.predict(image)
    labels, _ = teacher.decode(prediction, teacher.card.decode_options(SURE))
    logit = resize(np.ascontiguousarray(prediction.maps[0][:, :, np.newaxis]), image.shape)[..., 0]
    ground = logit < np.log(GROUND / (1 - GROUND))
    pieces, _ = ndimage.label(ground)
    large = np.bincount(pieces.ravel()) >= _LEAST_GROUND * np.pi / 4 * prediction.diameter**2
    ground &= large[pieces]
    near = ndimage.distance_transform_edt(labels == 0) <= max(1.5, _RIM * prediction.diameter)
    known = ground | (near & (logit < 0)) | (labels > 0)
    return Truth(labels, ~known)
