"""Windows bitmaps (BMP, DIB), with the 14-byte file header or without.

Read here because imagecodecs crashes the process on some broken bitmaps. The format: Microsoft,
"Bitmap Storage", Windows GDI documentation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FILE_HEADER = 14
# Lengths of the information headers since Windows 3.
_HEADERS = (40, 52, 56, 108, 124)
_PLAIN, _BITFIELDS = 0, 3
_MASKS = (0xFF0000, 0xFF00, 0xFF)


@dataclass(frozen=True, slots=True)
class _Header:
    start: int
    size: int
    width: int
    height: int
    bits: int
    compression: int
    colours: int

    @property
    def palette_start(self) -> int:
        masks = 12 if self.compression == _BITFIELDS and self.size == _HEADERS[0] else 0
        return self.start + self.size + masks

    @property
    def palette_size(self) -> int:
        """Colours in the palette; true-colour bitmaps may have one too, as a hint to displays."""
        return self.colours or (1 << self.bits if self.bits <= 8 else 0)


def is_bitmap(data: bytes) -> bool:
    """Whether the bytes begin as a bitmap does, with its file header or without."""
    if data.startswith(b"BM"):
        return True
    return len(data) > _HEADERS[0] and struct.unpack_from("<I", data)[0] in _HEADERS


def decode_bitmap(data: bytes) -> NDArray[np.uint8]:
    """Decode a bitmap of 1, 4, 8, 24 or 32 bits, not compressed.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
    ndarray
        uint8, axes ``YXC``, red green blue, the top row first. Alpha is dropped.

    Raises
    ------
    ValueError
        If the bitmap is broken, cut off or of another kind.
    """
    header = _read_header(data)
    table_end = header.palette_start + 4 * header.palette_size
    start = struct.unpack_from("<I", data, 10)[0] if header.start else table_end
    row_bytes = (header.width * header.bits + 31) // 32 * 4
    height = abs(header.height)
    needed = start + row_bytes * height
    if len(data) < needed:
        raise ValueError(f"expected {needed} bytes, but it has {len(data)}")
    rows = np.frombuffer(data, np.uint8, row_bytes * height, start).reshape(height, row_bytes)
    if header.height > 0:  # stored from the bottom upwards
        rows = rows[::-1]
    if header.bits > 8:
        samples = header.bits // 8
        pixels = rows[:, : header.width * samples].reshape(height, header.width, samples)
        return np.ascontiguousarray(pixels[:, :, 2::-1])
    return _palette(data, header)[_indices(rows, header)]


def bitmap_shape(data: bytes) -> tuple[int, int]:
    """Read height and width of a bitmap from its first bytes, without decoding it.

    Raises
    ------
    ValueError
        If the header is broken, cut off or of another kind.
    """
    header = _read_header(data)
    return abs(header.height), header.width


def _read_header(data: bytes) -> _Header:
    start = _FILE_HEADER if data.startswith(b"BM") else 0
    if len(data) < start + _HEADERS[0]:
        raise ValueError("the header is cut off")
    size, width, height, _, bits, compression, _, _, _, colours = struct.unpack_from(
        "<IiiHHIIiiI", data, start
    )
    header = _Header(start, size, width, height, bits, compression, colours)
    if size not in _HEADERS:
        raise ValueError(f"expected a Windows bitmap, but its header has {size} bytes")
    if width < 1 or height == 0:
        raise ValueError(f"expected at least one pixel, but got {width} x {height}")
    if bits not in (1, 4, 8, 24, 32):
        raise ValueError(f"expected 1, 4, 8, 24 or 32 bits a pixel, but got {bits}")
    if compression == _BITFIELDS and bits == 32:
        _check_masks(data, start)
    elif compression != _PLAIN:
        raise ValueError("it is compressed, which is not supported: save it as PNG")
    return header


def _check_masks(data: bytes, start: int) -> None:
    if len(data) < start + _HEADERS[0] + 12:
        raise ValueError("the header is cut off")
    if struct.unpack_from("<III", data, start + _HEADERS[0]) != _MASKS:
        raise ValueError("its channels are in an unusual order: save it as PNG")


def _palette(data: bytes, header: _Header) -> NDArray[np.uint8]:
    count = header.palette_size
    if not 0 < count <= 1 << header.bits or len(data) < header.palette_start + 4 * count:
        raise ValueError(f"its palette of {count} colours does not fit")
    table = np.frombuffer(data, np.uint8, 4 * count, header.palette_start).reshape(count, 4)
    return table[:, 2::-1]


def _indices(rows: NDArray[np.uint8], header: _Header) -> NDArray[np.uint8]:
    if header.bits == 8:
        indices = rows
    elif header.bits == 4:
        indices = np.stack([rows >> 4, rows & 15], axis=2).reshape(len(rows), -1)
    else:
        indices = np.unpackbits(rows, axis=1)
    indices = indices[:, : header.width]
    if indices.max() >= header.palette_size:
        raise ValueError("a pixel has a colour that its palette does not have")
    return indices
