from __future__ import annotations

import numpy as np
import pytest
import torch

from cellrim.models.unet import TorchBackend, UNet, UNetShape

SMALL = UNetShape((6, 8, 8), 4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return UNet(SMALL).eval()


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (64, 24)])
def test_maps_have_the_size_of_the_input(model, shape):
    maps = model(torch.zeros(2, 3, *shape))
    assert maps.shape == (2, 4, *shape)


def test_stride():
    assert SMALL.stride == 8
    assert UNetShape().stride == 32


def test_nothing_beyond_the_halo_changes_a_pixel(model):
    """The halo is a bound on the true receptive field, and not much more than it."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()  # no cancelling, no dead units: every path shows
    size = 2 * SMALL.halo + SMALL.stride
    size += -size % SMALL.stride
    model = model.double()
    reach = 0
    for centre in range(size // 2, size // 2 + SMALL.stride):
        image = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
        model(image)[0, 0, centre, centre].backward()
        touched = torch.nonzero(image.grad.abs().sum((0, 1, 2)) > 0)[:, 0]
        reach = max(reach, centre - int(touched.min()), int(touched.max()) - centre)
    assert SMALL.halo / 2 < reach <= SMALL.halo
    assert SMALL.halo % SMALL.stride == 0


def test_the_default_model_is_small():
    parameters = sum(p.numel() for p in UNet().parameters())
    assert parameters * 2 < 8e6  # as float16


def test_torch_backend(model):
    batch = np.random.default_rng(0).random((2, 3, 16, 24), np.float32)
    maps = TorchBackend(model).predict(batch)
    assert maps.dtype == np.float32
    assert maps.shape == (2, 4, 16, 24)
    again = TorchBackend(model).predict(batch[:1])
    np.testing.assert_allclose(maps[:1], again, atol=1e-5)
