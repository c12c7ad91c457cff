import pytest

from cellrim.core.channels import channel_indices, parse_channel
from cellrim.errors import InputError

NAMES = ("DAPI", "actin", "Actin", "488")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("DAPI",), (0,)),
        (("dapi", 2), (0, 2)),
        (("Actin", "actin"), (2, 1)),  # the exact name before the one that differs in case
        ((488,), (3,)),
        ((3, 0), (3, 0)),
    ],
)
def test_channels_by_name_and_number(wanted, expected):
    assert channel_indices(NAMES, wanted) == expected


@pytest.mark.parametrize("wanted", [("ACTIN",), ("GFP",), (4,), (-1,), ("DAPI", 0), (0, 0)])
def test_unknown_ambiguous_and_repeated_channels_are_refused(wanted):
    with pytest.raises(InputError, match=r"0 DAPI, 1 actin|different channels"):
        channel_indices(NAMES, wanted)


def test_an_empty_channel_is_refused():
    with pytest.raises(InputError, match="nothing"):
        parse_channel(" ")
