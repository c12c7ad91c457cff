"""Each format against somebody else's reader, and there and back again."""

import json
import pickle

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.core.image import image_from_array
from cellrim.core.labels import relabel
from cellrim.errors import CellrimError, ImageReadError, UsageError
from cellrim.io.exports import FORMATS, CellSet, find_format
from cellrim.measure import measure_cells

READABLE = [kind for kind, f in FORMATS.items() if f.read]
KEEP_IDS = [kind for kind in READABLE if kind not in ("rle", "cellpose")]


@pytest.fixture
def labels(cells):
    """Cells with a gap in the ids, a hole, and two parts."""
    changed = cells * 3
    changed[18:22, 18:22] = 0
    changed[40:44, 5:9] = 6
    return changed


@pytest.fixture
def cell_set(labels, picture):
    image = image_from_array(picture, pixel_size=0.5)
    return CellSet("field 1", labels, image, measure=lambda: measure_cells(labels, image).columns)


def read_back(kind, path, shape):
    [found] = FORMATS[kind].read(path, lambda name: shape)
    return found


@pytest.mark.parametrize("kind", READABLE)
def test_round_trip(kind, cell_set, tmp_path):
    path = tmp_path / f"{cell_set.name}{FORMATS[kind].ending}"
    FORMATS[kind].write(path, cell_set)
    assert find_format(path).kind == kind
    found = read_back(kind, path, cell_set.labels.shape)
    expected = cell_set.labels if kind in KEEP_IDS else relabel(cell_set.labels)
    np.testing.assert_array_equal(found.labels, expected)
    assert found.labels.dtype == np.int32
    assert found.name == cell_set.name
    assert found.pixel_size == (0.5 if kind in ("geojson", "ome-tiff", "ome-zarr") else None)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", READABLE)
@given(
    labels=arrays(
        np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
    )
)
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip_of_any_labels(kind, labels, tmp_path):
    path = tmp_path / f"a{FORMATS[kind].ending}"
    FORMATS[kind].write(path, CellSet("a", labels))
    found = read_back(kind, path, labels.shape).labels
    np.testing.assert_array_equal(found, labels if kind in KEEP_IDS else relabel(labels))


@pytest.mark.parametrize("kind", READABLE)
def test_no_cells_and_many(kind, tmp_path):
    empty = np.zeros((6, 7), np.int32)
    many = np.arange(1, 280 * 260 + 1, dtype=np.int32).reshape(280, 260)  # more than uint16 holds
    of_pixels = kind in ("labels", "ome-tiff", "ome-zarr", "cellpose")
    for labels in (empty, many) if of_pixels else (empty,):
        path = tmp_path / f"a{FORMATS[kind].ending}"
        FORMATS[kind].write(path, CellSet("a", labels))
        found = read_back(kind, path, labels.shape).labels
        np.testing.assert_array_equal(found, labels if kind in KEEP_IDS else relabel(labels))


def test_rois_as_roifile_reads_them(cell_set, tmp_path):
    from roifile import roiread

    FORMATS["rois"].write(tmp_path / "a.zip", cell_set)
    rois = roiread(tmp_path / "a.zip")
    assert [int(roi.name) for roi in rois] == [3, 6, 9, 12]
    for roi in rois:
        mask = cell_set.labels == int(roi.name)
        polygon = shapely.Polygon()
        for ring in roi.coordinates(multi=True):
            polygon = polygon.symmetric_difference(shapely.Polygon(ring))
        assert polygon.area == mask.sum()
        y, x = np.nonzero(mask)
        assert (roi.left, roi.top) == (x.min(), y.min())
        assert (roi.right, roi.bottom) == (x.max() + 1, y.max() + 1)


def test_rois_of_imagej_itself(tmp_path):
    from roifile import ROI_TYPE, ImagejRoi, roiwrite

    square = ImagejRoi.frompoints([[1, 2], [5, 2], [5, 4], [1, 4]], name="left")
    box = ImagejRoi(roitype=ROI_TYPE.RECT, left=6, top=0, right=8, bottom=3, name="right")
    roiwrite(tmp_path / "a.zip", [square, box])
    found = read_back("rois", tmp_path / "a.zip", (5, 9)).labels
    expected = np.zeros((5, 9), np.int32)
    expected[2:4, 1:5] = 1
    expected[0:3, 6:8] = 2
    np.testing.assert_array_equal(found, expected)
    roiwrite(tmp_path / "b.zip", [ImagejRoi(roitype=ROI_TYPE.LINE, name="l")])
    with pytest.raises(ImageReadError, match="l is a line"):
        read_back("rois", tmp_path / "b.zip", (5, 9))


def test_rois_far_out(tmp_path):
    labels = np.zeros((3, 40_000), np.int32)
    labels[1:, 39_990:] = 4
    FORMATS["rois"].write(tmp_path / "a.zip", CellSet("a", labels))
    np.testing.assert_array_equal(
        read_back("rois", tmp_path / "a.zip", labels.shape).labels, labels
    )


