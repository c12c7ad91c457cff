import numpy as np
import pytest


@pytest.fixture
def two():
    """Two squares of 10 pixels that touch, and one far away."""
    labels = np.zeros((40, 60), np.int32)
    labels[10:20, 10:20] = 1
    labels[10:20, 20:30] = 2
    labels[30:36, 45:55] = 3
    return labels
