"""The page itself: one HTML file that needs nothing else, neither a network nor a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from cellrim.io.atomic import atomic_path
from cellrim.report.pictures import Picture

PICTURES_BYTES = 24_000_000
"""Characters that the pictures of one page take at most; images beyond it have none."""
LEAST_BYTES = 4_000
"""Characters a picture may take however many images there are."""
MOST_BYTES = 60_000
"""Characters a picture takes at most however few images there are."""

_CARDS = '<script type="application/json" id="cards">'
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Card:
    """One image of the gallery.

    Parameters
    ----------
    name
        Shown, and searched.
    facts
        Label to text, shown with the large picture.
    caption
        Short, below the small picture.
    order
        What the gallery can be sorted by: name of the order to number.
    picture
        None where there is none.
    flags, sentences
        What is wrong with the image, short and in words.
    error
        Why there is no result.
    links
        Text to a file beside the page.
    plate, well
        Where the image was taken.
    keep
        What whoever makes the page wants to find again with :func:`read_cards`.
    """

    name: str
    facts: Mapping[str, str]
    caption: str
    order: Mapping[str, float | None]
    picture: Picture | None = None
    flags: Sequence[str] = ()
    sentences: Sequence[str] = ()
    error: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    plate: str | None = None
    well: str | None = None
    keep: Any = None

    def as_json(self) -> dict[str, Any]:
        """As the page's script reads it."""
        return {
            "name": self.name,
            "facts": dict(self.facts),
            "caption": self.caption,
            "order": dict(self.order),
            "picture": self.picture and self.picture.as_json(),
            "flags": list(self.flags),
            "sentences": list(self.sentences),
            "error": self.error,
            "links": dict(self.links),
            "plate": self.plate,
            "well": self.well,
            "keep": self.keep,
        }


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a heading and HTML that is safe already."""

    title: str
    body: str


def picture_budget(images: int) -> int:
    """Characters one picture may take, so that a page of so many images stays quick to open."""
    return max(LEAST_BYTES, min(MOST_BYTES, PICTURES_BYTES // max(images, 1)))


def write_page(
    path: Path,
    *,
    title: str,
    tiles: Mapping[str, str],
    before: Sequence[Section],
    gallery: str,
    legend: str = "",
    cards: Sequence[Card],
    card_width: int = 220,
    after: Sequence[Section] = (),
) -> None:
    """Write a report, whole or not at all.

    Parameters
    ----------
    path
        Where to.
    title
        Of the page.
    tiles
        Large numbers at the top: label to text; after a line break, in small letters.
    before, after
        Sections around the gallery.
    gallery
        Heading of the gallery.
    legend
        HTML above the gallery.
    cards
        In the order in which they are shown, which should be the worst first. Pictures beyond
        :data:`PICTURES_BYTES` are left out.
    card_width
        Width of a card in pixels, to begin with; 120 to 600.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    controls = _asset("gallery.html").replace("value=220", f"value={card_width}")
    parts = [
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n',
        '<meta name=viewport content="width=device-width, initial-scale=1">\n',
        f"<title>{escape(title)}</title>\n<style>\n{_asset('style.css')}</style>\n</head>\n",
        f"<body>\n<header><h1>{escape(title)}</h1>",
        '<button id=theme type=button aria-label="Light or dark">Light / dark</button></header>\n',
        f"<main>\n<ul class=tiles>{_tiles(tiles)}</ul>\n",
        *map(_section, before),
        _section(Section(gallery, legend + controls)),
        *map(_section, after),
        "</main>\n",
        _asset("dialog.html"),
        f"{_CARDS}[\n{_lines(cards)}\n]</script>\n",
        f"<script>\n{_asset('gallery.js')}</script>\n</body>\n</html>\n",
    ]
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(parts)


def read_cards(path: Path) -> list[dict[str, Any]]:
    """Read the cards of a page that :func:`write_page` wrote.

    Returns
    -------
    list of dict
        As :meth:`Card.as_json`; empty where there is no such page.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found = re.search(re.escape(_CARDS) + "(.*?)</script>", text, re.DOTALL)
    try:
        cards = json.loads(found[1]) if found else []
    except ValueError:
        return []
    return [card for card in cards if isinstance(card, dict)]


def table(rows: Mapping[str, str]) -> str:
    """Return a table of two columns: label and text."""
    body = "".join(
        f"<tr><th scope=row>{escape(label)}</th><td>{escape(text)}</td></tr>"
        for label, text in rows.items()
    )
    return f"<table class=facts>{body}</table>"


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a header line; the first column is text, the others are numbers."""
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<div class=scroll><table class=grid><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _tiles(tiles: Mapping[str, str]) -> str:
    items = []
    for label, text in tiles.items():
        large, _, small = text.partition("\n")
        more = f"<small>{escape(small)}</small>" if small else ""
        items.append(f"<li><b>{escape(large)}</b><span>{escape(label)}</span>{more}</li>")
    return "".join(items)


def _section(section: Section) -> str:
    return f"<section><h2>{escape(section.title)}</h2>\n{section.body}\n</section>\n"


def _lines(cards: Sequence[Card]) -> str:
    """One card per line; "<" must not end the script element that holds them."""
    left, lines = PICTURES_BYTES, []
    for card in cards:
        value = card.as_json()
        size = card.picture.size if card.picture else 0
        if size > left:
            value["picture"] = None
        else:
            left -= size
        lines.append(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
    return ",\n".join(lines)


def _asset(name: str) -> str:
    return resources.files("cellrim.report").joinpath("assets", name).read_text(encoding="utf-8")
