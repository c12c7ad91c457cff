import json
import re
from html.parser import HTMLParser

import pytest

from cellrim.report.page import (
    PICTURES_BYTES,
    Card,
    Section,
    grid,
    picture_budget,
    read_cards,
    table,
    write_page,
)
from cellrim.report.pictures import Picture

EVIL = "</script><script>alert(1)</script> <b>&\" '\u2028 \n ünï"


def card(name="a", **changes):
    values = {"facts": {}, "caption": "", "order": {}}
    return Card(name, **(values | changes))


def write(path, cards, **changes):
    values = {
        "title": "A title",
        "tiles": {"cells": "3\n1 to 5"},
        "before": [],
        "gallery": "Images",
    }
    write_page(path, cards=cards, **(values | changes))
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_nothing_comes_from_outside(tmp_path):
    text = write(tmp_path / "r.html", [card()])
    parser = Tags()
    parser.feed(text)
    names = [tag for tag, _ in parser.tags]
    assert names.count("script") == 2
    assert "link" not in names
    for _, attributes in parser.tags:
        assert not {"src", "href"} & set(attributes)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)


def test_names_are_text_and_never_code(tmp_path):
    cards = [card(EVIL, facts={EVIL: EVIL}, flags=(EVIL,), error=EVIL, keep={"x": EVIL})]
    text = write(
        tmp_path / "r.html",
        cards,
        title=EVIL,
        tiles={EVIL: EVIL},
        before=[Section(EVIL, table({EVIL: EVIL}) + grid((EVIL,), [(EVIL,)]))],
    )
    parser = Tags()
    parser.feed(text)
    assert [tag for tag, _ in parser.tags].count("script") == 2
    [read] = read_cards(tmp_path / "r.html")
    assert read == json.loads(json.dumps(cards[0].as_json()))


def test_what_was_written_is_read_again(tmp_path):
    picture = Picture(3, 4, "QUJD", {"cells": "REVG"})
    write(tmp_path / "r.html", [card("a", picture=picture, keep=1), card("b", well="A01")])
    first, second = read_cards(tmp_path / "r.html")
    assert first["picture"] == {
        "width": 3, "height": 4, "image": "QUJD", "layers": {"cells": "REVG"},
    }  # fmt: skip
    assert first["keep"] == 1
    assert second["picture"] is None
    assert second["well"] == "A01"


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xfe", b"cards"])
def test_what_is_no_page_has_no_cards(tmp_path, data):
    (tmp_path / "r.html").write_bytes(data)
    assert read_cards(tmp_path / "r.html") == []
    assert read_cards(tmp_path / "none.html") == []
    torn = write(tmp_path / "t.html", [card()])
    (tmp_path / "t.html").write_text(torn[: torn.index("]</script>")])
    assert read_cards(tmp_path / "t.html") == []


def test_the_page_has_a_largest_size(tmp_path):
    large = Picture(1, 1, "A" * (PICTURES_BYTES // 4), {})
    text = write(tmp_path / "r.html", [card(str(k), picture=large) for k in range(6)])
    assert len(text) < PICTURES_BYTES + 100_000
    kept = [c["picture"] is not None for c in read_cards(tmp_path / "r.html")]
    assert kept == [True] * 4 + [False] * 2


def test_budgets_of_a_thousand_images_fit_together():
    for images in (0, 1, 400, 1000, 6000):
        assert images * picture_budget(images) <= PICTURES_BYTES
