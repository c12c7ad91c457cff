"""TIFF files: one plane or stacks, with the axes that OME, ImageJ or the writer's metadata name.

Pages are read one at a time. tifffile fills what a cut file lacks with zeros, so that the presence
of all data is checked when the file is opened.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cellrim.core.stack import Calibration, Index
from cellrim.errors import ImageReadError
from cellrim.io.files import reason
from cellrim.io.sources import (
    Scene,
    Source,
    ambiguous,
    are_axes,
    asked_axes,
    describe_axes,
    micrometres,
    pick_scene,
    plane_of,
    positive,
    seconds,
    square_pixel,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_UNCOMPRESSED = 1
_PALETTE = 3


def tiff_source(
    path: Path, *, axes: str | None = None, scene: Scene | None = None, calibrated: bool = True
) -> Source:
    """Open a TIFF file.

    Parameters
    ----------
    path
        The file.
    axes
        Axes in the place of those that the metadata name; see
        :func:`~cellrim.io.sources.asked_axes`.
    scene
        Which image, as for :func:`~cellrim.io.sources.pick_scene`.
    calibrated
        Whether to read pixel size and steps.

    Returns
    -------
    Source
        Palettes are expanded, alpha is dropped, white-is-zero is turned around.

    Raises
    ------
    ImageReadError
        If data is missing, the metadata contradict the pages, or the axes are not known.
    """
    tiff = open_tiff(path)
    try:
        number = pick_scene(path, _names(tiff), scene)
        pages = _Pages(path, tiff, tiff.series[number], axes)
        about = _ome_pixels(tiff, number) if tiff.is_ome else None
        return Source(
            pages.axes,
            pages.shape,
            read=pages.read,
            channels=_channels(tiff, pages, about),
            calibration=_calibration(path, tiff, about) if calibrated else Calibration(),
            close=tiff.close,
        )
    except BaseException:
        tiff.close()
        raise


def open_tiff(path: Path) -> TiffFile:
    """Open a TIFF file and check that all of the data of its pages is there.

    Raises
    ------
    ImageReadError
        If the structure is broken or data is cut off.
    """
    import tifffile

    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:  # tifffile raises many types on broken files
        raise ImageReadError(
            f"Cannot read {path}: the TIFF is broken ({reason(error)})."
        ) from error
    try:
        missing = _missing_data(tiff)
    except Exception as error:
        tiff.close()
        raise ImageReadError(
            f"Cannot read {path}: the TIFF is broken ({reason(error)})."
        ) from error
    if missing is not None:
        tiff.close()
        raise ImageReadError(f"Cannot read {path}: the file is cut off or broken, {missing}.")
    return tiff


def single_series(path: Path, tiff: TiffFile) -> TiffPageSeries:
    """Return the one image in a TIFF file; the smaller levels of a pyramid do not count.

    Raises
    ------
    ImageReadError
        If there are several images.
    """
    return tiff.series[pick_scene(path, _names(tiff), None)]


def tiff_scenes(path: Path) -> tuple[str, ...]:
    """Names of the images in a TIFF file.

    Raises
    ------
    ImageReadError
        If the structure is broken or data is cut off.
    """
    with open_tiff(path) as tiff:
        return _names(tiff)


def _names(tiff: TiffFile) -> tuple[str, ...]:
    return tuple(str(series.name) for series in tiff.series)


class _Pages:
    """The pages of a series as planes with named axes.

    Parameters
    ----------
    path, tiff, series
        The file.
    asked
        Axes that the user asked for.
    """

    def __init__(
        self, path: Path, tiff: TiffFile, series: TiffPageSeries, asked: str | None
    ) -> None:
        self._path, self._tiff, self._series = path, tiff, series
        self._page = series.keyframe
        _check_colours(path, self._page)
        inner = _page_dimensions(path, series)
        _check_counts(path, tiff, series, inner)
        own = str(series.axes)
        shape = tuple(series.shape)
        if asked is not None:
            own, shape = asked_axes(path, asked, own, shape, within=inner)
        elif not are_axes(own):
            if series.kind not in ("ome", "imagej") and (tiff.is_ome or tiff.is_imagej):
                raise ImageReadError(
                    f"Cannot read {path}: its metadata contradict its pages, of which there are "
                    f"{len(tiff.pages)}. Say what they are with --axes, or export it again."
                )
            if set("YX") <= set(own):
                raise ambiguous(path, own, shape)
            raise ImageReadError(
                f"Cannot read {path}: expected rows and columns, but got "
                f"{describe_axes(own, shape)}."
            )
        self._outer, self._inner = own[: len(own) - inner], own[len(own) - inner :]
        self._counts = shape[: len(own) - inner]
        if not set("YX") <= set(self._inner):
            raise ImageReadError(
                f"Cannot read {path}: expected Y and X among the axes within a page, but got "
                f"{describe_axes(own, shape)}."
            )
        self._kept = kept_samples(self._page)
        self.axes, self.shape = self._as_read(own, shape)

    def read(self, index: Index) -> tuple[NDArray[Any], str]:
        """Read one plane: its pixels, and their axes."""
        if "C" not in self._outer:
            return self._read_page(index, 0)
        count = self._counts[self._outer.index("C")]
        pages = [self._read_page(index, c) for c in range(count)]
        return np.stack([pixels for pixels, _ in pages]), "C" + pages[0][1]

    def _read_page(self, index: Index, channel: int) -> tuple[NDArray[Any], str]:
        at = [channel if a == "C" else index.along(a) for a in self._outer]
        number = int(np.ravel_multi_index(at, self._counts)) if at else 0
        pixels = turned(self._page, self._raw(number))
        pixels, axes = with_colours(self._page, pixels, self._inner)
        if self._kept is not None and "S" in axes:
            pixels = np.take(pixels, self._kept, axis=axes.index("S"))
        return plane_of(pixels, axes, index)

    def _raw(self, number: int) -> NDArray[Any]:
        """Values of one page as stored."""
        shape = self._series.shape[len(self._series.shape) - len(self._inner) :]
        if self._series.dataoffset is not None:
            dtype = np.dtype(self._page.dtype).newbyteorder(self._tiff.byteorder)
            size = math.prod(shape)
            file = self._tiff.filehandle
            file.seek(self._series.dataoffset + number * size * dtype.itemsize)
            values: NDArray[Any] = file.read_array(dtype, size)
            return values.reshape(shape)
        if len(self._series.pages) == math.prod(self._counts):
            page: Any = self._series.pages[number]  # none is missing: that was checked
            values = page.asarray()
            return values.reshape(shape)
        whole = self._series.asarray()  # a page that is itself a stack: rare, and read whole
        one: NDArray[Any] = whole.reshape(-1, *shape)[number]
        return one

    def _as_read(self, axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """Axes and lengths after the palette is expanded and alpha is dropped."""
        if has_colours(self._page) and "S" not in axes:
            return axes + "S", (*shape, 3)
        if self._kept is None or "S" not in axes:
            return axes, shape
        at = axes.index("S")
        return axes, (*shape[:at], len(self._kept), *shape[at + 1 :])


def _missing_data(tiff: TiffFile) -> str | None:
    """Say which data is not in the file, which tifffile would fill with zeros."""
    last: Any = tiff.pages.first
    for page in tiff.pages:
        missing = _missing_of_page(tiff, page)
        if missing is not None:
            return missing
        last = page
    following = _next_page_offset(tiff, last.offset)
    if following and following not in _page_offsets(tiff):
        return f"expected another page behind the first {len(tiff.pages)}, but it is not there"
    return None


def _page_offsets(tiff: TiffFile) -> set[int]:
    """Where the pages are: some writers close the chain of pages to a ring."""
    return {int(page.offset) for page in tiff.pages}


def _missing_of_page(tiff: TiffFile, page: Any) -> str | None:
    size = tiff.filehandle.size
    pieces = math.prod(page.chunked)
    end = max(
        (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0
    )
    # Some writers give the offset of the first strip only, and store the rest behind it.
    if len(page.dataoffsets) == 1 < pieces and page.compression == _UNCOMPRESSED:
        end, pieces = page.dataoffsets[0] + page.nbytes, 1
    if not page.dataoffsets or len(page.dataoffsets) < pieces:
        return f"expected {pieces} pieces of data, but it has {len(page.dataoffsets)}"
    if end > size:
        return f"expected at least {end} bytes, but it has {size}"
    return None


def _next_page_offset(tiff: TiffFile, offset: int) -> int:
    """Read where the page behind the one at ``offset`` is: 0 behind the last, -1 if cut off."""
    form = tiff.tiff
    file = tiff.filehandle
    file.seek(offset)
    (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(offset + form.tagnosize + count * form.tagsize)
    data = file.read(form.offsetsize)
    return int(struct.unpack(form.offsetformat, data)[0]) if len(data) == form.offsetsize else -1


def _check_counts(path: Path, tiff: TiffFile, series: TiffPageSeries, inner: int) -> None:
    """Refuse metadata that claim other numbers of planes than the file has."""
    claimed = math.prod(series.shape[: len(series.shape) - inner])
    there = sum(page is not None for page in series.pages)
    if series.dataoffset is not None and len(tiff.pages) == 1:
        # ImageJ describes one page of a large stack, and writes the others behind it.
        space = tiff.filehandle.size - series.dataoffset
        there = min(claimed, space * claimed // max(series.nbytes, 1))
    elif tiff.is_ome and len(tiff.series) == 1:
        # A page that the metadata pass over is as wrong as one that is not there.
        there = max(there, len(tiff.pages)) if there == claimed else there
    named = int((tiff.imagej_metadata or {}).get("images", 1))
    if named > series.size // max(_plane_size(series), 1):
        claimed = named  # tifffile passes over ImageJ's metadata where they claim too much
    if there != claimed:
        sizes = describe_axes(series.axes, series.shape)
        raise ImageReadError(
            f"Cannot read {path}: its metadata contradict its pages: they name {claimed} planes, "
            f"but there are {there} ({sizes}). If the image is spread over several files, keep "
            "them together; else export it again."
        )


def _plane_size(series: TiffPageSeries) -> int:
    """Values of one plane, RGB samples included."""
    return math.prod(n for a, n in zip(series.axes, series.shape, strict=True) if a in "YXS")


def _page_dimensions(path: Path, series: TiffPageSeries) -> int:
    """How many of the last axes of a series lie within one page."""
    page = tuple(series.keyframe.shape)
    for shape in (page, tuple(n for n in page if n != 1)):
        if len(shape) >= 2 and tuple(series.shape[-len(shape) :]) == shape:
            return len(shape)
    raise ImageReadError(
        f"Cannot read {path}: its metadata contradict its pages: the image is "
        f"{describe_axes(series.axes, series.shape)}, but the pages have the shape {page}."
    )


def _check_colours(path: Path, page: TiffPage) -> None:
    """Refuse colour models that are no intensities."""
    import tifffile

    kinds = tifffile.PHOTOMETRIC
    jpeg_colour = page.photometric == kinds.YCBCR and page.compression in (6, 7)
    known = (kinds.MINISBLACK, kinds.MINISWHITE, kinds.RGB, kinds.PALETTE)
    if page.photometric not in known and not jpeg_colour:
        name = getattr(page.photometric, "name", page.photometric)
        raise ImageReadError(
            f"Cannot read {path}: expected grey or RGB, but the TIFF is {name}. Convert it to RGB."
        )


def turned(page: TiffPage, pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn white-is-zero around, so that large values are bright."""
    import tifffile

    if page.photometric != tifffile.PHOTOMETRIC.MINISWHITE:
        return pixels
    if pixels.dtype == np.bool_:
        return ~pixels
    if pixels.dtype.kind == "u":
        bits = page.bitspersample
        top = (1 << bits) - 1 if isinstance(bits, int) else np.iinfo(pixels.dtype).max
        turned: NDArray[Any] = pixels.dtype.type(top) - pixels
        return turned
    return pixels  # floats and signed numbers have no white


