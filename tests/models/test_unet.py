from __future__ import annotations

import numpy as np
import pytest
import torch

from cellrim.models.unet import TorchBackend, UNet, UNetShape

SMALL = UNetShape((6, 8, 8), 4)
SMALL_HALF = UNetShape((6, 8, 8), 4, half_ends=True)


@pytest.fixture(params=[SMALL, SMALL_HALF], ids=["full ends", "half ends"])
def model(request):
    torch.manual_seed(0)
    return UNet(request.param).eval()


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (64, 24)])
def test_maps_have_the_size_of_the_input(model, shape):
    maps = model(torch.zeros(2, 3, *shape))
    assert maps.shape == (2, 4, *shape)


def test_stride():
    assert SMALL.stride == 8
    assert UNetShape().stride == 32


@pytest.mark.parametrize(
    "shape",
    [SMALL, SMALL_HALF, UNetShape(), UNetShape(half_ends=True)],
    ids=["small", "small, half ends", "default", "half ends"],
)
def test_nothing_beyond_the_halo_changes_a_core(shape):
    """The halo is a bound on what a core of the coarsest grid sees, and not much more than it."""
    torch.manual_seed(0)
    model = UNet(shape).eval().double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()  # no cancelling, no dead units: every path shows
    before = shape.halo + shape.stride
    core = slice(before, before + shape.stride)
    size = 2 * before + shape.stride
    image = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    model(image)[0, 0, core, core].sum().backward()
    touched = torch.nonzero(image.grad.abs().sum((0, 1, 2)) > 0)[:, 0]
    reach = max(core.start - int(touched.min()), int(touched.max()) + 1 - core.stop)
    assert shape.halo - shape.stride < reach <= shape.halo
    assert shape.halo % shape.stride == 0


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


def test_nothing_is_computed_at_full_resolution_with_half_ends():
    sizes = []
    model = UNet(SMALL_HALF).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[2]))
    model(torch.zeros(1, 3, 64, 64))
    assert max(sizes) == 32
