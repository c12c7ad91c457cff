"""Writers of the files that archives ship, and the real data where it is there."""

import os
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile


@pytest.fixture
def real_data():
    """Folder of the real data; the test is skipped without it."""
    folder = os.environ.get("CELLRIM_DATA")
    if not folder:
        pytest.skip("CELLRIM_DATA is not set: tests on real data are skipped")
    return Path(folder)


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def write_png():
    def write(path, pixels):
        return _write(path, imagecodecs.png_encode(np.ascontiguousarray(pixels)))

    return write


@pytest.fixture
def write_tiff():
    def write(path, pixels, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, pixels, **options)
        return path

    return write


@pytest.fixture
def write_dib():
    """Write an 8-bit Windows bitmap, rows from the bottom up, with or without file header."""

    def write(path, pixels, *, file_header=True):
        height, width = pixels.shape
        rows = np.pad(pixels[::-1], ((0, 0), (0, -width % 4))).tobytes()
        palette = b"".join(bytes((v, v, v, 0)) for v in range(256))
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, len(rows), 0, 0, 256, 0)
        body = info + palette + rows
        offset = 14 + len(info) + len(palette)
        head = struct.pack("<2sIHHI", b"BM", 14 + len(body), 0, 0, offset)
        return _write(path, head + body if file_header else body)

    return write


@pytest.fixture
def write_cellomics():
    """Write the 16-bit bitmap of a Cellomics ArrayScan: 52 bytes, then rows from the top down."""

    def write(path, pixels):
        height, width = pixels.shape
        info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 0, 0, 0, 0, 0, 0)
        return _write(path, info.ljust(52, b"\0") + pixels.astype("<u2").tobytes())

    return write


def disc_labels(shape, centres, radius):
    """Discs that do not overlap: a pixel belongs to the nearest centre within the radius."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.stack([np.hypot(y - cy, x - cx) for cy, cx in centres])
    return np.where(distance.min(0) <= radius, distance.argmin(0) + 1, 0).astype(np.int32)


def own_lines(labels):
    """The inner rim of each instance, as archives draw outlines."""
    padded = np.pad(labels, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (labels > 0) & np.logical_or.reduce([n != labels for n in neighbours])


@pytest.fixture
def cells():
    """Label image with two cells that touch, one alone and one cut by the frame."""
    return disc_labels((70, 90), [(20, 20), (20, 45), (50, 70), (60, 0)], 13)


@pytest.fixture
def outline(cells):
    """Outlines of ``cells``, 0 and 255."""
    return (own_lines(cells) * 255).astype(np.uint8)


@pytest.fixture
def picture(cells):
    """A grey image on which ``cells`` are bright."""
    rng = np.random.default_rng(0)
    return np.where(cells > 0, 200, 20).astype(np.uint8) + rng.integers(
        0, 9, cells.shape, dtype=np.uint8
    )
