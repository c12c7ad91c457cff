"""What of an image goes into the network: which channels, in which order, bright on dark or not.

The same for an image in memory and for one that is read part by part: both are looked at once as a
whole (:mod:`cellrim.prediction.survey`), and in one part at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellrim.core.channels import Channel, channel_indices
from cellrim.core.image import Readable
from cellrim.core.normalise import (
    HIGH_PERCENTILE,
    NETWORK_CHANNELS,
    IntensityRange,
    normalise,
    percentiles_of,
)
from cellrim.errors import InputError
from cellrim.prediction.normalised import NormalisedImage
from cellrim.prediction.nucleus_channel import find_pieces, most_nuclear
from cellrim.prediction.survey import Survey

# The mean over the channels of the median, of 0..1, is at least 0.5 in the stained images of
# bbbc041 and dsb2018 and at most 0.2 in the fluorescence of kc167 and mixed.
_BRIGHT_GROUND = 0.4
# Correlation of the colours of a stain in transmitted light: the least and the most alike two. It
# is 0.74 and 0.95 or more in nine of ten stained images of dsb2018 and bbbc041, 0.2 to 0.44 in the
# fluorescence of kc167 and mixed. Colours more alike than the last are grey.
_STAINS_LEAST, _STAINS_MOST, _GREY = 0.6, 0.9, 0.985


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the channels of an image are brought to one form.

    Parameters
    ----------
    channels
        Numbers of the channels that go into the network, in this order.
    intensity
        Their range on the whole image, from high to low where bright and dark are exchanged.
    """

    channels: tuple[int, ...]
    intensity: IntensityRange

    def apply(self, image: Readable) -> NormalisedImage:
        """Return the image as it says, normalised."""
        return NormalisedImage(image, self.channels, self.intensity)


def choose_channels(names: Sequence[str], channels: Sequence[Channel] | None) -> tuple[int, ...]:
    """Return the numbers of the channels that are asked for.

    Parameters
    ----------
    names
        The image's channels.
    channels
        One to three, by number or name; all where None.

    Raises
    ------
    InputError
        If one does not exist, or there are more than three, or none.
    """
    chosen = tuple(range(len(names))) if channels is None else channel_indices(names, channels)
    if 1 <= len(chosen) <= NETWORK_CHANNELS:
        return chosen
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    raise InputError(
        f"Expected one to three channels, but got {len(chosen)}: choose which show the cells, "
        f"for example channels=(0, 1), out of: {listed}."
    )


def arrange_channels(image: Readable, seen: Survey) -> Arrangement:
    """Bring channels into one order, bright on dark, and leave out empty and repeated ones.

    Parameters
    ----------
    image
        The image, in memory or not.
    seen
        What one to three of its channels show.

    Returns
    -------
    Arrangement
        Of two and more channels that show something, the nuclei first and the others by their
        roundness, bright on a dark ground: as in most training images. One channel alone is a
        grey image, its ground darker than the middle of its range. Three on a bright ground are
        the colours of a stained smear or slice in transmitted light: they come as red, green and
        blue, told by how much of each the stain takes away; and so are three on a dark ground
        that are much alike, a negative. Three on a dark ground of which none stands out stay as
        they are. These apart, what comes out does not depend on the order that comes in, and
        these and grounds in the very middle apart, not on bright and dark being exchanged.
    """
    showing = seen.showing or seen.channels[:1]
    values = seen.values(showing)
    if len(showing) < 2:
        return Arrangement(showing, seen.intensity(showing, inverted=_is_grey_on_bright(values[0])))
    intensity = seen.intensity(showing)
    if len(showing) > 2:
        dark_ground = not _is_on_bright_ground(values, intensity)
        if not dark_ground or _is_stain(values):
            colours = seen.intensity(showing, inverted=dark_ground)
            order = _as_stains(colours)
            return Arrangement(tuple(showing[k] for k in order), colours.select(order))
    pieces = find_pieces(image, showing, intensity)
    nucleus = most_nuclear(pieces)
    if nucleus is None and len(showing) > 2:
        return Arrangement(showing, intensity)
    order = sorted(range(len(showing)), key=lambda k: (k != nucleus, -pieces[k].roundness))
    channels = tuple(showing[k] for k in order)
    if nucleus is not None and pieces[nucleus].dark:
        return Arrangement(channels, seen.intensity(channels, inverted=True))
    return Arrangement(channels, intensity.select(order))


def _is_grey_on_bright(values: NDArray[Any]) -> bool:
    """Whether the ground of a grey image is nearer to the bright than to the dark end.

    The negative of an image says the opposite: as many pixels are left out at either end.
    """
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return False
    dark, middle, bright = percentiles_of(values, (100 - HIGH_PERCENTILE, 50, HIGH_PERCENTILE))
    return bool(bright - middle < middle - dark)


def _is_stain(values: NDArray[np.generic]) -> bool:
    """Whether three channels are as much alike as the colours of a stain, and not grey."""
    with np.errstate(all="ignore"):  # what is not finite gives NaN, and no stain
        matrix: NDArray[np.float64] = np.corrcoef(values.astype(np.float64))
    alike = matrix[np.triu_indices(3, 1)]
    return bool(_STAINS_LEAST <= alike.min() <= _GREY and alike.max() >= _STAINS_MOST)


def _as_stains(intensity: IntensityRange) -> list[int]:
    """Positions of red, green and blue: stains of cells take away green most and blue least.

    So do haematoxylin and eosin, and Giemsa nearly always. Where an image differs, two colours
    change places, which costs little (docs/channels.md, benchmarks/channels.py).
    """
    span = np.abs(np.subtract(intensity.high, intensity.low))
    blue, red, green = np.argsort(span, kind="stable").tolist()
    return [red, green, blue]


def _is_on_bright_ground(values: NDArray[np.generic], intensity: IntensityRange) -> bool:
    """Whether the middle of the pixels is nearer to the bright than to the dark end."""
    with np.errstate(over="ignore", invalid="ignore"):  # the clip takes care of infinities
        normalised = normalise(values.T[:, np.newaxis], intensity)
    return bool(np.median(normalised, axis=(0, 1)).mean() > _BRIGHT_GROUND)
