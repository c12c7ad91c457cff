"""Variants of the product's U-Net, one change each, and the plain U-Net of the textbooks.

All take float32 ``(B, 3, H, W)``, return ``(B, 4, H, W)``, and have a ``shape`` that says which
multiple the input must be of (``stride``) and how much context a tile needs (``halo``).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellrim.models.unet import Residual, UNet, UNetShape, conv
from cellrim.representation.flow import MAPS

BASE = (32, 64, 128, 192, 256)


class Plain(nn.Sequential):
    """Two 3x3 convolutions without a shortcut."""

    def __init__(self, inside: int, outside: int, *, stride: int = 1) -> None:
        super().__init__(conv(inside, outside, stride=stride), conv(outside, outside))


class Separable(nn.Module):
    """A residual block of depthwise 3x3 and pointwise convolutions."""

    def __init__(self, inside: int, outside: int, *, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *depthwise(inside, outside, stride=stride), nn.ReLU(inplace=True),
            *depthwise(outside, outside),
        )  # fmt: skip
        self.shortcut = Residual(inside, outside, stride=stride).shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def depthwise(inside: int, outside: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inside, inside, 3, stride=stride, padding=1, groups=inside, bias=False),
        nn.BatchNorm2d(inside),
        nn.Conv2d(inside, outside, 1, bias=False),
        nn.BatchNorm2d(outside),
    )


class Dilated(nn.Module):
    """Adds what convolutions of three dilations see (Chen et al., 2017) to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width // 4, 3, padding=d, dilation=d) for d in (1, 2, 4)
        )
        self.mix = nn.Conv2d(3 * (width // 4), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(torch.relu(torch.cat([b(x) for b in self.branches], 1)))


class Pooled(nn.Module):
    """Adds what the whole image is like to every place (Liu et al., "ParseNet", 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(torch.relu(x.mean((2, 3), keepdim=True)))


class HalfOutput(UNet):
    """Maps at half resolution, interpolated: no layer at full resolution after the stem."""

    def __init__(self, shape: UNetShape | None = None) -> None:
        super().__init__(shape)
        self.to_rim = nn.Conv2d(self.shape.widths[0], len(MAPS), 1)
        self.shuffle = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.rim, self.stem = nn.Identity(), conv(3, self.shape.widths[0], stride=2)
        self.refine, self.head = nn.Identity(), nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        return self.shuffle(self.to_rim(self.body(self.stem(image))))


class RefinedHalfEnds(UNet):
    """Half ends with as many layers at half resolution as full ones have in all."""

    def __init__(self, shape: UNetShape | None = None) -> None:
        super().__init__(shape)
        width = self.shape.widths[0]
        self.rim = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.stem, self.to_rim = nn.Identity(), nn.Identity()
        self.refine, self.head = conv(width, width), nn.Conv2d(width, len(MAPS) * 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.rim(image)
        return self.shuffle(self.head(self.refine(self.body(fine) + fine)))


class Supervised(UNet):
    """In training, also the coarser levels of the way up give maps, kept in ``side``."""

    def __init__(self, shape: UNetShape | None = None) -> None:
        super().__init__(shape)
        # Of levels 1 and 2: maps at 1/4 and 1/8 of the input.
        self.side_heads = nn.ModuleDict(
            {str(k): nn.Conv2d(self.shape.widths[k], len(MAPS), 1) for k in (1, 2)}
        )
        self.side: list[Tensor] = []
        for k, head in self.side_heads.items():
            self.up[int(k)].register_forward_hook(self._look(head))

    def _look(self, head: nn.Module) -> Callable[..., None]:
        def look(block: nn.Module, inputs: object, output: Tensor) -> None:
            del block, inputs
            if self.training:
                self.side.append(head(output))

        return look

    def forward(self, image: Tensor) -> Tensor:
        self.side.clear()
        return super().forward(image)


class TextbookUNet(nn.Module):
    """Ronneberger et al. (2015): plain blocks at full resolution, skips concatenated."""

    def __init__(self, widths: tuple[int, ...], outputs: int = len(MAPS)) -> None:
        super().__init__()
        self.shape = _TextbookShape(len(widths))
        self.down = nn.ModuleList(Plain(a, b) for a, b in pairwise((3, *widths)))
        self.up = nn.ModuleList(Plain(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        x, skips = image, []
        for block in self.down:
            x = block(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([skips.pop(), x], 1))
        return self.head(x)


class _TextbookShape:
    def __init__(self, levels: int) -> None:
        self.stride = 2 ** (levels - 1)
        reach = sum(4 * 2**k for k in range(levels)) + self.stride
        self.halo = -(-reach // self.stride) * self.stride


def with_blocks(model: UNet, make: Callable[..., nn.Module]) -> UNet:
    """The same network with other blocks."""
    widths = model.shape.widths
    model.down = nn.ModuleList(
        make(a, b, stride=1 if i == 0 else 2)
        for i, (a, b) in enumerate(zip((widths[0], *widths[:-1]), widths, strict=True))
    )
    model.up = nn.ModuleList(make(a, a) for a in widths[:-1])
    return model


def with_context(model: UNet, make: Callable[[int], nn.Module]) -> UNet:
    """The same network with a block of context behind its coarsest level."""
    model.down[-1] = nn.Sequential(model.down[-1], make(model.shape.widths[-1]))
    return model


def unet(*widths: int, **others: Any) -> Callable[[], UNet]:
    return lambda: UNet(UNetShape(widths, **others))


VARIANTS: dict[str, Callable[[], nn.Module]] = {
    "base": unet(*BASE),
    "narrow": unet(24, 48, 96, 144, 192, rim=12),
    "wide": unet(48, 96, 160, 224, 256, rim=24),
    "wider": unet(64, 128, 192, 256, 256, rim=24),
    "shallow": unet(*BASE[:4]),
    "deep": unet(*BASE, 256),
    "thin rim": unet(*BASE, rim=8),
    "half output": lambda: HalfOutput(UNetShape(BASE)),
    "half in": unet(*BASE, half_in=True),
    "half out": unet(*BASE, half_out=True),
    "half out without first block": unet(*BASE, half_out=True, first_block=False),
    "half ends": unet(*BASE, half_in=True, half_out=True),
    "half ends without first block": unet(*BASE, half_in=True, half_out=True, first_block=False),
    "half ends refined": lambda: RefinedHalfEnds(UNetShape(BASE)),
    "half ends narrow": unet(32, 48, 96, 160, 256, half_in=True, half_out=True, first_block=False),
    "plain blocks": lambda: with_blocks(UNet(UNetShape(BASE)), Plain),
    "separable": lambda: with_blocks(UNet(UNetShape(BASE)), Separable),
    "separable wide": lambda: with_blocks(UNet(UNetShape((48, 96, 192, 288, 384))), Separable),
    "dilated context": lambda: with_context(UNet(UNetShape(BASE)), Dilated),
    "pooled context": lambda: with_context(UNet(UNetShape(BASE)), Pooled),
    "deep supervision": lambda: Supervised(UNetShape(BASE)),
    "textbook": lambda: TextbookUNet((16, 32, 64, 128, 192)),
}
