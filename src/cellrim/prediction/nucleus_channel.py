"""Which channel shows the nuclei? Nuclei are compact spots; what else is stained is not.

Each channel is split in two by Otsu's threshold, and the roundness of the pieces, weighed by their
area, tells the channels apart. On the 10 two-channel training images of kc167 and mixed it is 0.76
to 0.92 in the nuclear channel and 0.14 to 0.60 in that of the cytoplasm, actin or membrane
(docs/targets.md). The network is not needed, so the answer does not change with the model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellrim.core.image import Image, image_from_array
from cellrim.core.labels import Labels
from cellrim.core.normalise import measure_range, normalise
from cellrim.errors import InputError
from cellrim.measure.cells import measure_cells
from cellrim.prediction.scale import view

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
# The mean over the channels of the median, of 0..1, is at least 0.5 in the stained images of
# bbbc041 and dsb2018 and at most 0.2 in the fluorescence of kc167 and mixed.
_BRIGHT_GROUND = 0.4


def showing_channels(image: Image, channels: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Channels that show something of their own: not constant, and no copy of one before.

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
    asked = channels or tuple(range(len(image.channels)))
    kept: list[int] = []
    for c, plane in zip(asked, np.moveaxis(image.select(asked).pixels, 2, 0), strict=True):
        if (plane != plane[0, 0]).any() and not any(
            np.array_equal(plane, image.pixels[:, :, other]) for other in kept
        ):
            kept.append(c)
    return tuple(kept)


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
    showing = showing_channels(image, channels)
    if not showing:
        raise InputError("Expected a channel that shows nuclei, but all channels are constant.")
    if len(showing) == 1:
        return showing[0]
    found = _most_nuclear(*_compactnesses(image, showing))
    if found is not None:
        return showing[found]
    names = ", ".join(f"{c} {image.channels[c]}" for c in showing)
    raise InputError(
        f"Expected one channel to show compact nuclei, unlike the others, but none of {names} "
        "stands out: say which shows the nuclei (--nucleus N, in Python nucleus=N)."
    )


def arrange_channels(image: Image) -> Image:
    """Bring channels into one order, bright on dark, and leave out empty and repeated ones.

    Parameters
    ----------
    image
        One to three channels.

    Returns
    -------
    Image
        Of two and more channels that show something, the nuclei first and the others by their
        roundness, bright on a dark ground: as in most training images. One channel alone is a
        grey image. Where three show much the same, as the colours of a stain, they stay as they
        are, and so do three on a bright ground: those are the colours of a stained smear or slice
        in transmitted light, which the network knows as they come. Colour apart, what comes out
        does not depend on the order that comes in.
    """
    showing = showing_channels(image)
    if len(showing) < 2:
        return image.select(showing or (0,))
    if len(showing) > 2 and _is_on_bright_ground(image):
        return image
    roundness, cover = _compactnesses(image, showing)
    nucleus = _most_nuclear(roundness, cover)
    if nucleus is None and len(showing) > 2:
        return image
    order = np.argsort(-roundness, kind="stable")
    if nucleus is not None:
        order = np.r_[nucleus, order[order != nucleus]]
    arranged = image.select(tuple(showing[k] for k in order))
    dark = nucleus is not None and _find_pieces(arranged.select((0,)))[1]
    return _inverted(arranged) if dark else arranged


def _is_on_bright_ground(image: Image) -> bool:
    """Whether the middle of the pixels is nearer to the bright than to the dark end."""
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / _LOOKED_AT)))
    thinned = image.pixels[::step, ::step]
    middle = np.median(normalise(thinned, measure_range(thinned)), axis=(0, 1))
    return bool(middle.mean() > _BRIGHT_GROUND)


def _inverted(image: Image) -> Image:
    """Exchange bright and dark; percentiles bring each channel to its range later."""
    pixels = image.pixels
    inverted = -pixels if pixels.dtype.kind == "f" else pixels.max(axis=(0, 1)) - pixels
    return replace(image, pixels=inverted)


def _most_nuclear(roundness: NDArray[np.float64], cover: NDArray[np.float64]) -> int | None:
    """Position of the channel that stands out by its compact pieces, if one does."""
    compact = roundness >= max(_AS_COMPACT * roundness.max(), _LEAST_ROUNDNESS)
    if compact.any() and not compact.all():
        return int(np.argmax(np.where(compact, cover, -1)))
    return None


def _compactnesses(
    image: Image, channels: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = np.array([_compactness(image.select((c,))) for c in channels])
    return found[:, 0], found[:, 1]


def _compactness(channel: Image) -> tuple[float, float]:
    """Mean roundness of what stands out in a channel, 0..1, and how much it covers, 0..1."""
    labels, _ = _find_pieces(channel)
    table = measure_cells(labels, image_from_array(np.zeros(labels.shape, np.uint8))).columns
    kept = table["area"] >= _LEAST_AREA
    area, perimeter = table["area"][kept], table["perimeter"][kept]
    if not len(area):
        return 0.0, 0.0
    round_ = np.minimum(4 * np.pi * area / np.maximum(perimeter, 1) ** 2, 1)
    return float(np.average(round_, weights=area)), float(area.sum() / labels.size)


def _find_pieces(channel: Image) -> tuple[Labels, bool]:
    """Label the connected pieces of the rarer of the two classes that Otsu's threshold makes.

    Also says whether that is the dark one.
    """
    from skimage.filters import threshold_otsu

    normalised = normalise(channel.pixels, measure_range(channel.pixels))
    part = np.clip(view(normalised, 1.0, pixels=_LOOKED_AT)[:, :, 0], 0, 1)
    smooth = ndimage.gaussian_filter(part, _SMOOTHING)
    if smooth.min() == smooth.max():
        return np.zeros(smooth.shape, np.int32), False
    bright = smooth > threshold_otsu(smooth)  # type: ignore[no-untyped-call]
    dark_is_rarer = bool(np.count_nonzero(bright) > bright.size / 2)
    labels, _ = ndimage.label(~bright if dark_is_rarer else bright, output=np.int32)
    return labels, dark_is_rarer
