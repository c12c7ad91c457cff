import pytest
import torch

from cellrim.prediction.accurate import ORIENTATIONS
from cellrim.training.teacher import turned


def slopes(image):
    """A network that does not care how an image lies: brightness, its slopes, brightness."""
    light = image.mean(1)
    y, x = torch.gradient(light, dim=(1, 2))
    return torch.stack([light, y, x, light], 1)


@pytest.mark.parametrize("way", ORIENTATIONS, ids=str)
def test_turned_patches_have_the_same_maps(way):
    image = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    seen = []

    def run(patches):
        seen.append(patches)
        return slopes(patches)

    torch.testing.assert_close(turned(image, way, run), slopes(image))
    assert torch.equal(seen[0], image) == (way == ORIENTATIONS[0])
