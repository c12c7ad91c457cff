import pytest

from cellrim.datasets import open_dataset
from cellrim.datasets.registry import READERS, find_reader
from cellrim.errors import DatasetError, InputError


def test_each_reader_has_its_own_name():
    assert all(reader.name == name for name, reader in READERS.items())
    assert all(reader.title and reader.licence for reader in READERS.values())


def test_an_unknown_name_lists_the_choices(tmp_path):
    with pytest.raises(InputError, match=", ".join(READERS)):
        open_dataset(tmp_path, "bbbc099")


def test_an_unknown_layout_lists_the_choices(tmp_path):
    with pytest.raises(DatasetError, match=", ".join(READERS)):
        open_dataset(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="nothing"):
        open_dataset(tmp_path / "no")


def test_two_layouts_at_once_must_be_told_apart(tmp_path, write_tiff, outline):
    for folder in ("BBBC007_v1_images/A9/A9 p5d.tif", "BBBC009_v1_images/x-DIC.tif"):
        write_tiff(tmp_path / folder, outline)
    with pytest.raises(DatasetError, match="bbbc007, bbbc009"):
        open_dataset(tmp_path)
    assert find_reader(tmp_path, "bbbc009").name == "bbbc009"


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_readers_answer_for_any_path(reader, tmp_path, write_png, outline):
    file = write_png(tmp_path / "a.png", outline)
    assert not reader.matches(tmp_path)
    assert not reader.matches(file)
    assert not reader.matches(tmp_path / "no")


def test_each_real_data_set_has_one_format(real_data):
    names = {
        "BBBC007": "bbbc007",
        "BBBC009": "bbbc009",
        "BBBC030": "bbbc030",
        "BBBC041": "bbbc041",
        "sartorius": "sartorius",
    }
    for folder, name in names.items():
        roots = [
            p
            for p in (real_data / "seed" / folder, real_data / "seed" / folder / "malaria")
            if any(r.matches(p) for r in READERS.values())
        ]
        assert {find_reader(root).name for root in roots} == {name}
    for folder in (real_data / "plain").iterdir():
        if folder.is_dir():
            assert find_reader(folder).name == "pairs"
