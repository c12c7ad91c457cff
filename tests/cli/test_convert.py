import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from cellrim.cli.main import app
from cellrim.errors import CellrimError
from cellrim.io.exports import FORMATS
from cellrim.io.labels import read_labels, write_labels
from cellrim.io.tables import read_csv

ROUND = [kind for kind, known in FORMATS.items() if known.read]


@pytest.fixture
def folders(tmp_path, cells, picture, write_tiff):
    for name in ("a b", "ü"):
        write_labels(tmp_path / "labels" / f"{name}_labels.tif", cells)
        write_tiff(tmp_path / "images" / f"{name}.tif", picture)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("kind", ROUND)
def test_a_file_there_and_back(kind, folders, cells):
    there = folders / f"x{FORMATS[kind].ending}"
    run(folders / "labels" / "a b_labels.tif", there)
    run(there, folders / "back.tif", "--shape", "70,90")
    np.testing.assert_array_equal(read_labels(folders / "back.tif"), cells)


@pytest.mark.parametrize("name", ["all.json", "all.csv"])
def test_a_folder_into_one_file_and_back(name, folders, cells):
    shown = run(folders / "labels", folders / name).stdout
    assert "2 images, 8 cells" in shown
    run(folders / name, folders / "back", "--to", "labels", "--image", folders / "images")
    found = sorted((folders / "back").iterdir())
    assert [p.name for p in found] == ["a b_labels.tif", "ü_labels.tif"]
    for path in found:
        np.testing.assert_array_equal(read_labels(path), cells)


def test_a_stack_of_labels_becomes_a_file_for_each_plane_or_one_for_all(tmp_path, cells):
    stack = tmp_path / "movie_labels.tif"
    frames = np.stack([cells, cells[::-1]]).astype(np.uint16)
    tifffile.imwrite(stack, frames, ome=True, metadata={"axes": "TYX"}, photometric="minisblack")
    run(stack, tmp_path / "rois", "--to", "rois")
    names = ["movie_t000_rois.zip", "movie_t001_rois.zip"]
    assert sorted(p.name for p in (tmp_path / "rois").iterdir()) == names
    assert "2 images, 8 cells" in run(stack, tmp_path / "movie.json").stdout
    for source, kind in ((tmp_path / "rois", "rois"), (tmp_path / "movie.json", "coco")):
        back = tmp_path / f"back {kind}"
        run(source, back, "--from", kind, "--to", "labels", "--shape", "70,90")
        for t, frame in enumerate(frames):
            labels = read_labels(back / f"movie_t{t:03d}_labels.tif")
            np.testing.assert_array_equal(labels, frame)
    with pytest.raises(CellrimError, match="say a folder"):
        run(stack, tmp_path / "one.zip")


