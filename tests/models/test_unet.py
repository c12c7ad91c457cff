from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellrim.models.unet import TorchBackend, UNet, UNetShape

SMALL = UNetShape((6, 8, 8), 4)
ENDS = {
    "full ends": {},
    "half in": {"half_in": True},
    "half out": {"half_out": True},
    "half ends": {"half_in": True, "half_out": True},
    "half ends without a first block": {"half_in": True, "half_out": True, "first_block": False},
}


@pytest.fixture(params=ENDS.values(), ids=ENDS)
def model(request):
    torch.manual_seed(0)
    return UNet(replace(SMALL, **request.param)).eval()


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (64, 24)])
def test_maps_have_the_size_of_the_input(model, shape):
    maps = model(torch.zeros(2, 3, *shape))
    assert maps.shape == (2, 4, *shape)


def test_stride():
    assert SMALL.stride == 8
    assert UNetShape().stride == 32


@pytest.mark.parametrize("shape", [SMALL, UNetShape()], ids=["small", "default"])
@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_nothing_beyond_the_halo_changes_a_core(shape, ends):
    """The halo is a bound on what a core of the coarsest grid sees, and not much more than it."""
    shape = replace(shape, **ends)
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


def test_only_full_ends_compute_at_full_resolution(model):
    sizes = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[2]))
    model(torch.zeros(1, 3, 64, 64))
    shape = model.shape
    assert max(sizes) == (32 if shape.half_in and shape.half_out else 64)
    assert sizes.count(64) == (not shape.half_in) + 2 * (not shape.half_out)
