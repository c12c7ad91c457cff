import numpy as np
import pytest
import tifffile

from cellrim.core.image import image_from_array
from cellrim.core.stack import Calibration, Stack
from cellrim.errors import ImageReadError, InputError, OutputError, UsageError
from cellrim.io.exports import FORMATS
from cellrim.io.exports.planes import remove_planes
from cellrim.io.images import open_stack
from cellrim.io.tracking import TRACKS_NAME
from cellrim.measure.columns import STACK_COLUMNS
from cellrim.measure.tracks import LinkOptions
from cellrim.prediction.result import Result
from cellrim.prediction.stacks import common_diameter, pick_channels, segment_stack


def _segment(image, diameter):
    """A stand-in for the network: what a pixel holds is its label."""
    labels = image.pixels[..., 0].astype(np.int32)
    count = int(labels.max())
    return Result(labels, np.full(count, 0.9, np.float32), diameter or 10.0 * count, image)


def _stack(labels, axes):
    return Stack(
        axes,
        labels.shape[:-2],
        labels.shape[-2:],
        ("grey",),
        read=lambda index: image_from_array(labels[tuple(index.along(a) for a in axes)]),
        calibration=Calibration(0.5, 2.0, 60.0),
    )


@pytest.fixture
def volume():
    """Two times of three slices; plane n has n cells."""
    labels = np.zeros((2, 3, 12, 40), np.uint16)
    for n, plane in enumerate(labels.reshape(-1, 12, 40)):
        for cell in range(n):
            plane[2:8, 6 * cell : 6 * cell + 5] = cell + 1
    return labels


def test_labels_keep_the_axes_and_the_sizes(volume, tmp_path):
    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        result.save_labels(tmp_path / "labels.tif")
        assert result.count == 15
        assert result.tracks is None
        with pytest.raises(InputError, match="not linked"):
            result.save_tracks(tmp_path / "a_RES")
    with tifffile.TiffFile(tmp_path / "labels.tif") as tiff:
        [series] = tiff.series
        assert (series.axes, series.dtype) == ("TZYX", np.uint16)
        np.testing.assert_array_equal(series.asarray(), volume)
        for text in ('PhysicalSizeX="0.5"', 'PhysicalSizeZ="2.0"', 'TimeIncrement="60.0"'):
            assert text in tiff.ome_metadata


def save_all(result, folder):
    paths = {kind: folder / f"a b{known.ending}" for kind, known in FORMATS.items()}
    written = result.save(list(FORMATS), paths, planes=folder / "a b_planes", name="a b")
    return [path.relative_to(folder).as_posix() for path in written]


def no_shape(name):
    return (12, 40)


@pytest.mark.parametrize("axes", ["TZ", "ZT"])
def test_every_format_holds_every_plane(volume, tmp_path, axes):
    pytest.importorskip("zarr")
    stored = volume if axes == "TZ" else np.ascontiguousarray(volume.swapaxes(0, 1))
    with segment_stack(_stack(stored, axes), _segment, diameter=5) as result:
        written = save_all(result, tmp_path)
    assert {name.split("/")[0] for name in written} == {p.name for p in tmp_path.iterdir()}
    assert all((tmp_path / name).exists() for name in written)
    planes = {f"a b_t{t:03d}_z{z:03d}": volume[t, z] for t, z in np.ndindex(2, 3)}
    single = {"rois", "geojson", "outlines", "cellpose"}
    assert {p.name for p in (tmp_path / "a b_planes").iterdir()} == {
        f"{name}{FORMATS[kind].ending}" for name in planes for kind in single
    }
    for kind in single:
        for name, labels in planes.items():
            path = tmp_path / "a b_planes" / f"{name}{FORMATS[kind].ending}"
            [found] = FORMATS[kind].read(path, no_shape)
            assert found.name == name
            np.testing.assert_array_equal(found.labels, labels)
    for kind in ("coco", "rle"):
        path = tmp_path / f"a b{FORMATS[kind].ending}"
        found = {cells.name: cells.labels for cells in FORMATS[kind].read(path, no_shape)}
        assert set(found) == set(planes)
        for name, labels in planes.items():
            np.testing.assert_array_equal(found[name], labels)
    for name in ("a b_labels.tif", "a b_labels.ome.tif"):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / name), stored)


