"""Small files of microscope makers: as much of each format as readers need.

Neither Leica nor Nikon publishes a writer. What is written here is read by two readers of each
format that share no code (see ``test_vendor_files.py``).
"""

import struct
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

_LIF_BLOCK, _LIF_FIELD = 0x70, 0x2A
_ND2_MAGIC = 0x0ABECEDA
_ND2_PAGE = 4096
# Types of an ND2 value, by the prefix of its name.
_ND2_TYPES = {"b": (1, "<B"), "e": (3, "<I"), "ui": (3, "<I"), "d": (6, "<d")}
_ND2_TEXT, _ND2_LEVEL = 8, 11


class Series(NamedTuple):
    """One image of a Leica file: values with axes TZCYX, and sizes in micrometres."""

    name: str
    pixels: np.ndarray
    channels: tuple[str, ...]
    pixel_size: float
    z_step: float = 1.0


def write_lif(path: Path, images: list[Series]) -> None:
    """Write a Leica file: its XML in UTF-16, then the memory block of each image.

    In the XML, each axis has its number of elements, its length from the first element to the
    last in metres (of times: seconds), and the bytes from one element to the next.
    """
    root = ElementTree.Element("LMSDataContainerHeader", Version="2")
    project = ElementTree.SubElement(root, "Element", Name=path.name)
    _lif_memory(project, 0, "MemBlock_project")
    children = ElementTree.SubElement(project, "Children")
    for number, image in enumerate(images):
        element = ElementTree.SubElement(children, "Element", Name=image.name)
        described = ElementTree.SubElement(ElementTree.SubElement(element, "Data"), "Image")
        _lif_description(described, image)
        _lif_memory(element, image.pixels.nbytes, f"MemBlock_{number}")
    text = ElementTree.tostring(root, encoding="unicode")
    with path.open("wb") as file:
        file.write(_lif_block(struct.pack("<BI", _LIF_FIELD, len(text)) + _utf16(text)))
        for number, image in enumerate(images):
            name, data = f"MemBlock_{number}", image.pixels.tobytes()
            head = struct.pack("<BQBI", _LIF_FIELD, len(data), _LIF_FIELD, len(name))
            file.write(_lif_block(head + _utf16(name)) + data)


def _lif_block(content: bytes) -> bytes:
    return struct.pack("<II", _LIF_BLOCK, len(content)) + content


def _lif_memory(element: ElementTree.Element, size: int, name: str) -> None:
    ElementTree.SubElement(element, "Memory", Size=str(size), MemoryBlockID=name)


def _lif_description(parent: ElementTree.Element, image: Series) -> None:
    description = ElementTree.SubElement(parent, "ImageDescription")
    channels = ElementTree.SubElement(description, "Channels")
    t, z, c, y, x = image.pixels.strides
    for number, name in enumerate(image.channels):
        ElementTree.SubElement(
            channels,
            "ChannelDescription",
            DataType="0",
            ChannelTag="0",
            Resolution=str(8 * image.pixels.itemsize),
            NameOfMeasuredQuantity="",
            Min="0",
            Max="1",
            Unit="",
            LUTName=name,
            IsLUTInverted="0",
            BytesInc=str(number * c),
            BitInc="0",
        )
    dimensions = ElementTree.SubElement(description, "Dimensions")
    times, slices, _, rows, columns = image.pixels.shape
    for number, count, step, stride, unit in (
        (1, columns, image.pixel_size * 1e-6, x, "m"),
        (2, rows, image.pixel_size * 1e-6, y, "m"),
        (3, slices, image.z_step * 1e-6, z, "m"),
        (4, times, 1.0, t, "s"),
    ):
        ElementTree.SubElement(
            dimensions,
            "DimensionDescription",
            DimID=str(number),
            NumberOfElements=str(count),
            Origin="0",
            Length=repr(step * (count - 1)),
            Unit=unit,
            BytesInc=str(stride),
            BitInc="0",
        )


