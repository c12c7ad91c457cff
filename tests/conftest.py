"""Fixtures that several rooms' tests share."""

import os
import struct
from pathlib import Path

import imagecodecs
import msgspec
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from cellrim.io.rle import encode_sartorius
from cellrim.models.card import ModelCard, sha256_of, write_card
from cellrim.representation.encode import encode


def make_card(**changes):
    values = {
        "name": "tiny",
        "version": "1",
        "created": "2026-01-01",
        "canonical_diameter": 16.0,
        "halo": 64,
        "sha256": "0" * 64,
    }
    return msgspec.convert(msgspec.to_builtins(values | changes), ModelCard)


def write_tiny_model(folder: Path, *, outputs: int = 4, name: str = "tiny", **changes) -> ModelCard:
    """Write a model folder whose network calls foreground what is brighter than half."""
    import onnx
    from onnx import TensorProto, helper

    weight = np.zeros((outputs, 3, 1, 1), np.float32)
    weight[0, 0] = 20
    bias = np.zeros(outputs, np.float32)
    bias[0] = -10
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["maps"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["b", outputs, "h", "w"])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel()),
            helper.make_tensor("b", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    card = make_card(name=name, sha256=sha256_of(data), **changes)
    write_card(folder / "card.json", card)
    return card


class OracleBackend:
    """Knows the truth: what is brighter than half is a cell, its maps are the encoded ones."""

    device = "oracle"
    precision = "float32"

    def __init__(self, canonical_diameter: float) -> None:
        self.canonical_diameter = canonical_diameter
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, batch):
        self.shapes.append(batch.shape)
        maps = []
        for pixels in batch:
            labels, _ = ndimage.label(pixels[0] > 0.5)
            maps.append(encode(labels.astype(np.int32), self.canonical_diameter))
        return np.stack(maps)


@pytest.fixture
def tiny_model(tmp_path) -> Path:
    """A model folder whose network calls foreground what is brighter than half."""
    folder = tmp_path / "models" / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture
def make_tiny_model():
    return write_tiny_model


@pytest.fixture
def card_with():
    return make_card


@pytest.fixture
def oracle():
    return OracleBackend


@pytest.fixture
def discs():
    """Make an image of bright discs on a dark ground: (shape, radius, spacing) to uint8."""

    def make(shape, radius, *, spacing=None, value=200, ground=10):
        spacing = spacing or 3 * radius
        y, x = np.mgrid[: shape[0], : shape[1]]
        dy = (y % spacing) - spacing / 2
        dx = (x % spacing) - spacing / 2
        inside = np.hypot(dy, dx) <= radius
        whole = (y // spacing < shape[0] // spacing) & (x // spacing < shape[1] // spacing)
        return np.where(inside & whole, value, ground).astype(np.uint8)

    return make


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


SARTORIUS_HEADER = (
    "id,annotation,width,height,cell_type,plate_time,sample_date,sample_id,elapsed_timedelta"
)


@pytest.fixture
def write_archive(picture, outline, cells, write_tiff, write_dib, write_png):
    """Write three fields with ``cells`` in the format of an archive whose pixels are not at hand.

    Takes the archive's name and the folder that it unpacks to.
    """

    def bbbc007(root):
        for field in ("A9 p5", "A9 p7", "A9 p9"):
            for letter, pixels in (("d", picture), ("f", picture // 2)):
                write_tiff(root / "BBBC007_v1_images" / "A9" / f"{field}{letter}.tif", pixels)
                write_tiff(
                    root / "BBBC007_v1_outlines" / "A9" / f"{field}{letter}.tif", outline > 0
                )

    def bbbc018(root):
        for field in ("00733", "10779", "21315", "12334"):
            for channel in ("DNA", "pH3", "actin"):
                write_dib(root / f"BBBC018_v1_images/{field}-{channel}.DIB", picture)
            if field != "10779":  # which has no outlines in the archive either
                write_png(root / f"BBBC018_v1_outlines/{field}-cells.png", outline)
                write_png(root / f"BBBC018_v1_outlines/{field}-nuclei.png", outline)

    def sartorius(root):
        height, width = cells.shape
        rows = [SARTORIUS_HEADER]
        for name in ("aa", "bb", "cc"):
            write_png(root / "train" / f"{name}.png", picture)
            for i in range(1, cells.max() + 1):
                runs = encode_sartorius(cells == i)
                rows.append(f"{name},{runs},{width},{height},shsy5y,,,{name},")
        write_png(root / "test" / "dd.png", picture)
        (root / "train.csv").write_text("\n".join(rows) + "\n")

    writers = {"bbbc007": bbbc007, "bbbc018": bbbc018, "sartorius": sartorius}
    return lambda name, root: writers[name](root)


@pytest.fixture
def link_some():
    """Link the first files of each pattern below a folder to another: a partial archive."""

    def link(source, target, patterns, count):
        for pattern in patterns:
            for file in sorted(source.glob(pattern))[:count]:
                path = target / file.relative_to(source)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(file)

    return link
