"""A synthetic field of stained nuclei of any size, with its truth: for timing, not for accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.labels import Labels, relabel

DIAMETER = 24.0
# Edge of the square each nucleus has to itself: 39 x 39 in 2048 x 2048.
_PITCH = 52.5


def field(edge: int, *, seed: int = 0) -> tuple[NDArray[np.uint16], Labels]:
    """Draw nuclei of about :data:`DIAMETER` on a loose grid, some of them touching.

    Returns
    -------
    pixels
        uint16, axes ``YX``.
    labels
        int32, axes ``YX``.
    """
    rng = np.random.default_rng(seed)
    count = max(1, round(edge / _PITCH))
    pitch = edge / count
    grid = np.indices((count, count)).reshape(2, -1) + 0.5
    centres = grid * pitch + rng.uniform(-0.27, 0.27, grid.shape) * pitch
    radii = rng.uniform(0.4, 0.6, grid.shape) * DIAMETER
    angle = rng.uniform(0, np.pi, grid.shape[1])
    light = rng.uniform(0.35, 1.0, grid.shape[1])
    labels, nearest = np.zeros((edge, edge), np.int32), np.full((edge, edge), np.inf)
    reach = int(DIAMETER)
    for k in range(grid.shape[1]):
        top, left = (max(0, int(c) - reach) for c in centres[:, k])
        window = np.s_[top : top + 2 * reach, left : left + 2 * reach]
        y, x = np.indices(labels[window].shape, float)
        y, x = y + top - centres[0, k], x + left - centres[1, k]
        along = (y * np.cos(angle[k]) + x * np.sin(angle[k])) / radii[0, k]
        across = (x * np.cos(angle[k]) - y * np.sin(angle[k])) / radii[1, k]
        far = np.hypot(along, across)
        mine = (far <= 1) & (far < nearest[window])
        labels[window][mine], nearest[window][mine] = k + 1, far[mine]
    table = np.r_[0, light]
    mottled = 1 + 0.5 * ndimage.gaussian_filter(rng.normal(size=labels.shape), 2.0)
    bright = ndimage.gaussian_filter(table[labels] * mottled, 1.2)
    counts = rng.poisson(400 * (np.maximum(bright, 0) + 0.08)) + rng.normal(100, 4, labels.shape)
    return np.clip(counts * 20, 0, 65535).astype(np.uint16), relabel(labels)
