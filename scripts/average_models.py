"""Make one model of several that grew from one: the mean of their weights.

Usage: python scripts/average_models.py OUT MODEL MODEL [MODEL ...]

Trainings that began with the same weights end around the middle of what they look for, and the
mean of where they end is often better than each (Wortsman et al., Model soups, ICML 2022). The
batch normalisations are part of the kernels, as the models' files have them: the means of
checkpoints of several trainings are no network, for each scales its kernels its own way. A model
that is named twice counts twice. The card is the first model's, decode options and calibration
too, without what was measured of it.

Goes on with ``cellrim train RECIPE --from OUT``, or ``scripts/quantise_model.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from cellrim.errors import ModelError
from cellrim.models.card import CARD_NAME, ONNX_NAME, sha256_of, write_card
from cellrim.models.export import export_onnx
from cellrim.models.registry import find_model
from cellrim.models.restore import restore
from cellrim.models.unet import UNet
from cellrim.training.checkpoint import blend


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+")
    given = parser.parse_args()
    average_models(given.models, given.out)


def average_models(names: list[str], out: Path) -> None:
    """Write the model folder of the mean.

    Raises
    ------
    ModelError
        If a network cannot be read, or they are not of one architecture.
    """
    folders = [find_model(name) for name in names]
    network = mean_of([restore(folder) for folder in folders])
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(network, out / ONNX_NAME)
    card = msgspec.structs.replace(
        folders[0].card,
        sha256=sha256_of((out / ONNX_NAME).read_bytes()),
        int8_sha256=None,
        validation={},
        intervals={},
        replaced=None,
    )
    write_card(out / CARD_NAME, card)


def mean_of(networks: list[UNet]) -> UNet:
    """Return the network of the mean weights, in evaluation mode.

    Parameters
    ----------
    networks
        As :func:`~cellrim.models.restore.restore` makes them: their batch normalisations pass
        values through but for a bias.

    Raises
    ------
    ModelError
        If they are not of one architecture.
    """
    shape = networks[0].shape
    for other in networks[1:]:
        if other.shape != shape:
            raise ModelError(f"Expected networks of one architecture: {shape}, {other.shape}.")
    mean = networks[0].state_dict()
    for count, other in enumerate(networks[1:], 2):
        mean = blend(mean, other.state_dict(), 1 / count)
    network = UNet(shape).eval()
    network.load_state_dict(mean)
    return network


if __name__ == "__main__":
    main()
