"""Fits the map from what the network says of a cell to the chance that the cell is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellrim.evaluation.calibration import expected_error, fit, judge
from cellrim.prediction.segmenter import Prediction, Segmenter
from cellrim.representation.calibration import Calibration
from cellrim.representation.flow import DecodeOptions
from cellrim.training.store import PackedSample, read_truth, truth_file


@dataclass(frozen=True, slots=True)
class JudgedCells:
    """The cells found in one validation image.

    ``confidence`` float32 (n,), as the network says it; ``right`` bool (n,): matched at an IoU of
    0.5. Cells that nobody can judge are left out.
    """

    set_name: str
    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]


def judge_predictions(
    segmenter: Segmenter,
    folder: Path,
    predictions: Sequence[tuple[str, PackedSample, Prediction]],
    *,
    options: DecodeOptions,
) -> list[JudgedCells]:
    """Decode predictions and say of every cell whether it is right.

    Parameters
    ----------
    segmenter
        Its card must not calibrate.
    folder
        Of the packed data.
    predictions
        Set name, sample and maps of each validation image.
    options
        How maps become instances.
    """
    judged = []
    for name, sample, prediction in predictions:
        _, truth = read_truth(truth_file(folder, sample.key))
        labels, confidence = segmenter.decode(prediction, options)
        right, known = judge(labels, truth)
        judged.append(JudgedCells(name, confidence[known], right[known]))
    return judged


def fit_calibration(judged: Sequence[JudgedCells]) -> tuple[Calibration, float]:
    """Fit two numbers on all cells, each set weighing the same.

    Returns
    -------
    calibration
        Fitted on all images.
    error
        Its expected calibration error (bins of equal mass) over all cells, measured on images that
        had no part in the fit: each half of the images is judged by the map of the other half. NaN
        where there are fewer than two images with cells.
    """
    filled = [j for j in judged if len(j.confidence)]
    halves = filled[::2], filled[1::2]
    if not all(halves):
        return _fit(filled), float("nan")
    said, right = [], []
    for mine, others in (halves, halves[::-1]):
        calibration = _fit(others)
        said += [calibration.apply(j.confidence) for j in mine]
        right += [j.right for j in mine]
    return _fit(filled), expected_error(np.concatenate(said), np.concatenate(right))


def _fit(judged: Sequence[JudgedCells]) -> Calibration:
    if not judged:
        return Calibration()
    cells = Counter[str]()
    for j in judged:
        cells[j.set_name] += len(j.confidence)
    weights = [np.full(len(j.confidence), 1 / cells[j.set_name]) for j in judged]
    return fit(
        np.concatenate([j.confidence for j in judged]),
        np.concatenate([j.right for j in judged]),
        weights=np.concatenate(weights),
    )
