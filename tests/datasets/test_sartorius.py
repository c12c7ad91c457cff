import numpy as np
import pytest

from cellrim.datasets import open_dataset
from cellrim.errors import DatasetError
from cellrim.io.rle import encode_sartorius

COLUMNS = "id,annotation,width,height,cell_type,plate_time,sample_date,sample_id,elapsed_timedelta"


@pytest.fixture
def archive(tmp_path, write_png):
    """Two annotated images of 8 x 10 pixels and one for the test; returns folder and row maker."""
    pixels = np.arange(80, dtype=np.uint8).reshape(8, 10)
    for path in ("train/aa.png", "train/bb.png", "test/tt.png"):
        write_png(tmp_path / path, pixels)
    return tmp_path


def row(image, runs, *, size=(10, 8), sample_id=""):
    return f"{image},{runs},{size[0]},{size[1]},shsy5y,,,{sample_id},"


def write_table(folder, *rows):
    (folder / "train.csv").write_text("\r\n".join((COLUMNS, *rows)) + "\r\n")


def test_whole(archive):
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:7] = True
    write_table(archive, row("aa", encode_sartorius(mask)), row("bb", "1 1"), row("bb", "80 1"))
    listing = open_dataset(archive)
    assert (listing.dataset, listing.problems) == ("sartorius", ())
    a, b, t = listing.samples
    assert [(s.name, s.kind) for s in (a, b, t)] == [("aa", "rle"), ("bb", "rle"), ("tt", "none")]
    np.testing.assert_array_equal(a.read_truth().labels, mask)
    labels = b.read_truth().labels
    assert (labels[0, 0], labels[-1, -1], labels.astype(bool).sum()) == (1, 2, 2)
    assert a.modality == "phase-contrast"
    assert a.read_image().pixels.shape == (8, 10, 1)


def test_a_pixel_belongs_to_the_first_row_that_has_it(archive):
    write_table(archive, row("aa", "1 5"), row("aa", "4 5"), row("aa", "2 2"), row("aa", "11 1"))
    labels = open_dataset(archive, "sartorius").samples[0].read_truth().labels
    # The third row is covered by the first and has no id, the fourth follows without a gap.
    assert labels[0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2, 0, 0]
    assert labels[1, 0] == 3
    assert labels.max() == 3


def test_holes_are_kept(archive):
    ring = np.zeros((8, 10), bool)
    ring[1:6, 1:6] = True
    ring[2:5, 2:5] = False
    inner = np.zeros((8, 10), bool)
    inner[3, 3] = True
    write_table(archive, row("aa", encode_sartorius(ring)), row("aa", encode_sartorius(inner)))
    labels = open_dataset(archive).samples[0].read_truth().labels
    np.testing.assert_array_equal(labels == 1, ring)
    np.testing.assert_array_equal(labels == 2, inner)


def test_groups_are_samples_where_the_column_is_filled(archive):
    well = "shsy5y[diff]_E10-4_Vessel-714_Ph_3"
    write_table(archive, row("aa", "1 1"), row("aa", "3 1", sample_id=well), row("bb", "1 1"))
    groups = [s.group for s in open_dataset(archive).samples]
    assert groups == [well, "bb", "tt"]


def test_an_empty_annotation_is_an_image_without_cells(archive):
    write_table(archive, row("aa", ""), row("bb", "1 1"))
    sample = open_dataset(archive).samples[0]
    assert sample.kind == "rle"
    assert not sample.read_truth().labels.any()


def test_a_table_without_rows_is_an_archive_without_annotation(archive):
    write_table(archive)
    listing = open_dataset(archive)
    assert listing.problems == ()
    assert {s.kind for s in listing.samples} == {"none"}
    assert len(listing.samples) == 3


def test_what_is_wrong_is_named_and_the_rest_goes_on(archive, write_png):
    pixels = np.zeros((8, 10), np.uint8)
    for name in ("norow", "twosizes", "othersize"):
        write_png(archive / f"train/{name}.png", pixels)
    (archive / "train/broken.png").write_bytes(b"\x89PNG")
    write_table(
        archive,
        row("aa", "1 1"),
        row("gone", "1 1"),
        row("gone", "2 1"),
        row("twosizes", "1 1"),
        row("twosizes", "2 1", size=(10, 9)),
        row("othersize", "2 1", size=("ten", "")),
        row("broken", "1 1"),
    )
    listing = open_dataset(archive)
    assert [s.name for s in listing.samples] == ["aa", "tt"]
    reasons = {p.record: p.reason for p in listing.problems}
    assert sorted(reasons) == ["bb", "broken", "gone", "norow", "othersize", "twosizes"]
    assert reasons["gone"] == "It has 2 rows in train.csv, no pixels."
    assert "no row" in reasons["norow"]


@pytest.mark.parametrize(
    ("runs", "words"), [("1 2 3", "odd"), ("80 2", "within"), ("5 3 6 1", "overlap")]
)
def test_a_malformed_row_is_named_by_its_place(archive, runs, words):
    write_table(archive, row("aa", "1 1"), row("aa", runs))
    with pytest.raises(DatasetError, match=rf"Cell 2: .*{words}"):
        open_dataset(archive).samples[0].read_truth()


def test_other_tables_do_not_match(archive):
    (archive / "train.csv").write_text("id,label\naa,1\n")
    with pytest.raises(DatasetError, match="layout of none"):
        open_dataset(archive)
    (archive / "train.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="layout of none"):
        open_dataset(archive)
    with pytest.raises(DatasetError, match="Cannot read"):
        open_dataset(archive, "sartorius")


def test_real(real_data):
    listing = open_dataset(real_data / "seed/sartorius")
    assert {s.name for s in listing.samples} >= {"7ae19de7bc2a", "d48ec7815252", "d8bfd1dafdc4"}
    assert {s.read_image().shape for s in listing.samples} == {(520, 704)}
