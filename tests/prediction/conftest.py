import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture
def spots(discs):
    """Bright discs on a dark ground, as nuclei are."""
    return discs((200, 240), 8, spacing=32)


@pytest.fixture
def web(spots):
    """Rings around the spots that touch each other, as membranes do."""
    distance = ndimage.distance_transform_edt(spots < 100)
    rings = np.where((distance > 5) & (distance < 9), 180, 20).astype(np.uint8)
    return np.maximum(rings, np.roll(rings, 11, axis=1))