def has_colours(page: TiffPage) -> bool:
    """Whether the values are numbers of a palette's colours."""
    return page.colormap is not None and page.photometric == _PALETTE


def with_colours(page: TiffPage, pixels: NDArray[Any], axes: str) -> tuple[NDArray[Any], str]:
    """Put the colours of a palette in the place of its numbers."""
    if not has_colours(page) or "S" in axes:
        return pixels, axes
    colours: Any = page.colormap
    # The TIFF standard wants 16-bit colours; some writers store 8-bit ones.
    table = colours if colours.max() < 256 else colours >> 8
    return np.ascontiguousarray(table.astype(np.uint8).T)[pixels], axes + "S"


def kept_samples(page: TiffPage) -> list[int] | None:
    """Return the samples that are no alpha; None where all are kept."""
    import tifffile

    alpha = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
    if page.samplesperpixel < 2 or not any(e in alpha for e in page.extrasamples):
        return None
    first_extra = page.samplesperpixel - len(page.extrasamples)
    return [
        s
        for s in range(page.samplesperpixel)
        if s < first_extra or page.extrasamples[s - first_extra] not in alpha
    ]


def _channels(
    tiff: TiffFile, pages: _Pages, about: ElementTree.Element | None
) -> tuple[str, ...] | None:
    """Channel names from the metadata, where there is one for each channel."""
    count = math.prod(n for a, n in zip(pages.axes, pages.shape, strict=True) if a in "CS")
    if count == 1 and "C" not in pages.axes:
        return None
    if tiff.is_ome:
        channels = [] if about is None else _children(about, "Channel")
        names = [c.get("Name") or "" for c in channels]
    else:
        names = list(_imagej_labels(tiff.imagej_metadata or {}, count))
    named = len(names) == count and len(set(names)) == count and all(names)
    return tuple(names) if named else None