def test_geojson_as_shapely_reads_it(cell_set, tmp_path):
    FORMATS["geojson"].write(tmp_path / "a.geojson", cell_set)
    content = json.loads((tmp_path / "a.geojson").read_text())
    shapes = shapely.from_geojson((tmp_path / "a.geojson").read_text())
    assert shapes.is_valid or all(s.is_valid for s in shapes.geoms)
    for feature, shape in zip(content["features"], shapes.geoms, strict=True):
        number = int(feature["properties"]["name"])
        measured = feature["properties"]["measurements"]
        assert shape.area == measured["area"] == (cell_set.labels == number).sum()
        assert measured["area_um2"] == shape.area / 4
        assert feature["properties"]["objectType"] == "detection"
        outer = shape.geoms[0] if shape.geom_type == "MultiPolygon" else shape
        assert outer.exterior.is_ccw  # RFC 7946


def test_geojson_of_qupath(tmp_path):
    """A list of features with names of any kind, corners between pixels."""
    ring = [[1.2, 1.4], [6.0, 1.4], [6.0, 4.9], [1.2, 1.4]]
    feature = {
        "type": "Feature",
        "id": "1a2b",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
    }
    (tmp_path / "a.geojson").write_text(json.dumps([feature]))
    found = read_back("geojson", tmp_path / "a.geojson", (6, 8)).labels
    inside = shapely.contains_xy(
        shapely.Polygon(ring), *np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5)
    )
    np.testing.assert_array_equal(found == 1, inside)


def test_geojson_with_heights(tmp_path):
    """Positions of three numbers, which RFC 7946 allows."""
    ring = [[1, 1, 9], [5, 1, 9], [5, 4, 9], [1, 4, 9], [1, 1, 9]]
    geometry = {"type": "MultiPolygon", "coordinates": [[ring]]}
    feature = {"type": "Feature", "geometry": geometry, "properties": None}
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    found = read_back("geojson", tmp_path / "a.geojson", (6, 8)).labels
    assert found.sum() == 12
    assert found[1:4, 1:5].all()


