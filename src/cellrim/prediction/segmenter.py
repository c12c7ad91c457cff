"""From an image to its cells: normalise, find the scale, tile, network, decode, back to size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellrim.core.image import Image, image_from_array
from cellrim.core.labels import Labels, relabel
from cellrim.core.normalise import to_network
from cellrim.core.resize import resize, scaled_shape
from cellrim.core.tiles import plan_tiles, stitch
from cellrim.errors import InputError
from cellrim.models.backend import Backend
from cellrim.models.card import ModelCard
from cellrim.models.precision import FLOAT32, INT8
from cellrim.prediction.arrangement import arrange_channels, choose_channels
from cellrim.prediction.certainty import certainty_of
from cellrim.prediction.rescale import labels_at_size
from cellrim.prediction.result import Result
from cellrim.prediction.scale import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    ArrayView,
    Viewable,
    estimate_scale,
)
from cellrim.prediction.survey import survey
from cellrim.representation.flow import MAPS, DecodeOptions, decode_with_confidence, probability_of

DEFAULT_TILE, INT8_TILE = 1280, 2048
"""Tiles have at most the pixels of a square of this edge, at the network's scale, in float32 and in
8-bit integers: the network then takes about 0.4 GB."""

LEAST_PIXELS = 6
"""Pixels of the image that an instance has at least: fewer are hot pixels, which blown up to the
network's scale look like cells."""

MOST_ENLARGED_PIXELS = 32_000_000
"""An estimated scale never blows an image up to more pixels than this (maps: 16 bytes each)."""

UNTOUCHED_OCTAVES = 1 / 12
"""An estimated scale that is nearer to 1 than this (6 %) is 1."""

_NOTHING = -20.0  # foreground logit of an image that holds nothing


@dataclass(frozen=True, slots=True)
class Prediction:
    """The maps of one image, before they are decoded.

    Parameters
    ----------
    maps
        float32, axes ``CYX``, at the network's scale.
    shape
        Height and width of the input.
    diameter
        Cell diameter used to scale the image, in input pixels.
    """

    maps: NDArray[np.float32]
    shape: tuple[int, int]
    diameter: float


