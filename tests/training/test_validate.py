from __future__ import annotations

import numpy as np

from cellrim.evaluation import count_image
from cellrim.training.store import PackedSample
from cellrim.training.validate import ImageScore, by_set, intervals_by_set


def scored(set_name, truth, found):
    sample = PackedSample(
        key="k",
        dataset="d",
        name="n",
        modality="m",
        licence="l",
        part="validation",
        source=0,
        cells=1,
        diameter=5.0,
        levels=0,
        channels=(),
    )
    return ImageScore(sample, set_name, count_image(found, truth, boundaries=False), None)


def test_intervals_enclose_the_pooled_value_and_need_two_images():
    truth = np.zeros((20, 20), np.int32)
    truth[2:8, 2:8], truth[12:18, 12:18] = 1, 2
    half = np.where(truth == 1, 1, 0).astype(np.int32)
    images = [
        scored("many", truth, truth),
        scored("many", truth, half),
        scored("many", truth, half),
        scored("one", truth, truth),
    ]
    intervals = intervals_by_set(images)
    assert set(intervals) == {"many"}
    (pooled,) = (s for s in by_set(images) if s.name == "many")
    for name, (low, high) in intervals["many"].items():
        assert low - 1e-3 <= pooled.values[name] <= high + 1e-3
    low, high = intervals["many"]["ap50"]
    assert low < high
