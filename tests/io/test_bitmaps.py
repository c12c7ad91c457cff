import io
import struct

import numpy as np
import pytest
from PIL import Image as PilImage

from cellrim.io.bitmaps import decode_bitmap, is_bitmap

RNG = np.random.default_rng(2)


def _bitmap(mode: str, width: int = 13) -> tuple[bytes, np.ndarray]:
    picture = PilImage.fromarray(RNG.integers(0, 256, (9, width, 3), dtype=np.uint8))
    picture = (
        picture.convert("P", palette=PilImage.Palette.ADAPTIVE)
        if mode == "P"
        else (picture.convert(mode))
    )
    file = io.BytesIO()
    picture.save(file, "BMP")
    return file.getvalue(), np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("width", [1, 8, 13, 33])
def test_agrees_with_pillow(mode, width):
    data, expected = _bitmap(mode, width)
    for content in (data, data[14:]):
        assert is_bitmap(content)
        np.testing.assert_array_equal(decode_bitmap(content), expected)


def test_rows_from_the_top():
    data, expected = _bitmap("L")
    turned = data[:22] + struct.pack("<i", -9) + data[26:]
    np.testing.assert_array_equal(decode_bitmap(turned), expected[::-1])


def test_four_bits():
    palette = bytes(v for k in range(16) for v in (k, 2 * k, 3 * k, 0))
    header = struct.pack("<IiiHHIIiiII", 40, 3, 1, 1, 4, 0, 0, 0, 0, 0, 0)
    pixels = decode_bitmap(header + palette + bytes([0x1F, 0x70, 0, 0]))
    np.testing.assert_array_equal(pixels[0], [(3, 2, 1), (45, 30, 15), (21, 14, 7)])


def test_broken_bitmaps_raise_and_never_crash():
    whole = _bitmap("P")[0]
    for data in (whole, whole[14:]):
        for _ in range(3000):
            broken = bytearray(data)
            for place in RNG.integers(0, 90, RNG.integers(1, 5)):
                broken[place] = RNG.integers(0, 256)
            try:
                decode_bitmap(bytes(broken))
            except ValueError:
                continue


@pytest.mark.parametrize("size", [3, 30, 60, 200])
def test_cut_off(size):
    with pytest.raises(ValueError, match=r"cut off|bytes|palette"):
        decode_bitmap(_bitmap("P")[0][:size])


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [(14, 12, "header"), (28, 16, "bits"), (30, 1, "compressed"), (18, 0, "pixel")],
)
def test_other_kinds(place, value, says):
    data = bytearray(_bitmap("L")[0])
    data[place] = value
    with pytest.raises(ValueError, match=says):
        decode_bitmap(bytes(data))
