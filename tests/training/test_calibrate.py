from __future__ import annotations

import numpy as np

from cellrim.representation.calibration import Calibration
from cellrim.training.calibrate import JudgedCells, fit_calibration


def images_of(true_map, *, count=12, cells=400, seed=0):
    """Cells whose chance to be right is the true map of what the network says."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        said = rng.uniform(0.05, 0.95, cells).astype(np.float32)
        right = rng.random(cells) < true_map.apply(said)
        found.append(JudgedCells(f"set {i % 3}", said, right))
    return found


def test_the_map_behind_the_cells_is_found():
    true_map = Calibration(2.0, 0.7)
    found, error = fit_calibration(images_of(true_map))
    assert abs(found.slope - 2.0) < 0.2
    assert abs(found.offset - 0.7) < 0.2
    assert error < 0.04


def test_the_error_is_that_of_images_without_part_in_the_fit():
    """Halves that contradict each other cannot be told by each other's map."""
    sure = np.full(200, 0.9, np.float32)
    alternating = [
        JudgedCells("a", sure, np.full(200, i % 2 == 0) ^ (np.arange(200) < 2)) for i in range(4)
    ]
    _, error = fit_calibration(alternating)
    assert error > 0.4


def test_one_image_has_no_error_and_none_has_no_effect():
    assert np.isnan(fit_calibration(images_of(Calibration(), count=1))[1])
    empty = JudgedCells("a", np.zeros(0, np.float32), np.zeros(0, bool))
    assert fit_calibration([empty])[0] == Calibration()
