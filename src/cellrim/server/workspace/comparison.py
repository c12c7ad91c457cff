"""A corrected image segmented before and after a training, against its correction."""

from __future__ import annotations

from dataclasses import dataclass

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.evaluation.counts import count_image, scores
from cellrim.prediction.segmenter import Segmenter


@dataclass(frozen=True, slots=True)
class Comparison:
    """One corrected image, segmented before and after.

    Parameters
    ----------
    key, name
        The image.
    held_back
        Whether training did not see it.
    cells
        How many the correction has.
    cells_before, cells_after
        How many the models find.
    ap50_before, ap50_after
        AP at IoU 0.5 against the correction, 0..1.
    """

    key: str
    name: str
    held_back: bool
    cells: int
    cells_before: int
    cells_after: int
    ap50_before: float
    ap50_after: float


def compare(
    image: Image,
    truth: Labels,
    models: tuple[Segmenter, Segmenter],
    *,
    key: str,
    name: str,
    held_back: bool,
) -> Comparison:
    """Segment an image with the models before and after, and score both.

    Parameters
    ----------
    image, truth
        The image and its corrected labels, int32, axes ``YX``.
    models
        The one before, and the one after.
    key, name, held_back
        Of the image, see :class:`Comparison`.
    """
    before, after = (model.segment(image).labels for model in models)
    return Comparison(
        key=key,
        name=name,
        held_back=held_back,
        cells=int(truth.max(initial=0)),
        cells_before=int(before.max(initial=0)),
        cells_after=int(after.max(initial=0)),
        ap50_before=_ap50(before, truth),
        ap50_after=_ap50(after, truth),
    )


def _ap50(labels: Labels, truth: Labels) -> float:
    return float(scores(count_image(labels, truth, boundaries=False)).ap50)
