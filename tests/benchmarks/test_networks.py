from __future__ import annotations

import pytest
import torch
from architectures import tflop
from networks import VARIANTS, Supervised


@pytest.mark.parametrize("name", VARIANTS)
def test_maps_have_the_size_of_the_image(name):
    model = VARIANTS[name]().eval()
    edge = model.shape.stride
    with torch.no_grad():
        assert model(torch.zeros(1, 3, edge, 2 * edge)).shape == (1, 4, edge, 2 * edge)
    assert model.shape.halo % model.shape.stride == 0


def test_coarser_levels_answer_in_training_only():
    model = VARIANTS["deep supervision"]()
    assert isinstance(model, Supervised)
    model(torch.zeros(2, 3, 64, 64))
    assert sorted(side.shape[2] for side in model.side) == [8, 16]
    model.eval()(torch.zeros(1, 3, 64, 64))
    assert model.side == []


def test_arithmetic_is_counted_twice_for_a_multiply_add():
    one = torch.nn.Conv2d(3, 10, 3, padding=1)
    assert tflop(one) == pytest.approx(2 * 3 * 10 * 9 / 1e6)
