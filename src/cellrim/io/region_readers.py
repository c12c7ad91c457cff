"""Images read part by part: tiled (OME-)TIFF and OME-Zarr, larger than memory.

What is read is what :func:`~cellrim.io.images.read_image` would give of that part; grey that was
stored as RGB alone stays RGB, since no part can tell it of the whole.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cellrim.core.image import Image, Readable, image_from_array
from cellrim.errors import ImageReadError
from cellrim.io.images import open_stack, open_tiff, single_series
from cellrim.io.sources import to_yxc
from cellrim.io.tiffs import has_colours, kept_samples, turned, with_colours
from cellrim.io.zarrs import require_zarr, zarr_source

if TYPE_CHECKING:
    from tifffile import TiffPage

    from cellrim.core.stack import Stack

# A piece of a compressed file that decodes to more than this cannot be read part by part.
_LARGEST_PIECE = 1 << 28


class RegionImage(Readable, Protocol):
    """An image in a file that is read part by part."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``.

        Raises
        ------
        ImageReadError
            If a part of the file cannot be read; the message says which.
        """
        ...


class ArrayRegions:
    """An image in memory, read as if it were not."""

    def __init__(self, path: Path, image: Image) -> None:
        self.path, self._image = path, image
        self.shape, self.channels = image.shape, image.channels
        self.pixel_size = image.pixel_size

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``."""
        return self._image.pixels[rows, columns]


