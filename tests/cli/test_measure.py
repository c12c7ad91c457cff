import csv

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from cellrim.cli.main import app
from cellrim.errors import UsageError
from cellrim.io.labels import write_labels
from cellrim.io.tables import read_csv


@pytest.fixture
def folders(tmp_path, cells, picture, write_tiff):
    for name in ("a b", "sub/ü"):
        write_labels(tmp_path / "labels" / f"{name}_labels.tif", cells)
        write_tiff(tmp_path / "images" / f"{name}.tif", picture)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["measure", *map(str, arguments)])


def test_folders_are_paired_by_name(folders):
    out = folders / "out" / "all.parquet"
    given = (folders / "labels", "--image", folders / "images", "--pixel-size", 0.5, "-o", out)
    result = run(*given)
    assert result.exit_code == 0
    table = read_csv(out.with_suffix(".csv"))
    assert table["image"].tolist() == ["a b"] * 4 + ["sub/ü"] * 4
    np.testing.assert_allclose(table["area_um2"], table["area"] / 4)
    images = read_csv(out.parent / "all_images.csv")
    assert images["cells"].tolist() == [4, 4]
    assert images["cells_per_mm2"][0] == pytest.approx(4 / (70 * 90 * 0.25e-6))
    assert images["quality_cell_diameter"][0] == pytest.approx(np.median(table["diameter"][:4]))
    assert np.isnan(images["quality_certainty"]).all()
    from pyarrow import parquet

    same = parquet.read_table(out)
    assert same["image"].to_pylist() == table["image"].tolist()
    np.testing.assert_allclose(same["mean_grey"], table["mean_grey"])
    assert same.schema.field("touches_border").type == "bool"


def test_images_are_found_whatever_their_suffix(folders):
    for path in (folders / "images").rglob("*.tif"):
        path.rename(path.with_suffix(".ome.tif"))
    result = run(folders / "labels", "--image", folders / "images", "-o", folders / "t.csv")
    assert result.exit_code == 0
    assert "2 images, 8 cells" in result.stdout


def test_one_bad_file_does_not_stop_the_rest(folders, cells):
    write_labels(folders / "labels" / "sub" / "ü_labels.tif", cells[:-1])
    write_labels(folders / "labels" / "alone_labels.tif", cells)
    out = folders / "t.csv"
    result = run(folders / "labels", "--image", folders / "images", "-o", out)
    assert result.exit_code == 1
    assert "alone: failed. Expected one file of image" in result.stderr
    assert "sub/ü: failed. Expected labels of the image's shape" in result.stderr
    assert len(read_csv(out)["id"]) == 4
    with (folders / "t_images.csv").open(encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["ok", "failed"]


def test_every_plane_of_a_stack_is_measured(tmp_path, cells):
    labels = np.stack([cells, np.where(cells > 2, cells, 0)])
    pixels = (labels * 10 + 1).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.ome.tif", pixels, metadata={"axes": "TYX"})
    write = {"metadata": {"axes": "TYX"}, "ome": True, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "m_labels.tif", labels.astype(np.uint16), **write)
    out = tmp_path / "t.csv"
    done = run(tmp_path / "m_labels.tif", "--image", tmp_path / "m.ome.tif", "-o", out)
    assert done.exit_code == 0, done.output
    table = read_csv(out)
    assert table["t"].tolist() == [0, 0, 0, 0, 1, 1]
    assert table["id"].tolist() == [1, 2, 3, 4, 3, 4]
    np.testing.assert_array_equal(table["mean_grey"], table["id"] * 10 + 1)
    images = read_csv(tmp_path / "t_images.csv")
    assert (images["planes"][0], images["cells"][0]) == (2, 6)
    for planes, got in ((labels[:1], "but got 1"), (labels[[0, 1, 1]], "but got more")):
        tifffile.imwrite(tmp_path / "m_labels.tif", planes.astype(np.uint16), **write)
        done = run(tmp_path / "m_labels.tif", "--image", tmp_path / "m.ome.tif", "-o", out)
        assert done.exit_code == 1
        assert f"Expected labels of 2 planes in {tmp_path / 'm_labels.tif'}, {got}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{d}/labels", "--image", "{d}/images", "-o", "{d}/t.xls"), "*.csv or *.parquet"),
        (("{d}/labels", "--image", "{d}/none", "-o", "{d}/t.csv"), "none does not exist"),
        (("{d}/labels", "--image", "{d}/images/a b.tif", "-o", "{d}/t.csv"), "all to be folders"),
        (("{d}/labels", "--image", "{d}/labels/sub", "-o", "{d}/t.csv"), "has none"),
        (
            ("{d}/labels", "--image", "{d}/images", "-o", "{d}/t.csv", "--pixel-size", "0"),
            "between 0.0001 and 1000 micrometres",
        ),
        (
            ("{d}/labels", "--image", "{d}/images", "-o", "{d}/t.csv", "--pixel-size", "1e6"),
            "between 0.0001 and 1000 micrometres",
        ),
    ],
)
def test_bad_usage(folders, arguments, says):
    result = run(*(a.replace("{d}", str(folders)) for a in arguments))
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)