def test_ome_zarr_of_a_stack_has_its_axes_and_steps(volume, tmp_path):
    zarr = pytest.importorskip("zarr")
    turned = np.ascontiguousarray(volume.swapaxes(0, 1))
    with segment_stack(_stack(turned, "ZT"), _segment, diameter=5) as result:
        save_all(result, tmp_path)
    path = tmp_path / "a b_labels.ome.zarr"
    np.testing.assert_array_equal(zarr.open(path / "labels" / "cells", mode="r")["0"], volume)
    with open_stack(path) as image, open_stack(path / "labels" / "cells") as labels:
        for found in (image, labels):
            assert (found.axes, found.lengths) == ("TZ", (2, 3))
            assert found.calibration == Calibration(0.5, 2.0, 60.0)
        for index in image.indices():
            expected = volume[index.t, index.z]
            np.testing.assert_array_equal(image.read(index).pixels[..., 0], expected)
            np.testing.assert_array_equal(labels.read(index).pixels[..., 0], expected)


@pytest.mark.parametrize("kind", ["labels", "ome-tiff", "ome-zarr"])
def test_a_label_stack_is_read_plane_by_plane(volume, tmp_path, kind):
    pytest.importorskip("zarr")
    known = FORMATS[kind]
    path = tmp_path / f"a b{known.ending}"
    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        result.save([kind], {kind: path}, planes=tmp_path / "none", name="a b")
    found = list(known.read(path, no_shape))
    assert [cells.name for cells in found] == [
        f"a b_t{t:03d}_z{z:03d}" for t, z in np.ndindex(2, 3)
    ]
    for cells, labels in zip(found, volume.reshape(-1, 12, 40), strict=True):
        np.testing.assert_array_equal(cells.labels, labels)
        assert cells.labels.dtype == np.int32
        assert kind == "labels" or cells.pixel_size == 0.5
    tifffile.imwrite(tmp_path / "c.tif", volume[0], imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(ImageReadError, match="as a label image"):
        list(FORMATS["labels"].read(tmp_path / "c.tif", no_shape))


def test_the_table_of_a_plane_follows_the_ids_of_the_tracks(volume):
    movie = volume[:, 2][::-1]  # five cells, then the first two of them
    with segment_stack(_stack(movie, "T"), _segment, diameter=5, track=LinkOptions()) as result:
        first, second = result.cell_sets("a")
        assert (first.name, second.name) == ("a_t000", "a_t001")
        for cells in (first, second):
            columns = cells.measure()
            assert "t" not in columns
            assert columns["id"].tolist() == np.unique(cells.labels[cells.labels > 0]).tolist()


def test_a_folder_with_other_files_is_not_replaced(volume, tmp_path):
    mine = tmp_path / "a b_planes" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        with pytest.raises(OutputError, match="other files"):
            result.save(["rois"], {"rois": tmp_path / "x"}, planes=mine.parent, name="a b")
        with pytest.raises(UsageError, match="a format, one of"):
            result.save(["doc"], {}, planes=mine.parent, name="a b")
    remove_planes(mine.parent)
    assert mine.read_text() == "mine"


def test_more_than_65535_ids_are_stored_whole(tmp_path):
    labels = np.arange(2 * 300 * 300).reshape(2, 300, 300).astype(np.float32)

    def segment(image, diameter):
        ids = image.pixels[..., 0].astype(np.int32)
        return Result(ids, np.full(len(np.unique(ids[ids > 0])), 1, np.float32), 5, image)

    with segment_stack(_stack(labels, "Z"), segment, diameter=5) as result:
        result.save_labels(tmp_path / "labels.tif")
    stored = tifffile.imread(tmp_path / "labels.tif")
    assert stored.dtype == np.uint32
    np.testing.assert_array_equal(stored, labels)


def test_the_table_says_where_each_cell_is(volume):
    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        columns = result.columns
    assert list(columns)[:3] == ["t", "z", "id"]
    planes = 3 * columns["t"] + columns["z"]
    np.testing.assert_array_equal(np.bincount(planes, minlength=6), np.arange(6))
    with segment_stack(_stack(volume[:, 1], "T"), _segment, diameter=5) as result:
        assert "z" not in result.columns
        assert "track" not in result.columns


def test_the_columns_of_a_stack_are_in_the_dictionary(volume):
    with segment_stack(_stack(volume[:, 1], "T"), _segment, diameter=5) as result:
        plain = list(result.columns)
    with segment_stack(
        _stack(volume[:, 1], "T"), _segment, diameter=5, track=LinkOptions()
    ) as result:
        further = [name for name in result.columns if name not in plain]
    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        places = list(result.columns)[:2]
    assert [*places, *further] == [column.name for column in STACK_COLUMNS]


def test_the_summary_of_a_stack(volume):
    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        summary = result.summary
    assert (summary["planes"], summary["cells"]) == (6, 15)
    assert (summary["height"], summary["width"]) == (12, 40)
    assert summary["confluence"] == pytest.approx((volume > 0).mean())
    assert summary["cells_per_megapixel"] == pytest.approx(15 / volume.size * 1e6)
    assert summary["median_area"] == 30  # of the planes with cells


def test_one_diameter_for_all_planes(volume):
    stack = _stack(volume, "TZ")
    seen = []

    def segment(image, diameter):
        seen.append(diameter)
        return _segment(image, diameter)

    with segment_stack(stack, segment) as result:
        # Planes 1, 3 and 4 are looked at; they say 10, 30 and 40 px with 1, 3 and 4 cells.
        assert result.diameter == common_diameter(stack, _segment) == 30
    assert seen[3:] == [30] * 6
    empty = _stack(np.zeros((4, 5, 5), np.uint8), "T")
    assert common_diameter(empty, lambda image, _: _segment(image, 7.0)) == 7


@pytest.fixture
def movie():
    """A cell that moves, and one that divides in the second frame."""
    labels = np.zeros((3, 30, 60), np.uint8)
    labels[0, 3:11, 4:12] = 1
    labels[0, 18:26, 20:40] = 2
    labels[1, 18:26, 20:29] = 1
    labels[1, 18:26, 31:40] = 2
    labels[1, 4:12, 6:14] = 3
    labels[2] = labels[1]
    return labels


def test_tracks_in_labels_table_and_challenge_form(movie, tmp_path):
    with segment_stack(_stack(movie, "T"), _segment, diameter=5, track=LinkOptions()) as result:
        result.save_labels(tmp_path / "labels.tif")
        result.save_tracks(tmp_path / "movie_RES")
        columns = result.columns
    stored = tifffile.imread(tmp_path / "labels.tif")
    assert stored[0, 5, 5] == stored[1, 5, 7] == stored[2, 5, 7] == 1
    assert stored[0, 20, 25] == 2
    assert {int(stored[1, 20, 25]), int(stored[1, 20, 35])} == {3, 4}
    for t, mask in enumerate(sorted((tmp_path / "movie_RES").glob("mask*.tif"))):
        np.testing.assert_array_equal(tifffile.imread(mask), stored[t])
    lines = (tmp_path / "movie_RES" / TRACKS_NAME).read_text().splitlines()
    assert lines == ["1 0 2 0", "2 0 0 0", "3 1 2 2", "4 1 2 2"]
    np.testing.assert_array_equal(columns["id"], columns["track"])
    np.testing.assert_array_equal(columns["parent"], np.where(columns["track"] > 2, 2, 0))
    for t, track, y, x in zip(
        *(columns[n] for n in ("t", "track", "centroid_y", "centroid_x")), strict=True
    ):
        assert stored[t, round(y), round(x)] == track


def test_tracking_needs_times_and_one_slice(volume):
    with pytest.raises(InputError, match=r"no axis T.*--axes"):
        segment_stack(_stack(volume[0], "Z"), _segment, diameter=5, track=LinkOptions())
    with pytest.raises(InputError, match="--project max"):
        segment_stack(_stack(volume, "TZ"), _segment, diameter=5, track=LinkOptions())
    flat = _stack(volume, "TZ").project("max")
    with segment_stack(flat, _segment, diameter=5, track=LinkOptions()) as result:
        assert len(result.tracks) == 5


def test_the_overlay_shows_planes_side_by_side(volume, tmp_path):
    import imagecodecs

    with segment_stack(_stack(volume, "TZ"), _segment, diameter=5) as result:
        result.save_overlay(tmp_path / "overlay.png")
    drawn = imagecodecs.png_decode((tmp_path / "overlay.png").read_bytes())
    assert drawn.shape == (2 * 14 - 2, 3 * 42 - 2, 3)


def test_the_temporary_file_is_freed_when_a_plane_fails(volume):
    def segment(image, diameter):
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        segment_stack(_stack(volume, "TZ"), segment, diameter=5)


def test_channels_by_name():
    image = image_from_array(np.zeros((4, 4, 2)), axes="YXC", channels=("DAPI", "actin"))
    assert pick_channels(image, ("actin", "DAPI")) == (1, 0)
    assert pick_channels(image, None) is None
