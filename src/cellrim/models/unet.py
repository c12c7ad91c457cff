"""The U-Net: three channels in, four maps out, at the resolution of the input.

Ronneberger et al. (MICCAI 2015) with residual blocks (He et al., CVPR 2016), skips that are added
instead of concatenated, and its body at half resolution: one thin convolution at full resolution
goes in before the stride-2 stem and comes back at the end, where the body's features return by
sub-pixel shuffling (Shi et al., CVPR 2016). That costs a fifth of the usual U-Net and keeps the
rims sharp. Either end may be at half resolution, too: squares of 4x4 pixels go in, or it is the
maps that are shuffled. Torch lives here and in ``training`` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellrim.core.normalise import NETWORK_CHANNELS
from cellrim.models.precision import FLOAT32
from cellrim.representation.flow import MAPS

IN = ("rim.", "stem.")
"""Beginnings of the names of the weights that depend on where the image goes in."""

OUT = ("to_rim.", "refine.", "head.")
"""And of those that depend on where the maps come out."""


@dataclass(frozen=True, slots=True)
class UNetShape:
    """The size of a U-Net.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4, 1/8 ... of the input's resolution.
    rim
        Channels of the first layer, which is at full resolution unless ``half_in``.
    half_in
        Whether the first layer is at half resolution.
    half_out
        Whether the maps are drawn from half resolution.
    first_block
        Whether there is a block at 1/2 resolution on the way down.
    """

    widths: tuple[int, ...] = (32, 64, 128, 192, 256)
    rim: int = 16
    half_in: bool = False
    half_out: bool = False
    first_block: bool = True

    @property
    def stride(self) -> int:
        """Height and width of the input must be multiples of this."""
        return int(2 ** len(self.widths))

    @property
    def halo(self) -> int:
        """Context in pixels beyond which no input changes a core; a multiple of the stride.

        Cores begin and end at multiples of the stride, so none of them shares a pixel of the
        coarsest grid. From the maps back to the image, in pixels of each level's grid: a 3x3
        convolution adds one, the half of it one rounded up, a stride of two twice and one.
        """
        levels = len(self.widths)
        wanted = [0 if self.half_out else 1]
        while len(wanted) < levels:  # by the way up
            wanted.append(-(-(wanted[-1] + 2) // 2))
        reach = wanted[-1]
        for skipped in reversed(wanted[:-1]):  # on the way down
            reach = max(skipped + 2, 2 * (reach + 1) + 1)
        reach += 2 if self.first_block else 0
        reach = 2 * (reach + 1) + (1 if self.half_in else 0)
        return -(-reach // self.stride) * self.stride


class UNet(nn.Module):
    """Image to maps.

    Input float32 ``(B, 3, H, W)``, output float32 ``(B, 4, H, W)`` in the order of
    :data:`cellrim.representation.flow.MAPS`; H and W multiples of ``shape.stride``.
    """

    def __init__(self, shape: UNetShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or UNetShape()
        widths, rim = shape.widths, shape.rim
        if shape.half_in:
            self.rim = conv(NETWORK_CHANNELS, rim, kernel=4, stride=2)
            self.stem = conv(rim, widths[0])
        else:
            self.rim = conv(NETWORK_CHANNELS, rim)
            self.stem = conv(rim, widths[0], stride=2)
        first = Residual(widths[0], widths[0]) if shape.first_block else nn.Identity()
        self.down = nn.ModuleList([first, *(Residual(a, b, stride=2) for a, b in pairwise(widths))])
        self.squeeze = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Residual(a, a) for a in widths[:-1])
        self.shuffle = nn.PixelShuffle(2)
        if shape.half_out:
            self.head = nn.Conv2d(widths[0], len(MAPS) * 4, 1)
        else:
            self.to_rim = nn.Conv2d(widths[0], rim * 4, 1)
            self.refine = conv(rim, rim)
            self.head = nn.Conv2d(rim, len(MAPS), 1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the maps of a batch."""
        fine = self.rim(image)
        x = self.body(self.stem(fine))
        if self.shape.half_out:
            drawn: Tensor = self.shuffle(self.head(x))
            return drawn
        x = self.shuffle(self.to_rim(x))
        maps: Tensor = self.head(self.refine(x if self.shape.half_in else x + fine))
        return maps

    def body(self, x: Tensor) -> Tensor:
        """Go down and up again at half resolution and below."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for squeeze, block in zip(reversed(self.squeeze), reversed(self.up), strict=True):
            x = nn.functional.interpolate(squeeze(x), scale_factor=2.0, mode="nearest")
            x = block(x + skips.pop())
        return x


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = conv(inside, outside, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(outside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside)
        )
        plain = inside == outside and stride == 1
        self.shortcut: nn.Module = (
            nn.Identity()
            if plain
            else nn.Sequential(
                nn.Conv2d(inside, outside, stride, stride=stride, bias=False),
                nn.BatchNorm2d(outside),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def conv(inside: int, outside: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, 3x3 unless said otherwise, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class TorchBackend:
    """Runs a U-Net for the predictor, on the device its weights are on.

    Parameters
    ----------
    model
        Put into evaluation mode.
    """

    def __init__(self, model: UNet) -> None:
        self._model = model.eval()

    precision = FLOAT32

    @property
    def device(self) -> str:
        """Where the weights are: ``cpu``, ``cuda:0``, ..."""
        return str(next(self._model.parameters()).device)

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the maps (B, 4, H, W) of a batch (B, 3, H, W), both float32."""
        with torch.inference_mode():
            image = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
            maps: NDArray[np.float32] = self._model(image).float().cpu().numpy()
        return maps