class FirstChannel:
    """The first channel of an image that is read part by part, under a name of its own."""

    def __init__(self, image: RegionImage, channels: tuple[str, ...]) -> None:
        self._image, self.channels = image, channels
        self.path, self.shape, self.pixel_size = image.path, image.shape, image.pixel_size

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``."""
        return np.ascontiguousarray(self._image.read(rows, columns)[:, :, :1])


def one_plane(path: Path, stack: Stack) -> tuple[int, int]:
    """Return the shape of an image of one plane.

    Raises
    ------
    ImageReadError
        If it has more.
    """
    if len(stack) != 1:
        many = ", ".join(f"{a} {n}" for a, n in zip(stack.axes, stack.lengths, strict=True))
        raise ImageReadError(
            f"Cannot stream {path}: expected one plane with channels, but got {many}. Give a "
            "folder as the output: stacks are segmented plane by plane."
        )
    return stack.shape


class TiffRegions:
    """One plane of a TIFF file, whose pieces (tiles or strips) are read as they are needed."""

    def __init__(self, path: Path, pages: list[TiffPage], *, byteorder: str, stack: Stack) -> None:
        self.path = path
        self._pages, self._byteorder = pages, byteorder
        self.shape = stack.shape
        self.channels = stack.channels
        self.pixel_size = stack.calibration.pixel_size

    @classmethod
    def open(cls, path: Path) -> TiffRegions | None:
        """Open a file; None where its pieces are too large to be read one by one."""
        with open_stack(path) as stack, open_tiff(path) as tiff:
            shape = one_plane(path, stack)
            series = single_series(path, tiff)
            pages = [tiff.pages.first]
            if len(series.pages) > 1:
                pages = [page.aspage() for page in series.pages if page is not None]
            planes = sum(page.shaped[0] for page in pages)
            fits = len({page.shaped for page in pages}) == 1 and (
                (pages[0].imagelength, pages[0].imagewidth) == shape
            )
            small = all(p.is_memmappable or _piece_bytes(p) < _LARGEST_PIECE for p in pages)
            one = TiffRegions(path, pages, byteorder=tiff.byteorder, stack=stack)
            # Pages that are themselves stacks are rare; whoever reads them whole knows how.
            samples = pages[0].shaped[4]
            if has_colours(pages[0]):
                samples = 3
            elif (kept := kept_samples(pages[0])) is not None:
                samples, planes = (len(kept), planes) if samples > 1 else (1, len(kept))
            return one if small and fits and planes * samples == len(stack.channels) else None

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``."""
        try:
            planes = [self._values(page, rows, columns) for page in self._pages]
        except ImageReadError:
            raise
        except Exception as error:  # decoders raise many types on broken data
            raise ImageReadError(unreadable(self.path, rows, columns, error)) from error
        pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
        return image_from_array(pixels, axes="YXC").pixels

    def _values(self, page: TiffPage, rows: slice, columns: slice) -> NDArray[Any]:
        """Pixels of one page, axes ``YXC``."""
        stored = self._read_page(page, rows, columns)
        planes, samples = stored.shape[0], stored.shape[3]
        if planes == 1 and samples == 1:
            pixels, axes = stored[0, :, :, 0], "YX"
        else:
            pixels, axes = (stored[0], "YXS") if planes == 1 else (stored[..., 0], "SYX")
        pixels, axes = with_colours(page, turned(page, pixels), axes)
        kept = kept_samples(page)
        if kept is not None and "S" in axes:
            pixels = np.take(pixels, kept, axis=axes.index("S"))
        return to_yxc(pixels, axes)

    def _read_page(self, page: TiffPage, rows: slice, columns: slice) -> NDArray[Any]:
        """Axes: plane, y, x, sample; either the planes or the samples are the channels."""
        dtype = np.dtype(page.dtype)
        if page.is_memmappable:
            stored = dtype.newbyteorder("<" if self._byteorder == "<" else ">")
            offset = page.dataoffsets[0]
            mapped = np.memmap(self.path, stored, "r", offset=offset, shape=page.shaped)
            return mapped[:, 0, rows, columns].astype(dtype)
        planes, samples = page.shaped[0], page.shaped[4]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        result = np.zeros((planes, height, width, samples), dtype)
        edge_y, edge_x = _piece_shape(page)
        per_row = -(-page.imagewidth // edge_x)
        per_plane = -(-page.imagelength // edge_y) * per_row
        with self.path.open("rb") as file:
            for plane, y, x in product(
                range(planes),
                range(rows.start // edge_y, -(-rows.stop // edge_y)),
                range(columns.start // edge_x, -(-columns.stop // edge_x)),
            ):
                top, left = y * edge_y, x * edge_x
                try:
                    piece = _decode_piece(page, file, plane * per_plane + y * per_row + x)
                except Exception as error:  # decoders raise many types on broken data
                    part = slice(top, top + edge_y), slice(left, left + edge_x)
                    raise ImageReadError(unreadable(self.path, *part, error)) from error
                if piece is not None:
                    _paste(result[plane], piece, (top - rows.start, left - columns.start))
        return result


def unreadable(path: Path, rows: slice, columns: slice, error: Exception) -> str:
    """Say which part of an image cannot be read."""
    return (
        f"Cannot read rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop} "
        f"of {path}: the data there are damaged ({error})."
    )


def _piece_shape(page: TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _piece_bytes(page: TiffPage) -> int:
    height, width = _piece_shape(page)
    return height * width * int(page.shaped[4]) * np.dtype(page.dtype).itemsize


def _decode_piece(page: TiffPage, file: Any, index: int) -> NDArray[Any] | None:
    """Pixels of one tile or strip, axes ``YXS``; None where the file leaves it empty."""
    size = page.databytecounts[index]
    if size == 0:
        return None
    file.seek(page.dataoffsets[index])
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"expected {size} bytes, but the file ends after {len(data)}")
    decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
    if decoded is None:
        return None
    piece: NDArray[Any] = decoded[0, : shape[1], : shape[2]]
    return piece


def _paste(into: NDArray[Any], piece: NDArray[Any], at: tuple[int, int]) -> None:
    """Copy what of a piece lies within; ``at`` is its first pixel and may be negative."""
    source, target = [], []
    for start, length, room in zip(at, piece.shape, into.shape, strict=False):
        begin, end = max(start, 0), min(start + length, room)
        target.append(slice(begin, max(begin, end)))
        source.append(slice(begin - start, max(begin, end) - start))
    into[tuple(target)] = piece[tuple(source)]


class ZarrRegions:
    """The full resolution of an OME-Zarr image of one plane.

    Raises
    ------
    ImageReadError
        If it is no zarr, has no multiscale metadata, or more than one plane.
    MissingExtraError
        If zarr is not installed.
    """

    def __init__(self, path: Path) -> None:
        zarr = require_zarr()
        self.path = path
        with open_stack(path) as stack:
            self.shape = one_plane(path, stack)
            self.channels = stack.channels
            self.pixel_size = stack.calibration.pixel_size
        self._axes = zarr_source(path).axes.lower()
        node = zarr.open(store=path, mode="r")
        while "multiscales" not in (about := dict(node.attrs).get("ome", dict(node.attrs))):
            node = node["0"]  # bioformats2raw's folder around the one image
        self._array: Any = node[about["multiscales"][0]["datasets"][0]["path"]]

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the pixels of some rows and columns, axes ``YXC``."""
        part = {"y": rows, "x": columns, "c": slice(None)}
        try:
            values = np.asarray(self._array[tuple(part.get(axis, 0) for axis in self._axes)])
        except Exception as error:  # a broken chunk raises many types
            raise ImageReadError(unreadable(self.path, rows, columns, error)) from error
        left = "".join(axis for axis in self._axes if axis in part)
        return image_from_array(to_yxc(values, left.upper()), axes="YXC").pixels
