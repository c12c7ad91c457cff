import numpy as np
import pytest

from cellrim.errors import InputError, OutputError
from cellrim.io.tables import read_csv, write_csv, write_parquet


def test_round_trip(tmp_path):
    columns = {
        "id": np.array([1, 5, 2**40]),
        "mean, of a": np.array([0.5, np.nan, 1e-9]),
        "name": np.array(["a,b", 'say "so"', "Zelle ü"]),
        "kept": np.array([True, False, True]),
    }
    path = tmp_path / "new" / "table.csv"
    write_csv(path, columns)
    back = read_csv(path)
    assert list(back) == list(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(back[name], values)
        assert back[name].dtype.kind == values.dtype.kind
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


def test_numbers_are_short(tmp_path):
    write_csv(
        tmp_path / "t.csv",
        {"a": np.array([0.9], np.float32), "b": np.array([1 / 3]), "c": np.array([1234.5])},
    )
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n0.9,0.3333333,1234.5\n"


def test_only_empty_fields_are_null_in_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    names = ["nan", "NA", "null", "new\nline", "-1.#IND", ""]
    columns = {"image": np.array(names, object), "mean": np.array([1, np.nan, np.inf, 2, 3, 4.0])}
    write_csv(tmp_path / "t.csv", columns)
    write_parquet(tmp_path / "t.parquet", tmp_path / "t.csv", kinds={"image": "string"})
    back = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert back == {"image": [*names[:-1], None], "mean": [1, None, np.inf, 2, 3, 4]}


def test_no_rows(tmp_path):
    write_csv(tmp_path / "t.csv", {"a": np.zeros(0), "b": np.zeros(0, int)})
    back = read_csv(tmp_path / "t.csv")
    assert [len(v) for v in back.values()] == [0, 0]


def test_foreign_files(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffid,x\r\n1,\r\n\r\n2,3e2\r\n".encode())
    back = read_csv(path)
    assert back["id"].tolist() == [1, 2]
    np.testing.assert_array_equal(back["x"], [np.nan, 300])


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), ("a,b\n1\n", "row 1"), (None, "Cannot read")]
)
def test_bad_files_are_named(tmp_path, text, words):
    path = tmp_path / "bad.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words) as info:
        read_csv(path)
    assert "bad.csv" in str(info.value)


def test_unequal_columns(tmp_path):
    with pytest.raises(InputError, match="equal length"):
        write_csv(tmp_path / "t.csv", {"a": np.zeros(2), "b": np.zeros(3)})
    assert not list(tmp_path.iterdir())


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_csv(tmp_path / "file" / "t.csv", {"a": np.zeros(2)})