def write_nd2(
    path: Path,
    pixels: np.ndarray,
    channels: tuple[str, ...],
    *,
    pixel_size: float | None,
    z_step: float = 1.0,
    period: float = 1.0,
    positions: tuple[str, ...] = ("",),
) -> None:
    """Write a Nikon file, version 3: chunks, each with a name, and their map at the end.

    Parameters
    ----------
    path
        The file.
    pixels
        Values with axes TPZCYX, P being positions. A chunk ``ImageDataSeq|n!`` holds the channels
        of one plane, which lie next to each other at every pixel.
    channels
        Their names.
    pixel_size, z_step
        In micrometres; no calibration where None.
    period
        Seconds between times.
    positions
        Names of the positions.
    """
    times, _, slices, count, rows, columns = pixels.shape
    frames = pixels.reshape(-1, count, rows, columns)
    bits = 8 * pixels.itemsize
    planes = {
        f"a{n}": {"uiCompCount": 1, "uiSampleIndex": n, "sDescription": name, **_ND2_DYE}
        for n, name in enumerate(channels)
    }
    chunks = {
        "ImageAttributesLV!": _nd2_value(
            "SLxImageAttributes",
            {
                "uiWidth": columns,
                "uiWidthBytes": columns * count * pixels.itemsize,
                "uiHeight": rows,
                "uiComp": count,
                "uiBpcInMemory": bits,
                "uiBpcSignificant": bits,
                "uiSequenceCount": len(frames),
                "eCompression": 2,
            },
        ),
        "ImageMetadataSeqLV|0!": _nd2_value(
            "SLxPictureMetadata",
            {
                "bCalibrated": pixel_size is not None,
                "dCalibration": pixel_size or 1.0,
                "sPicturePlanes": {"uiCount": count, "sPlaneNew": planes},
            },
        ),
        "ImageMetadataLV!": _nd2_value(
            "SLxExperiment", _nd2_loops(times, positions, slices, 1e3 * period, z_step)
        ),
        "CustomData|AcqTimesCache!": np.arange(len(frames), dtype=float).tobytes(),
    }
    for n, plane in enumerate(frames):
        stamp = struct.pack("<d", float(n))
        chunks[f"ImageDataSeq|{n}!"] = stamp + np.moveaxis(plane, 0, -1).tobytes()
    with path.open("wb") as file:
        file.write(_nd2_chunk("ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32))
        entries = b""
        for name, data in chunks.items():
            file.write(b"\0" * (-file.tell() % _ND2_PAGE))
            entries += name.encode() + struct.pack("<QQ", file.tell(), len(data))
            file.write(_nd2_chunk(name, data, _ND2_PAGE - 24))
        end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", file.tell())
        file.write(_nd2_chunk("ND2 FILEMAP SIGNATURE NAME 0001!", entries + end, 32))


def _nd2_loops(
    times: int, positions: tuple[str, ...], slices: int, period: float, z_step: float
) -> dict:
    """Describe the experiment: slices at each position, positions at each time."""
    places = {f"i{n}": {"dPosX": float(n), "pPosName": name} for n, name in enumerate(positions)}
    loops = (
        (4, {"uiCount": slices, "dZStep": z_step, "dZHigh": z_step * (slices - 1)}),
        (2, {"Points": places}),
        (1, {"uiCount": times, "dStart": 0.0, "dPeriod": period, "dDuration": period * times}),
    )
    inner: dict = {}
    for kind, parameters in loops:
        inner = {"eType": kind, "uLoopPars": parameters, "ppNextLevelEx": {"": inner}}
    return inner


_ND2_DYE = {"pFluorescentProbe": {"sName": "dye"}}


def _nd2_chunk(name: str, data: bytes, room: int) -> bytes:
    """Magic number, room for the name, length of the data; name; data."""
    return (
        struct.pack("<IIQ", _ND2_MAGIC, room, len(data)) + name.encode().ljust(room, b"\0") + data
    )


def _nd2_value(name: str, value: object) -> bytes:
    """Encode a value as a "lite variant": its type, its name in UTF-16, and itself.

    A level (dict) has the number of its items, its length, the items, and their places.
    """
    label = _utf16(name + "\0")
    if isinstance(value, dict):
        items = [_nd2_value(key, item) for key, item in value.items()]
        start = 2 + len(label) + 12
        places = list(accumulate(map(len, items), initial=start))
        kind, body = _ND2_LEVEL, struct.pack("<IQ", len(items), places.pop()) + b"".join(items)
        body += struct.pack(f"<{len(items)}Q", *places)
    elif isinstance(value, str):
        kind, body = _ND2_TEXT, _utf16(value + "\0")
    else:
        prefix = "ui" if name.startswith("ui") else name[0]
        kind, form = _ND2_TYPES[prefix]
        body = struct.pack(form, value)
    return struct.pack("<BB", kind, len(label) // 2) + label + body


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le")