class Segmenter:
    """Segments images with one model. Holds no state between images.

    Parameters
    ----------
    backend
        Runs the network.
    card
        The model's card.
    tile_size
        Tiles have at most the pixels of a square of this edge, at the network's scale. Labels do
        not depend on it; memory does. :data:`INT8_TILE` where left out and the backend computes in
        8-bit integers, :data:`DEFAULT_TILE` where in others.

    Raises
    ------
    InputError
        If the tile is too small for the model's halo.
    """

    accurate = False
    """Whether the maps are averaged over several looks at the image."""

    def __init__(self, backend: Backend, card: ModelCard, *, tile_size: int | None = None) -> None:
        if tile_size is None:
            tile_size = INT8_TILE if backend.precision == INT8 else DEFAULT_TILE
        plan_tiles((1, 1), size=tile_size, halo=card.halo, multiple=card.stride)
        self.backend = backend
        self.card = card
        self.tile_size = tile_size

    @property
    def device(self) -> str:
        """Where the network runs, as ``--device`` calls it, and in what if not in float32.

        For example ``cpu int8``.
        """
        device, precision = self.backend.device, self.backend.precision
        return device if precision == FLOAT32 else f"{device} {precision}"

    def segment(
        self,
        image: Image | ArrayLike,
        *,
        axes: str | None = None,
        channels: tuple[int, ...] | None = None,
        diameter: float | None = None,
        options: DecodeOptions | None = None,
    ) -> Result:
        """Find the cells of an image.

        Parameters
        ----------
        image
            An :class:`~cellrim.core.image.Image`, or an array of two or three dimensions.
        axes
            Axes of an array: ``YX``, ``YXC`` or ``CYX``; needed for three dimensions.
        channels
            Which channels show the cells, at most three; all where left out. Any order.
        diameter
            Typical cell diameter in pixels; estimated from the image where left out.
        options
            How maps become instances; those of the model card where left out.

        Returns
        -------
        Result
            Labels at the size of the image, confidence and measurements. An image without
            contrast has no cells.

        Raises
        ------
        InputError
            If the axes, the channels or the diameter do not fit.
        ModelError
            If the network fails.
        """
        whole = as_image(image, axes=axes)
        prediction = self.predict(whole, channels=channels, diameter=diameter)
        labels, sure = self.decode(prediction, options)
        return Result(labels, sure, prediction.diameter, whole, certainty_of(prediction.maps))

    def predict(
        self,
        image: Image,
        *,
        channels: tuple[int, ...] | None = None,
        diameter: float | None = None,
    ) -> Prediction:
        """Run the network over an image; the arguments are those of :meth:`segment`."""
        if diameter is not None:
            _check_diameter(diameter)
        chosen = choose_channels(image.channels, channels)
        arrangement = arrange_channels(image, survey(image, chosen))
        if arrangement.intensity.constant:
            nothing = np.zeros((len(MAPS), 1, 1), np.float32)
            nothing[0] = _NOTHING
            return Prediction(nothing, image.shape, diameter or self.diameter_at(1.0))
        height, width = image.shape
        pixels = arrangement.apply(image).read(slice(0, height), slice(0, width))
        scale = self._scale(pixels, diameter)
        pixels = resize(pixels, scaled_shape(image.shape, scale))  # both at once take memory
        maps = self._run(pixels)
        return Prediction(maps, image.shape, self.diameter_at(scale))

    def decode(
        self, prediction: Prediction, options: DecodeOptions | None = None
    ) -> tuple[Labels, NDArray[np.float32]]:
        """Turn maps into labels at the size of the input.

        Parameters
        ----------
        prediction
            From :meth:`predict`.
        options
            Those of the model card where left out.

        Returns
        -------
        labels
            int32, axes ``YX``, ids 1..n.
        confidence
            float32, ``(n,)``, 0..1: the chance that the cell is right, as the card calibrates it.
        """
        height, width = prediction.maps.shape[1:]
        options = without_hot_pixels(
            options or self.card.decode, (height, width), of=prediction.shape
        )
        small, sure = decode_with_confidence(prediction.maps, options)
        if small.shape == prediction.shape:
            return small, self.card.calibrated(sure)
        probability = probability_of(prediction.maps[0])
        labels = labels_at_size(
            small, probability, prediction.shape, threshold=options.foreground_threshold
        )
        kept = np.bincount(labels.ravel(), minlength=len(sure) + 1)[1:] > 0
        if not kept.all():  # too small for one pixel of the image, and another is there
            labels, sure = relabel(labels), sure[kept]
        return labels, self.card.calibrated(sure)

    def _scale(self, normalised: NDArray[np.float32], diameter: float | None) -> float:
        if diameter is not None:
            return self.given_scale(diameter)
        return self.estimate_scale(ArrayView(normalised))

    def estimate_scale(self, image: Viewable) -> float:
        """Estimate by which factor a normalised image is brought to the network's scale.

        Exactly 1 where it is about 1: the estimate is not that exact, and the pixels stay sharp.
        """
        most = max(1.0, float(np.sqrt(MOST_ENLARGED_PIXELS / (image.shape[0] * image.shape[1]))))
        diameter = self.card.canonical_diameter
        options = self.card.look or self.card.decode
        canonical = estimate_scale(image, self._run, canonical_diameter=diameter, options=options)
        enlarged = canonical * self.card.network_diameter / diameter
        if abs(np.log2(enlarged)) < UNTOUCHED_OCTAVES:
            enlarged = 1.0
        return min(enlarged, most, LARGEST_SCALE)

    def diameter_at(self, scale: float) -> float:
        """Return the diameter, in pixels of the image, that such a scale is right for."""
        return self.card.network_diameter / scale

    def given_scale(self, diameter: float) -> float:
        """Return the factor for cells of a given diameter.

        Raises
        ------
        InputError
            If the diameter is not above 0.
        """
        _check_diameter(diameter)
        scale = self.card.network_diameter / diameter
        return float(np.clip(scale, SMALLEST_SCALE, LARGEST_SCALE))

    def _run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the maps ``CYX`` of a normalised image ``YXC`` at the network's scale."""
        tiles = plan_tiles(
            image.shape[:2], size=self.tile_size, halo=self.card.halo, multiple=self.card.stride
        )
        return stitch(image, tiles, channels=len(MAPS), run=self.run_tile)

    def run_tile(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the maps ``CYX`` of one tile, normalised pixels ``YXC`` at the network's scale."""
        batch = np.ascontiguousarray(np.moveaxis(to_network(pixels), 2, 0)[np.newaxis])
        maps: NDArray[np.float32] = self.backend.predict(batch)[0]
        return maps


def without_hot_pixels(
    options: DecodeOptions, shape: tuple[int, int], *, of: tuple[int, int]
) -> DecodeOptions:
    """Raise the smallest area to that of :data:`LEAST_PIXELS` pixels of the image.

    Parameters
    ----------
    options
        How maps become instances.
    shape, of
        Height and width of the maps, and of the image.
    """
    least = math.ceil(LEAST_PIXELS * math.prod(shape) / math.prod(of))
    return replace(options, min_area=max(options.min_area, least))


def as_image(image: Image | ArrayLike, *, axes: str | None = None) -> Image:
    """Return an image as it is, and an array with its axes as an image.

    Raises
    ------
    InputError
        If the axes do not fit, or are given for an image that has its own.
    """
    if not isinstance(image, Image):
        return image_from_array(image, axes=axes)
    if axes is not None:
        raise InputError(f"Expected axes for arrays only: an Image has its own, but got {axes!r}.")
    return image


def _check_diameter(diameter: float) -> None:
    if not (np.isfinite(diameter) and diameter > 0):
        raise InputError(f"Expected a cell diameter above 0 pixels, but got {diameter}.")