def _imagej_labels(metadata: Mapping[str, Any], count: int) -> Iterator[str]:
    """Labels of the first planes, one per channel, which is ImageJ's fastest axis.

    They name the channels only where every later plane of a channel has the same label.
    """
    labels = metadata.get("Labels") or []
    labels = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    if len(labels) % count == 0 and labels == labels[:count] * (len(labels) // count):
        yield from labels[:count]


def _calibration(path: Path, tiff: TiffFile, about: ElementTree.Element | None) -> Calibration:
    """Read pixel size and steps, where the file says them for certain.

    The resolution tags of plain TIFF files are printing resolutions (72 or 96 to the inch) far
    more often than they are sizes, so they do not count.
    """
    if tiff.is_ome:
        return _ome_calibration(path, about)
    if tiff.imagej_metadata:
        return _imagej_calibration(path, tiff)
    return Calibration()


def _ome_calibration(path: Path, pixels: ElementTree.Element | None) -> Calibration:
    if pixels is None:
        return Calibration()
    y, x, z = (
        # The schema's default unit is the micrometre.
        micrometres(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm"))
        for a in "YXZ"
    )
    step = seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return Calibration(square_pixel(path, y, x), positive(z), positive(step))


def _imagej_calibration(path: Path, tiff: TiffFile) -> Calibration:
    metadata = tiff.imagej_metadata or {}
    unit = metadata.get("unit", "")
    tags = tiff.pages.first.tags
    edges: list[float | None] = []
    for axis in "YX":
        tag = tags.get(f"{axis}Resolution")
        if tag is None:
            edges.append(None)
            continue
        numerator, denominator = tag.value
        edges.append(micrometres(denominator / numerator if numerator else math.inf, unit))
    return Calibration(
        square_pixel(path, *edges),
        positive(micrometres(metadata.get("spacing"), unit)),
        positive(seconds(metadata.get("finterval"), metadata.get("tunit", "s"))),
    )


def _ome_pixels(tiff: TiffFile, number: int) -> ElementTree.Element | None:
    """Return the element of the OME metadata that describes the pixels of an image.

    None where the metadata speak of other images than those in the file.
    """
    try:
        root = ElementTree.fromstring(tiff.ome_metadata or "")
    except ElementTree.ParseError:
        return None
    elements = [e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"]
    if len(tiff.series) > 1 and len(elements) != len(tiff.series):
        return None
    return elements[number] if elements else None


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [e for e in element if e.tag.rpartition("}")[2] == name]
