"""Which channel shows the nuclei? Nuclei are compact spots; what else is stained is not.

Each channel is split in two by Otsu's threshold, and the roundness of the pieces, weighed by their
area, tells the channels apart. On the 10 two-channel training images of kc167 and mixed it is 0.76
to 0.92 in the nuclear channel and 0.14 to 0.60 in that of the cytoplasm, actin or membrane
(docs/targets.md). The network is not needed, so the answer does not change with the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cellrim.core.channels import channel_indices
from cellrim.core.image import Image, Readable, image_from_array
from cellrim.core.labels import Labels
from cellrim.core.normalise import IntensityRange
from cellrim.errors import InputError
from cellrim.measure.cells import measure_cells
from cellrim.prediction.normalised import NormalisedImage
from cellrim.prediction.scale import Viewable, view
from cellrim.prediction.survey import Survey, survey

# Pixels that are looked at, at the resolution of the image.
_LOOKED_AT = 300_000
# Of camera noise, in pixels.
_SMOOTHING = 1.0
# Smaller pieces are noise.
_LEAST_AREA = 20
# A channel whose pieces are less round than this shows no nuclei, even if the others are worse.
_LEAST_ROUNDNESS = 0.4
# Channels with this share of the roundness of the roundest are as compact as that one.
_AS_COMPACT = 0.8


@dataclass(frozen=True, slots=True)
class Pieces:
    """What stands out in a channel.

    Parameters
    ----------
    roundness
        Mean roundness of the pieces, weighed by their area, 0..1.
    cover
        How much of the channel they cover, 0..1.
    dark
        Whether they are dark on a bright ground.
    """

    roundness: float
    cover: float
    dark: bool


def showing_channels(image: Image, channels: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Channels that show something of their own: not constant, and no copy of one before.

    Those of noise only are left out where another shows more.

    Parameters
    ----------
    image
        Any image.
    channels
        Which to look at; all where None.

    Raises
    ------
    InputError
        If a channel does not exist.

    Examples
    --------
    >>> grey_as_rgb = image_from_array(np.eye(3)[:, :, None].repeat(3, 2), axes="YXC")
    >>> showing_channels(grey_as_rgb)
    (0,)
    """
    return _looked_at(image, channels).showing


def find_nucleus_channel(image: Image, channels: tuple[int, ...] | None = None) -> int:
    """Find the channel that shows the nuclei.

    Parameters
    ----------
    image
        Any image, nuclei bright on a dark ground or the other way round.
    channels
        Among which to choose; all where None.

    Returns
    -------
    int
        Number of the channel in the image. The only one that shows something; of several, one that
        is clearly more compact than another: of two such, the one that covers more (a marker of
        some nuclei, or of spots, covers less than DNA).

    Raises
    ------
    InputError
        If no channel shows anything, or none stands out.
    """
    seen = _looked_at(image, channels)
    showing = seen.showing
    if not showing:
        raise InputError("Expected a channel that shows nuclei, but all channels are constant.")
    if len(showing) == 1:
        return showing[0]
    found = most_nuclear(find_pieces(image, showing, seen.intensity(showing)))
    if found is not None:
        return showing[found]
    names = ", ".join(f"{c} {image.channels[c]}" for c in showing)
    raise InputError(
        f"Expected one channel to show compact nuclei, unlike the others, but none of {names} "
        "stands out: say which shows the nuclei (--nucleus N, in Python nucleus=N)."
    )


def find_pieces(
    image: Readable, channels: tuple[int, ...], intensity: IntensityRange
) -> tuple[Pieces, ...]:
    """Find what stands out in each of some channels, in the liveliest part of the image.

    Parameters
    ----------
    image
        The image, in memory or not.
    channels
        Their numbers.
    intensity
        Their range on the whole image, in this order.
    """
    return tuple(
        _pieces(NormalisedImage(image, (c,), intensity.select([k]))) for k, c in enumerate(channels)
    )


def most_nuclear(channels: tuple[Pieces, ...]) -> int | None:
    """Position of the channel that stands out by its compact pieces, if one does."""
    roundness = np.array([pieces.roundness for pieces in channels])
    cover = np.array([pieces.cover for pieces in channels])
    compact = roundness >= max(_AS_COMPACT * roundness.max(), _LEAST_ROUNDNESS)
    if compact.any() and not compact.all():
        return int(np.argmax(np.where(compact, cover, -1)))
    return None


def _looked_at(image: Image, channels: tuple[int, ...] | None) -> Survey:
    every = tuple(range(len(image.channels)))
    return survey(image, channel_indices(image.channels, channels or every))


def _pieces(channel: Viewable) -> Pieces:
    labels, dark = _labelled(channel)
    table = measure_cells(labels, image_from_array(np.zeros(labels.shape, np.uint8))).columns
    kept = table["area"] >= _LEAST_AREA
    area, perimeter = table["area"][kept], table["perimeter"][kept]
    if not len(area):
        return Pieces(0.0, 0.0, dark)
    round_ = np.minimum(4 * np.pi * area / np.maximum(perimeter, 1) ** 2, 1)
    return Pieces(float(np.average(round_, weights=area)), float(area.sum() / labels.size), dark)


def _labelled(channel: Viewable) -> tuple[Labels, bool]:
    """Label the connected pieces of the rarer of the two classes that Otsu's threshold makes.

    Also says whether that is the dark one.
    """
    from scipy import ndimage  # as the next, long to import, and for several channels only
    from skimage.filters import threshold_otsu

    part = np.clip(view(channel, 1.0, pixels=_LOOKED_AT)[:, :, 0], 0, 1)
    smooth = ndimage.gaussian_filter(part, _SMOOTHING)
    if smooth.min() == smooth.max():
        return np.zeros(smooth.shape, np.int32), False
    bright = smooth > threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    dark_is_rarer = bool(np.count_nonzero(bright) > bright.size / 2)
    labels, _ = ndimage.label(~bright if dark_is_rarer else bright, output=np.int32)
    return labels, dark_is_rarer
