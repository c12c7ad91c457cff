"""The model whose maps another one learns to draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.registry import find_model
from cellrim.models.restore import restore
from cellrim.prediction.accurate import ORIENTATIONS, Orientation


class Teacher:
    """Draws the maps of patches: on a CPU as users run the model, on a GPU in torch.

    Each batch is turned another way first, and its maps turned back: who learns from all of them
    learns their mean, without what one of them says by chance.

    On a CPU that is fast at 8-bit integers that takes less time than torch does
    (``benchmarks/training_speed.py``); rounding changes the flow by a sixth of what a good pupil is
    away from it (decision 0017).

    Parameters
    ----------
    name
        Model, by its name or folder.
    device, half
        Where the patches are, and in which numbers torch computes there; None for float32.

    Raises
    ------
    ModelError
        If there is no such model, or it does not work.
    """

    def __init__(self, name: str, device: torch.device, half: torch.dtype | None) -> None:
        folder = find_model(name)
        self.sha256 = folder.card.sha256
        self._device, self._half = device, half
        if device.type == "cpu":
            threads = torch.get_num_threads()
            self._backend = OnnxBackend(folder.path, folder.card, threads=threads, device="cpu")
        else:
            self._network = restore(folder).to(device).requires_grad_(False)

    @torch.no_grad()
    def draw(self, image: Tensor, batch: int) -> Tensor:
        """Draw the maps of the patches of a batch, of some number.

        Parameters
        ----------
        image
            float32 ``(B, 3, H, W)``, normalised.
        batch
            Consecutive numbers take turns of how the patches lie.

        Returns
        -------
        Tensor
            float ``(B, 4, H, W)``, as the patches lie.
        """
        return turned(image, ORIENTATIONS[batch % len(ORIENTATIONS)], self._run)

    def _run(self, image: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return torch.from_numpy(self._backend.predict(image.contiguous().numpy()))
        with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
            maps: Tensor = self._network(image.contiguous(memory_format=torch.channels_last))
        return maps


def turned(image: Tensor, way: Orientation, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Run on turned patches ``(B, 3, H, W)``; turn the maps ``(B, 4, H, W)`` and flows back."""
    flips = [axis for axis, flipped in ((-2, way.flip_y), (-1, way.flip_x)) if flipped]
    image = image.transpose(-2, -1) if way.exchanged else image
    maps = run(image.flip(flips)).flip(flips)
    for flow, flipped in ((1, way.flip_y), (2, way.flip_x)):
        if flipped:
            maps[:, flow] *= -1
    return maps.transpose(-2, -1)[:, [0, 2, 1, 3]] if way.exchanged else maps
