from __future__ import annotations

import pytest
import torch
from average_models import average_models

from cellrim.errors import ModelError
from cellrim.models.card import CARD_NAME, ONNX_NAME, read_card, sha256_of, write_card
from cellrim.models.export import export_onnx
from cellrim.models.registry import find_model
from cellrim.models.restore import restore
from cellrim.models.unet import UNet, UNetShape


@pytest.fixture
def save(tmp_path, card_with):
    """Write the model folder of a network."""

    def write(name, network, widths=(8, 12)):
        folder = tmp_path / name
        folder.mkdir()
        export_onnx(network, folder / ONNX_NAME)
        card = card_with(
            name=name,
            architecture={"widths": list(widths), "rim": 8},
            sha256=sha256_of((folder / ONNX_NAME).read_bytes()),
            int8_sha256="0" * 64,
            validation={"kc167": {"map": 0.5}},
        )
        write_card(folder / CARD_NAME, card)
        return str(folder)

    return write


def network(seed, widths=(8, 12)):
    torch.manual_seed(seed)
    made = UNet(UNetShape(widths, 8))
    for _ in range(5):
        made(torch.rand(4, 3, 32, 32) * (seed + 1))
    return made.eval()


def maps(model):
    with torch.no_grad():
        return model(torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))


def mean_maps(tmp_path, *folders):
    average_models(list(folders), tmp_path / "mean")
    return maps(restore(find_model(tmp_path / "mean")))


def test_a_model_is_its_own_mean(save, tmp_path):
    one = network(0)
    found = mean_maps(tmp_path, save("a", one), save("b", one))
    torch.testing.assert_close(found, maps(one), atol=5e-3, rtol=0)


def test_kernels_are_averaged_with_their_normalisations(save, tmp_path):
    """Where the last layers alone differ, the maps of the mean are the mean of the maps."""
    one, other = network(0), network(0)
    with torch.no_grad():
        other.head.weight.add_(torch.rand_like(other.head.weight))
        other.head.bias.sub_(1)
    found = mean_maps(tmp_path, save("a", one), save("b", other), save("c", other))
    expected = (maps(one) + 2 * maps(other)) / 3
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)
    assert not torch.allclose(expected, maps(one), atol=0.1)


def test_how_a_kernel_and_its_normalisation_share_a_scale_does_not_matter(save, tmp_path):
    one, same = network(0), network(0)
    kernel, normalisation = next(
        (a, b)
        for a, b in zip(list(same.modules())[:-1], list(same.modules())[1:], strict=True)
        if isinstance(a, torch.nn.Conv2d) and isinstance(b, torch.nn.BatchNorm2d)
    )
    with torch.no_grad():
        kernel.weight.mul_(3)
        normalisation.running_mean.mul_(3)
        normalisation.running_var.mul_(9).add_(8 * normalisation.eps)
    found = mean_maps(tmp_path, save("a", one), save("b", same))
    torch.testing.assert_close(found, maps(one), atol=5e-3, rtol=0)


def test_the_card_states_nothing_that_was_measured_of_another(save, tmp_path):
    average_models([save("a", network(0)), save("b", network(1))], tmp_path / "mean")
    card = read_card(tmp_path / "mean" / CARD_NAME)
    assert card.name == "a"
    assert card.sha256 == sha256_of((tmp_path / "mean" / ONNX_NAME).read_bytes())
    assert (card.validation, card.int8_sha256, card.replaced) == ({}, None, None)


def test_networks_of_two_sizes_have_no_mean(save, tmp_path):
    other = save("b", network(0, (8, 16)), (8, 16))
    with pytest.raises(ModelError, match="one architecture"):
        average_models([save("a", network(0)), other], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