def write_movie(folder, cells, picture):
    """Write an OME-TIFF of two times and three slices, and the labels of its planes."""
    labels = np.stack([np.roll(cells, n, axis=1) for n in range(6)]).reshape(2, 3, *cells.shape)
    images = np.stack([picture + n for n in range(6)]).reshape(2, 3, *picture.shape)
    about = {"axes": "TZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    for name, values in (("movie_labels.ome.tif", labels), ("images/movie.ome.tif", images)):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        stored = values.astype(np.uint16)
        tifffile.imwrite(path, stored, ome=True, metadata=about, photometric="minisblack")
    return labels


@pytest.mark.parametrize("kind", ["labels", "ome-tiff", "ome-zarr"])
@pytest.mark.parametrize("with_image", [False, True])
def test_a_stack_goes_into_one_file_with_its_axes(tmp_path, cells, picture, kind, with_image):
    labels = write_movie(tmp_path, cells, picture)
    there = tmp_path / f"there{FORMATS[kind].ending}"
    image = ["--image", tmp_path / "images"] if with_image else []
    run(tmp_path / "movie_labels.ome.tif", there, *image)
    run(there, tmp_path / "rois", "--to", "rois")
    back = tmp_path / "back_labels.tif"  # put together again from a file for each plane
    run(tmp_path / "rois", back, "--from", "rois", "--shape", "70,90")
    with tifffile.TiffFile(back) as tiff:
        assert tiff.series[0].axes == "TZYX"
        np.testing.assert_array_equal(tiff.asarray(), labels)
    if kind == "ome-zarr":
        import zarr

        root = zarr.open(str(there), mode="r")
        stored = root["labels"]["cells"]["0"] if with_image else root["0"]
        np.testing.assert_array_equal(stored[:], labels)


def test_the_planes_of_a_stack_find_theirs_in_the_image(tmp_path, cells, picture):
    write_movie(tmp_path, cells, picture)
    for image in (tmp_path / "images", tmp_path / "images" / "movie.ome.tif"):
        out = tmp_path / f"tables {image.name}"
        run(tmp_path / "movie_labels.ome.tif", out, "--to", "cells", "--image", image)
        tables = sorted(out.iterdir())
        assert len(tables) == 6
        first, last = (read_csv(tables[n]) for n in (0, 5))
        np.testing.assert_allclose(last["area_um2"], last["area"] / 4)
        assert first["min_grey"].tolist() != last["min_grey"].tolist()


def test_planes_that_are_no_whole_stack_are_refused(tmp_path, cells):
    for name in ("a_t000", "a_t002"):
        write_labels(tmp_path / "planes" / f"{name}_labels.tif", cells)
    with pytest.raises(CellrimError, match="every plane of one stack"):
        run(tmp_path / "planes", tmp_path / "a.ome.tif", "--from", "labels")


def test_images_are_found_whatever_their_suffix(folders):
    for path in (folders / "images").iterdir():
        path.rename(path.with_suffix(".ome.tif"))
    run(folders / "labels", folders / "all.csv")
    run(folders / "all.csv", folders / "out", "--to", "labels", "--image", folders / "images")
    assert len(list((folders / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("_rois.zip", "3 of 4 lie outside"),
        ("_cells.geojson", r"\(70, 90\)"),
        ("_coco.json", "shape"),
    ],
)
def test_cells_of_an_image_of_another_size(folders, ending, says):
    run(folders / "labels" / "ü_labels.tif", folders / f"a{ending}")
    with pytest.raises(CellrimError, match=says):
        run(folders / f"a{ending}", folders / "back.tif", "--shape", "20,20")
    assert not (folders / "back.tif").exists()


def test_overlay_and_table_take_the_image(folders):
    given = (folders / "labels", folders / "out", "--image", folders / "images")
    run(*given, "--to", "overlay")
    run(*given, "--to", "cells")
    assert len(list((folders / "out").glob("*_overlay.png"))) == 2
    assert "mean_grey" in (folders / "out" / "ü_cells.csv").read_text()


def test_names_in_files_do_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "evil.csv").write_text("id,predicted\n../../evil,1 2\n/etc/evil,1 2\n")
    given = (tmp_path / "evil.csv", tmp_path / "out", "--to", "labels", "--shape", "2,2")
    run(*given)
    written = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*_labels.tif")]
    assert sorted(written) == ["out/etc/evil_labels.tif", "out/evil_labels.tif"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{d}/none.tif", "{d}/x.zip"), "does not exist"),
        (("{d}/labels", "{d}/x.zip"), "Expected one image for"),
        (("{d}/labels", "{d}/x.doc"), r"x\.doc"),
        (("{d}/labels", "{d}/x", "--to", "nonsense"), "nonsense"),
        (("{d}/labels", "{d}/x", "--to", "overlay"), "--image"),
        (("{d}/labels", "{d}/x", "--from", "overlay", "--to", "coco"), "holds cells"),
        (("{d}/labels", "{d}/x", "--from", "rois", "--to", "coco"), r"\*_rois.zip"),
        (("{d}/labels", "{d}/x.json", "--shape", "3"), "520,704"),
    ],
)
def test_bad_usage(folders, arguments, says):
    with pytest.raises(CellrimError, match=says):
        run(*(a.replace("{d}", str(folders)) for a in arguments))


def test_the_size_is_asked_for(folders):
    run(folders / "labels" / "a b_labels.tif", folders / "a_rois.zip")
    with pytest.raises(CellrimError, match="--shape"):
        run(folders / "a_rois.zip", folders / "a.tif")
