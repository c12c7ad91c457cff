"""The plan of a large image: measured once on the whole of it, before any block is worked on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from cellrim._version import __version__
from cellrim.core.channels import Channel
from cellrim.core.normalise import NETWORK_CHANNELS, IntensityRange
from cellrim.core.resize import scaled_shape
from cellrim.core.tiles import Tile, plan_tiles
from cellrim.io.region_readers import FirstChannel, RegionImage
from cellrim.io.structs import to_builtins
from cellrim.io.zarrs import MARKERS
from cellrim.prediction.arrangement import Arrangement, arrange_channels, choose_channels
from cellrim.prediction.large.progress import Progress, Report
from cellrim.prediction.segmenter import Segmenter
from cellrim.prediction.survey import survey
from cellrim.representation.flow import DecodeOptions

# What grey that was stored as RGB is called when it is read whole.
_GREY = ("grey",)
# Counts up whenever the unfinished pieces hold other things than before.
_PIECES = 3


class LargePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured once on the whole image, and all that the results depend on.

    Parameters
    ----------
    source
        The image, absolute.
    asked
        Hash of the image's fingerprint and of everything that is asked for.
    shape, network_shape
        Height and width of the image, and of the image at the network's scale.
    tile_size, halo, stride
        How it is cut into tiles at the network's scale.
    channels
        Which channels go into the network, in which order.
    low, high
        The intensity range of each of them.
    diameter
        Cell diameter used to scale the image, in pixels.
    names, pixel_size
        Of the image's channels, and micrometres per pixel where known.
    """

    source: str
    asked: str
    shape: tuple[int, int]
    network_shape: tuple[int, int]
    tile_size: int
    halo: int
    stride: int
    channels: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    diameter: float
    names: tuple[str, ...]
    pixel_size: float | None

    @property
    def arrangement(self) -> Arrangement:
        """What of the image goes into the network."""
        return Arrangement(self.channels, IntensityRange(self.low, self.high))

    @property
    def constant(self) -> bool:
        """Whether the image has no contrast, and therefore no cells."""
        return self.arrangement.intensity.constant

    @property
    def resized(self) -> bool:
        """Whether the network sees the image at another size."""
        return self.network_shape != self.shape

    def shown(self, image: RegionImage) -> RegionImage:
        """Return the image with its channels as the cells are measured in them."""
        return FirstChannel(image, self.names) if self.names == _GREY else image

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Tiles of the image at the network's scale; their cores are the blocks."""
        return plan_tiles(
            self.network_shape, size=self.tile_size, halo=self.halo, multiple=self.stride
        )


def asked_hash(
    source: Path,
    segmenter: Segmenter,
    *,
    channels: tuple[Channel, ...] | None,
    diameter: float | None,
    options: DecodeOptions,
) -> str:
    """Identify an image as it is now, and all that its result depends on."""
    parts = {
        "cellrim": __version__,
        "pieces": _PIECES,
        "card": to_builtins(segmenter.card),
        "tile_size": segmenter.tile_size,
        "precision": segmenter.backend.precision,
        "channels": channels,
        "diameter": diameter,
        "options": asdict(options),
        "source": str(source.absolute()),
        "files": _fingerprint(source),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_plan(
    image: RegionImage,
    segmenter: Segmenter,
    asked: str,
    *,
    channels: tuple[Channel, ...] | None,
    diameter: float | None,
    report: Report,
) -> LargePlan:
    """Look at the whole image once: its channels, their range, and the size of its cells.

    Parameters
    ----------
    image
        The image.
    segmenter
        The model.
    asked
        From :func:`asked_hash`.
    channels, diameter
        As for :meth:`~cellrim.prediction.segmenter.Segmenter.segment`.
    report
        Told of each part that was looked at.

    Raises
    ------
    ImageReadError
        If a part of the image cannot be read.
    InputError
        If the channels or the diameter do not fit.
    """
    card = segmenter.card
    if diameter is not None:
        segmenter.given_scale(diameter)  # fails now rather than after the whole image was read
    names, arrangement = _look(image, channels, report)
    if arrangement.intensity.constant:
        scale, used = 1.0, diameter or segmenter.diameter_at(1.0)
    else:
        scale = (
            segmenter.estimate_scale(arrangement.apply(image))
            if diameter is None
            else segmenter.given_scale(diameter)
        )
        used = segmenter.diameter_at(scale)
    return LargePlan(
        source=str(image.path.absolute()),
        asked=asked,
        shape=image.shape,
        network_shape=scaled_shape(image.shape, scale),
        tile_size=segmenter.tile_size,
        halo=card.halo,
        stride=card.stride,
        channels=arrangement.channels,
        low=arrangement.intensity.low,
        high=arrangement.intensity.high,
        diameter=used,
        names=names,
        pixel_size=image.pixel_size,
    )


def _look(
    image: RegionImage, channels: Sequence[Channel] | None, report: Report
) -> tuple[tuple[str, ...], Arrangement]:
    """Return the names of the channels, one for grey stored as RGB, and how they are arranged."""
    names, perhaps_grey = image.channels, len(image.channels) == NETWORK_CHANNELS
    looked_at = (0, 1, 2) if perhaps_grey else choose_channels(names, channels)
    seen = survey(
        image, looked_at, report=lambda done, total: report(Progress("Looking", done, total))
    )
    if perhaps_grey:
        names = _GREY if {(0, 1), (0, 2)} <= seen.copies else names
        seen = seen.of(choose_channels(names, channels))
    return names, arrange_channels(image, seen)


def _fingerprint(source: Path) -> list[tuple[str, int, int]]:
    """Size and time of the file, or of the metadata files of a zarr (its chunks are too many)."""
    if not source.is_dir():
        files = [source]
    else:
        files = [p for name in MARKERS for p in sorted(source.glob(name))]
        files += [p for name in MARKERS for p in sorted(source.glob(f"*/{name}"))]
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.exists()]
