"""Small pictures for a report: the image, and outlines as a layer of their own above it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image
from cellrim.core.labels import Labels
from cellrim.core.resize import resize, scaled_shape
from cellrim.errors import InputError
from cellrim.io.overlay import Rgb, display, outlines

# Longest edges (pixels) and qualities tried until a picture fits its budget; the last one is taken
# whatever its size, which at 128 pixels stays below FLOOR_BYTES.
_TRIES = (
    (720, 75),
    (512, 75),
    (400, 75),
    (400, 50),
    (320, 60),
    (256, 60),
    (256, 35),
    (192, 45),
    (128, 45),
    (128, 15),
)
_MIDDLE = 127
# How hard the encoder tries, 0 to 6: 2 takes less than half the time of more, for 5 % of the size.
_WEBP_METHOD = 2
_ON_DARK, _ON_LIGHT = (255, 214, 0), (0, 70, 220)

Colours = NDArray[np.uint8]
"""uint8, ``(n + 1, 3)``: red, green, blue of each id; the first row is not used."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Cells to outline.

    Parameters
    ----------
    labels
        int32, axes ``YX``, of the size of the image.
    colours
        One row per id from 0 on; one colour that shows on the image where None.
    """

    labels: Labels
    colours: Colours | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture as a page holds it.

    Parameters
    ----------
    width, height
        In pixels.
    image
        WebP as base64.
    layers
        Caption to a transparent WebP of the same size, as base64.
    """

    width: int
    height: int
    image: str
    layers: Mapping[str, str]

    @property
    def size(self) -> int:
        """Characters it takes on a page."""
        return len(self.image) + sum(map(len, self.layers.values()))

    def as_json(self) -> dict[str, Any]:
        """As the page's script reads it."""
        return {
            "width": self.width,
            "height": self.height,
            "image": self.image,
            "layers": dict(self.layers),
        }


def make_picture(image: Image, layers: Mapping[str, Layer], *, budget: int) -> Picture:
    """Make a small picture with outlines.

    Parameters
    ----------
    image
        Any image; stretched for display as an overlay is.
    layers
        Caption to cells.
    budget
        Characters the picture may take: it is made smaller until it fits, down to 128 pixels.

    Raises
    ------
    InputError
        If labels and image differ in size.
    """
    for layer in layers.values():
        if layer.labels.shape != image.shape:
            raise InputError(
                f"Expected labels of the image's shape {image.shape}, but got {layer.labels.shape}."
            )
    shown = _thinned(image)
    edges = [(edge, quality) for edge, quality in _TRIES if edge <= max(image.shape)]
    for edge, quality in edges or _TRIES[-2:]:
        picture = _encoded(image.shape, shown, layers, edge=edge, quality=quality)
        if picture.size <= budget:
            break
    return picture


def _thinned(image: Image) -> Rgb:
    """For display, with at most twice the edge of the largest picture."""
    step = math.ceil(max(image.shape) / (2 * _TRIES[0][0]))
    thin = Image(
        np.ascontiguousarray(image.pixels[::step, ::step]), image.channels, image.pixel_size
    )
    return display(thin)


def _encoded(
    size: tuple[int, int],
    shown: Rgb,
    layers: Mapping[str, Layer],
    *,
    edge: int,
    quality: int,
) -> Picture:
    shape = scaled_shape(size, min(1.0, edge / max(size)))
    small = resize(shown.astype(np.float32), shape)
    rgb = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    light = rgb.mean() > _MIDDLE
    return Picture(
        width=shape[1],
        height=shape[0],
        image=_webp(rgb, quality),
        layers={name: _webp(_drawn(layer, shape, light=light)) for name, layer in layers.items()},
    )


def _drawn(layer: Layer, shape: tuple[int, int], *, light: bool) -> NDArray[np.uint8]:
    """Outlines on nothing: uint8, red, green, blue and opacity."""
    rows, columns = (
        ((np.arange(small) + 0.5) * large / small).astype(np.intp)
        for small, large in zip(shape, layer.labels.shape, strict=True)
    )
    labels = layer.labels[np.ix_(rows, columns)]
    line = outlines(labels)
    result = np.zeros((*shape, 4), np.uint8)
    colour = np.array(_ON_LIGHT if light else _ON_DARK, np.uint8)
    result[line, :3] = colour if layer.colours is None else layer.colours[labels[line]]
    result[line, 3] = 255
    return result


def _webp(pixels: NDArray[np.uint8], quality: int | None = None) -> str:
    import imagecodecs

    lossless = quality is None
    data = imagecodecs.webp_encode(
        np.ascontiguousarray(pixels),
        level=60 if lossless else quality,
        lossless=lossless,
        method=_WEBP_METHOD,
    )
    return base64.b64encode(data).decode()
