import pytest

from cellrim.server.forms import DEFAULT_FORM, DEFAULT_FORMS, FORMS, form_accepted
from cellrim.server.problems import ApiError


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("", DEFAULT_FORM),
        ("*/*", DEFAULT_FORM),
        ("image/png", "label-png"),
        ("IMAGE/TIFF", "label-tiff"),
        ("text/*", "cells-csv"),
        ("application/json;q=0.1, text/csv;q=0.2", "cells-csv"),
        ("video/mp4, */*;q=0.1", DEFAULT_FORM),
        ("image/tiff;q=0, text/csv", "cells-csv"),
        ("image/tiff;q=nonsense, text/csv;q=0.1", "cells-csv"),
    ],
)
def test_accept(accept, name):
    assert form_accepted(accept) == name


@pytest.mark.parametrize("accept", ["video/mp4", "image/tiff;q=0", "garbage"])
def test_nothing_acceptable(accept):
    with pytest.raises(ApiError) as caught:
        form_accepted(accept)
    assert caught.value.status == 406


def test_endings_differ():
    endings = [form.ending for form in FORMS.values()]
    assert len(set(endings)) == len(endings)
    assert set(DEFAULT_FORMS) <= set(FORMS)
