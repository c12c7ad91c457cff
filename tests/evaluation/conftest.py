import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture(scope="session")
def reference():
    """The slow plain twins of the metrics."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("reference.py"))))


def make_cells(seed, shape=(96, 110), count=25):
    """A mosaic of touching cells with background between some of them."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.int32)
    seeds[rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)] = np.arange(count) + 1
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    labels = seeds[tuple(nearest)]
    labels[distance > 9] = 0
    return labels


def disturb(labels, seed):
    """Shift, merge, split, drop and add cells, as a mediocre tool does."""
    rng = np.random.default_rng(seed)
    ids = np.unique(labels[labels > 0])
    out = np.roll(labels, rng.integers(-2, 3, 2), (0, 1)).copy()
    for i in rng.choice(ids, min(4, len(ids)), replace=False):
        out[out == i] = 0
    a, b, c = rng.choice(ids, 3, replace=False)
    out[out == a] = b
    rows = np.arange(labels.shape[0])[:, None]
    inside = out == c
    if inside.any():
        out[inside & (rows > np.median(np.nonzero(inside)[0]))] = labels.max() + 7
    return out


@pytest.fixture(params=range(6))
def pair(request):
    """A predicted and a true label image that differ in all the usual ways."""
    truth = make_cells(request.param)
    return disturb(truth, request.param + 100), truth
