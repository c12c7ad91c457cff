import json

import numpy as np
import pytest

from cellrim.errors import ImageReadError, MissingExtraError
from cellrim.io.images import is_zarr
from cellrim.io.levels import Level
from cellrim.io.ngff import write_ngff_labels
from cellrim.io.region_readers import ZarrRegions

zarr = pytest.importorskip("zarr")

PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 50, 70), np.uint16)


def write_image(path, pixels, axes, *, version="0.4", channels=None, scale=None, unit="micrometer"):
    group = zarr.open_group(store=path, mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array(name="0", data=pixels, chunks=(1,) * (pixels.ndim - 2) + (32, 32))
    kinds = {"t": "time", "c": "channel"}
    named = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in named:
        if axis["type"] == "space":
            axis["unit"] = unit
    transforms = [{"type": "scale", "scale": scale or [1.0] * len(axes)}]
    multiscale = {
        "version": version,
        "axes": named,
        "datasets": [{"path": "0", "coordinateTransformations": transforms}],
    }
    about = {"multiscales": [multiscale]}
    if channels:
        about["omero"] = {"channels": [{"label": name} for name in channels]}
    group.attrs.update({"ome": about} if version == "0.5" else about)
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_reads_any_part_of_a_multichannel_image(tmp_path, version):
    path = write_image(
        tmp_path / "a.ome.zarr",
        PIXELS[None, :, None],
        "tczyx",
        version=version,
        channels=("DNA", "actin"),
        scale=[1, 1, 1, 0.25, 0.25],
    )
    opened = ZarrRegions(path)
    assert (opened.shape, opened.channels, opened.pixel_size) == ((50, 70), ("DNA", "actin"), 0.25)
    expected = np.moveaxis(PIXELS, 0, 2)
    np.testing.assert_array_equal(opened.read(slice(20, 45), slice(30, 70)), expected[20:45, 30:70])
    assert is_zarr(path)


def test_other_orders_of_axes(tmp_path):
    path = write_image(tmp_path / "a.zarr", np.ascontiguousarray(PIXELS[0].T), "xy", unit=None)
    opened = ZarrRegions(path)
    assert opened.pixel_size is None
    np.testing.assert_array_equal(
        opened.read(slice(5, 9), slice(3, 60))[..., 0], PIXELS[0, 5:9, 3:60]
    )


def test_what_is_no_image_is_told(tmp_path):
    zarr.open_group(store=tmp_path / "empty.zarr", mode="w", zarr_format=2)
    with pytest.raises(ImageReadError, match="multiscales metadata"):
        ZarrRegions(tmp_path / "empty.zarr")
    plate = zarr.open_group(store=tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs.update({"plate": {"wells": []}})
    with pytest.raises(ImageReadError, match="it is a plate"):
        ZarrRegions(tmp_path / "plate.zarr")
    with pytest.raises(ImageReadError, match="it is a folder"):
        ZarrRegions(tmp_path)
    stack = write_image(tmp_path / "stack.zarr", PIXELS, "zyx")
    with pytest.raises(ImageReadError, match=r"one plane.*Z 2"):
        ZarrRegions(stack)
    (tmp_path / "stack.zarr" / "0" / ".zarray").unlink()
    with pytest.raises(ImageReadError, match="array '0'"):
        ZarrRegions(stack)


def test_a_chunk_that_cannot_be_read_is_named(tmp_path):
    path = write_image(tmp_path / "a.zarr", PIXELS, "cyx")
    chunk = path / "0" / "1.1.1"
    chunk.write_bytes(chunk.read_bytes()[:20])
    opened = ZarrRegions(path)
    opened.read(slice(0, 32), slice(0, 32))
    with pytest.raises(ImageReadError, match=r"rows 32 to 50, columns 40 to 60 of .*a\.zarr"):
        opened.read(slice(32, 50), slice(40, 60))


def level(labels, edge=32):
    def read(y, x):
        return labels[y * edge : (y + 1) * edge, x * edge : (x + 1) * edge]

    return Level(labels.shape, edge, read)


def test_labels_come_back_with_their_pyramid(tmp_path):
    labels = np.arange(50 * 70, dtype=np.uint32).reshape(50, 70) + 70_000
    levels = [level(labels), level(labels[::2, ::2])]
    path = tmp_path / "out.ome.zarr"
    write_ngff_labels(path, levels, pixel_size=0.5, about={"cells": 3})
    about = json.loads((path / ".zattrs").read_text())
    [multiscale] = about["multiscales"]
    assert multiscale["version"] == "0.4"
    assert [d["coordinateTransformations"][0]["scale"] for d in multiscale["datasets"]] == [
        [0.5, 0.5],
        [1.0, 1.0],
    ]
    assert about["image-label"]["version"] == "0.4"
    group = zarr.open_group(store=path, mode="r")
    assert group["0"].dtype == np.uint32
    np.testing.assert_array_equal(group["0"][:], labels)
    np.testing.assert_array_equal(group["1"][:], labels[::2, ::2])
    assert ZarrRegions(path).pixel_size == 0.5


def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r"cellrim\[big\]"):
        write_ngff_labels(tmp_path / "a.zarr", [], pixel_size=None, about={})
