import json

import numpy as np
import pytest
import zarr

from cellrim.core.stack import Index
from cellrim.errors import ImageReadError
from cellrim.io.images import open_stack, read_image, scene_names

ARRAY = np.random.default_rng(2).integers(0, 60_000, (2, 3, 4, 20, 30), dtype=np.uint16)
UNITS = {"t": "second", "z": "micrometer", "y": "nanometer", "x": "nanometer"}
STEPS = {"t": 30.0, "c": 1.0, "z": 2.0, "y": 250.0, "x": 250.0}


def write_zarr(path, array, axes, *, version="0.4", changes=None):
    """Write an OME-Zarr image by the specification, with zarr alone."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    chunks = (1,) * (array.ndim - 2) + (16, 16)
    group.create_array("0", shape=array.shape, dtype=array.dtype, chunks=chunks)[:] = array
    half = array[..., ::2, ::2]
    group.create_array("1", shape=half.shape, dtype=half.dtype, chunks=chunks)[:] = half
    kinds = {"t": "time", "c": "channel"}
    listed = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in listed:
        if axis["name"] in UNITS:
            axis["unit"] = UNITS[axis["name"]]
    scale = [{"type": "scale", "scale": [STEPS[a] for a in axes]}]
    levels = [{"path": p, "coordinateTransformations": scale} for p in ("0", "1")]
    count = array.shape[axes.index("c")] if "c" in axes else 1
    names = ("DAPI", "b", "c", "actin")[:count]
    metadata = {
        "multiscales": [{"version": version, "axes": listed, "datasets": levels}],
        "omero": {"channels": [{"label": n} for n in names]},
    }
    metadata |= changes or {}
    group.attrs.update(metadata if version == "0.4" else {"ome": metadata | {"version": version}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tzcyx", "czyx", "tyx", "yx"])
def test_planes_names_and_sizes(tmp_path, version, axes):
    array = ARRAY[tuple(slice(None) if a in axes else 0 for a in "tzcyx")]
    path = write_zarr(tmp_path / "a.ome.zarr", array, axes, version=version)
    with open_stack(path) as stack:
        assert stack.axes == "".join(a for a in axes.upper() if a in "TZ")
        assert stack.calibration.pixel_size == pytest.approx(0.25)
        assert stack.calibration.z_step == (2 if "z" in axes else None)
        assert stack.calibration.time_step == (30 if "t" in axes else None)
        assert stack.channels[0] == "DAPI"
        for index in stack.indices():
            names = [a for a in axes if a not in "yx"]
            plane = array
            for axis in reversed([a for a in names if a in "tz"]):
                plane = np.take(plane, index.along(axis.upper()), axis=names.index(axis))
            expected = np.moveaxis(plane, 0, -1) if "c" in axes else plane[..., np.newaxis]
            np.testing.assert_array_equal(stack.read(index).pixels, expected)


def test_an_image_of_one_plane(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", ARRAY[0, 0, 0], "yx")
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[..., 0], ARRAY[0, 0, 0])


def test_asked_axes(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", ARRAY[0, :, 0], "zyx")
    with open_stack(path, axes="TYX") as stack:
        assert stack.axes == "T"


def _message(path):
    with pytest.raises(ImageReadError) as caught, open_stack(path):
        pass
    return str(caught.value)


def test_a_group_without_multiscales_says_what_it_holds(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.open_group(path, mode="w").create_group("inner")
    assert "multiscales metadata, but it has none, and it holds inner" in _message(path)


def test_a_plain_array_a_plate_and_an_empty_folder(tmp_path):
    zarr.open_array(tmp_path / "plain.zarr", mode="w", shape=(4, 4), dtype="u1")[:] = 1
    assert "plain array" in _message(tmp_path / "plain.zarr")
    group = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": []}
    assert "is a plate" in _message(tmp_path / "plate.zarr")
    (tmp_path / "empty.zarr").mkdir()
    assert "empty.zarr" in _message(tmp_path / "empty.zarr")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": [{"name": "y"}, {"name": "x"}]}, "contradict"),
        ({"axes": [{"name": "q"}, {"name": "y"}, {"name": "x"}]}, "contradict"),
        ({"datasets": [{"path": "9"}]}, "'9', but it is not there"),
        ({"datasets": []}, "is not there"),
    ],
)
def test_metadata_that_contradict_the_array(tmp_path, changes, message):
    path = write_zarr(tmp_path / "a.zarr", ARRAY[:, 0, 0], "tyx")
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0] |= changes
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert message in _message(path)


def test_one_image_of_a_converter_is_found_and_of_several_one_is_asked_for(tmp_path):
    path = tmp_path / "a.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_zarr(path / "0", ARRAY[0, 0, 0], "yx")
    assert read_image(path).shape == (20, 30)
    assert scene_names(path) == ("0",)
    write_zarr(path / "1", ARRAY[0, 0, 0, :9], "yx")
    assert "holds 2: 0 0, 1 1. Choose one" in _message(path)
    assert scene_names(path) == ("0", "1")
    assert read_image(path, scene="1").shape == (9, 30)
    assert scene_names(path / "1") == ("",)


def test_a_broken_chunk_is_named(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", ARRAY[:, 0, 0], "tyx", version="0.5")
    chunk = next(
        p for p in sorted((path / "0").rglob("*")) if p.is_file() and p.name != "zarr.json"
    )
    chunk.write_bytes(b"broken")
    with (
        open_stack(path) as stack,
        pytest.raises(ImageReadError, match=r"a\.zarr: the file is broken"),
    ):
        stack.read(Index())
