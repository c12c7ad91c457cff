import pytest

from cellrim.report.plates import Well, find_wells, plate_format


@pytest.mark.parametrize(
    ("stem", "row", "column"),
    [
        ("A01", 0, 0),
        ("P24", 15, 23),
        ("AF48", 31, 47),
        ("exp_B2_s1", 1, 1),
        ("exp B-02 DAPI", 1, 1),
        ("20260101_C04f03d0", 2, 3),
        ("r02c03f01p01-ch1sk1fk1fl1", 1, 2),
        ("H12_w1", 7, 11),
        ("P1_B2_w1", 1, 1),
        ("P2_P03", 15, 2),
    ],
)
def test_names_of_many_microscopes(stem, row, column):
    wells = find_wells([stem, "D05", "D06"])
    assert (wells[stem].row, wells[stem].column) == (row, column)


@pytest.mark.parametrize(
    "names",
    [
        ["cho01", "cho02", "cho03"],
        ["A9 p10d", "A9 p5d", "A9 p7d"],  # BBBC007: the folder, not a well
        ["img1", "img2", "A01"],
        ["T98G_1", "T98G_2"],
        ["A00", "A99"],
        ["10779-DNA", "10780-DNA"],
        [],
    ],
)
def test_what_looks_like_a_well_and_is_none(names):
    assert find_wells(names) == {}


def test_sites_share_a_well_and_plates_do_not():
    names = [f"run/{p}_{w}_s{s}" for p in ("P1", "P2") for w in ("A01", "B02") for s in (1, 2)]
    wells = find_wells(names)
    assert len(set(wells.values())) == 4
    assert wells["run/P1_A01_s1"] == wells["run/P1_A01_s2"] == Well("run/P1", 0, 0)
    assert wells["run/P2_B02_s1"] == Well("run/P2", 1, 1)


def test_a_running_number_before_the_well_is_no_plate():
    wells = find_wells(["001_A01", "002_A02", "003_A03"])
    assert {w.plate for w in wells.values()} == {""}


def test_plate_formats():
    assert plate_format([Well("", 0, 0)]) == (2, 3)
    assert plate_format([Well("", 8, 0)]) == (16, 24)
    assert plate_format([Well("", 31, 47)]) == (32, 48)