@pytest.mark.parametrize(
    "places", [1, [[1, 2]], [[[1, 2], [3]]], [[["a", "b"], [1, 2], [1, 2]]], [[[]]], [[]]]
)
def test_geojson_with_broken_places(places, tmp_path):
    geometry = {"type": "Polygon", "coordinates": places}
    feature = {"type": "Feature", "geometry": geometry, "properties": {}}
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    with pytest.raises(ImageReadError, match="expected GeoJSON features of polygons"):
        read_back("geojson", tmp_path / "a.geojson", (6, 8))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_coco_as_pycocotools_reads_it(cell_set, tmp_path, capsys):
    from pycocotools.coco import COCO

    other = CellSet("b", np.eye(7, dtype=np.int32))
    FORMATS["coco"].write_many(tmp_path / "a.json", [cell_set, other])
    coco = COCO(str(tmp_path / "a.json"))
    for image, cells in zip(coco.loadImgs(coco.getImgIds()), (cell_set, other), strict=True):
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(found) == len(np.unique(cells.labels)) - 1
        for annotation in found:
            mask = coco.annToMask(annotation).astype(bool)
            np.testing.assert_array_equal(mask, cells.labels == annotation["cell"])
            y, x = np.nonzero(mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_coco_polygons_as_pycocotools_fills_them(tmp_path):
    from pycocotools import mask as codec

    polygon = [2.5, 1.0, 11.2, 3.3, 9.0, 8.9, 3.1, 7.7]
    content = {
        "images": [{"id": 5, "file_name": "x/one.png", "height": 12, "width": 10}],
        "annotations": [
            {"image_id": 5, "id": 1, "segmentation": [polygon]},
            {"image_id": 5, "id": 2, "iscrowd": 1, "segmentation": {}},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read_back("coco", tmp_path / "a.json", None)
    expected = codec.decode(codec.frPyObjects([polygon], 12, 10))[..., 0]
    np.testing.assert_array_equal(found.labels, expected)
    assert found.name == "x/one"


def test_rle_rows_do_not_overlap(cell_set, tmp_path):
    FORMATS["rle"].write_many(
        tmp_path / "a.csv", [cell_set, CellSet("none", np.zeros((3, 3), np.int32))]
    )
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert header == "id,predicted"
    assert rows[-1] == "none,"
    seen = np.zeros(cell_set.labels.size, int)
    for row in rows[:-1]:
        name, text = row.split(",")
        assert name == cell_set.name
        pairs = np.array(text.split(), int).reshape(-1, 2)
        for start, length in pairs:
            seen[start - 1 : start - 1 + length] += 1
    np.testing.assert_array_equal(seen.reshape(cell_set.labels.shape), cell_set.labels > 0)


def test_ome_tiff_says_the_pixel_size(cell_set, tmp_path):
    FORMATS["ome-tiff"].write(tmp_path / "a.ome.tif", cell_set)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_ome
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeYUnit"]) == (0.5, "µm")
        np.testing.assert_array_equal(tiff.asarray(), cell_set.labels)


def test_ome_zarr_as_zarr_reads_it(cell_set, tmp_path):
    import zarr

    big = np.kron(cell_set.labels, np.ones((8, 8), np.int32))
    pixels = np.zeros((*big.shape, 2), np.uint16)
    image = image_from_array(pixels, axes="YXC", channels=("dna", "actin"), pixel_size=0.25)
    path = tmp_path / "a.ome.zarr"
    FORMATS["ome-zarr"].write(path, CellSet("a", big, image))
    root = zarr.open_group(str(path), mode="r")
    assert root["0"].shape == (2, *big.shape)
    levels = root["labels/cells"].attrs["multiscales"][0]["datasets"]
    assert len(levels) == 2
    for level, dataset in enumerate(levels):
        step = 2**level
        np.testing.assert_array_equal(root["labels/cells"][dataset["path"]], big[::step, ::step])
        assert dataset["coordinateTransformations"][0]["scale"] == [0.25 * step] * 2
    assert [c["label"] for c in root.attrs["omero"]["channels"]] == ["dna", "actin"]
    FORMATS["ome-zarr"].write(path, CellSet("a", cell_set.labels))  # replaces the folder
    np.testing.assert_array_equal(read_back("ome-zarr", path, None).labels, cell_set.labels)


def test_ome_zarr_as_ome_zarr_reads_it(cell_set, tmp_path):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    big = np.kron(cell_set.labels, np.ones((8, 8), np.int32))
    image = image_from_array(np.zeros(big.shape, np.uint16), pixel_size=0.25)
    path = tmp_path / "a.ome.zarr"
    FORMATS["ome-zarr"].write(path, CellSet("a", big, image))
    # The image comes first, then the group of labels, then the labels.
    picture, _, cells = Reader(parse_url(str(path / "labels" / "cells")))()
    assert picture.data[0].shape == (1, *big.shape)
    assert len(cells.data) == 2
    assert [axis["unit"] for axis in cells.metadata["axes"]] == ["micrometer"] * 2
    for level, found in enumerate(cells.data):
        np.testing.assert_array_equal(found, big[:: 2**level, :: 2**level])


def test_cellpose_as_numpy_reads_it(cell_set, tmp_path):
    FORMATS["cellpose"].write(tmp_path / "a_seg.npy", cell_set)
    content = np.load(tmp_path / "a_seg.npy", allow_pickle=True).item()
    np.testing.assert_array_equal(content["masks"], relabel(cell_set.labels))
    drawn = content["outlines"]
    assert ((drawn == content["masks"]) | (drawn == 0)).all()
    assert len(content["ismanual"]) == content["masks"].max()


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_never_runs_code(tmp_path, capsys):
    content = {"masks": np.ones((2, 2), int), "extra": Evil()}
    np.save(tmp_path / "a_seg.npy", content, allow_pickle=True)
    with pytest.raises(ImageReadError, match=r"builtins\.print, which is refused"):
        read_back("cellpose", tmp_path / "a_seg.npy", None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_cellpose_writes_is_read(tmp_path, protocol):
    masks = np.array([[0, 1], [2, 2]], np.uint16)
    content = {
        "masks": masks,
        "outlines": masks,
        "flows": [np.zeros((2, 2, 3), np.uint8), [np.float32(3), [], None]],
        "est_diam": np.float64(17.5),
        "filename": "a.png",
        "ismanual": np.zeros(2, bool),
    }
    with (tmp_path / "a_seg.npy").open("wb") as file:
        array = np.array(content, object)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        pickle.dump(array, file, protocol=protocol)
    assert read_back("cellpose", tmp_path / "a_seg.npy", None).labels.tolist() == masks.tolist()


@pytest.mark.parametrize("kind", READABLE)
@pytest.mark.parametrize("data", [b"", b"rubbish", b'{"type": 3}', b"<svg/>", None])
def test_bad_files_are_named(kind, data, tmp_path):
    path = tmp_path / f"bad{FORMATS[kind].ending}"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ImageReadError) as info:
        read_back(kind, path, (4, 4))
    assert "bad" in str(info.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_unwritable(kind, cell_set, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CellrimError):
        FORMATS[kind].write(tmp_path / "file" / "a", cell_set)


def test_an_image_is_asked_for(labels, tmp_path):
    for kind in ("overlay", "cells"):
        with pytest.raises(UsageError, match="image"):
            FORMATS[kind].write(tmp_path / "a", CellSet("a", labels))


def test_unknown_names():
    from pathlib import Path

    with pytest.raises(UsageError, match=r"a\.doc"):
        find_format(Path("a.doc"))
