import re
import xml.etree.ElementTree as ET

import numpy as np

from cellrim.report.charts import Line, curves, histogram, nice_ticks, plate_map, short
from cellrim.report.plates import Well


def parsed(svg):
    return ET.fromstring(svg)


def test_the_bars_hold_all_values():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(20, 4, 500), [1e6, np.nan]])
    svg = histogram(values, np.full(502, 2.0), label="a < b")
    root = parsed(svg)
    counts = [float(t.text.split(": ")[1]) for t in root.iter("title")]
    assert sum(counts) == 1002
    # One value far away must not squeeze the others into one bar.
    assert sum(c > 0 for c in counts) > 10
    assert root.attrib["aria-label"] == "a < b"


def test_one_value_negative_values_and_none():
    for values in ([5.0], [-3.0, -1.0], [0.0, 0.0], [np.nan, 2.0]):
        parsed(histogram(np.array(values), np.ones(len(values)), label="x"))
    assert "nothing was measured" in histogram(np.array([np.nan]), np.ones(1), label="x")


def test_ticks_cover_the_range_in_round_steps():
    for low, high in ((0, 1), (-3, 7), (0.02, 0.03), (0, 65535), (5, 5), (0, 0)):
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low
        assert ticks[-1] >= high
        assert 2 <= len(ticks) <= 9
        np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_curves_lie_where_their_values_are():
    y = np.linspace(1, 0, 10)
    svg = curves(np.linspace(0.5, 0.95, 10), [Line("<all>", y, y, y), Line("b", y)], label="IoU")
    assert svg.count("<polyline") == 2
    assert svg.count("<polygon") == 1
    assert "&lt;all&gt;" in svg
    first = re.search(r'main" points="([^"]+)"', svg)[1].split()
    heights = [float(p.split(",")[1]) for p in first]
    assert heights == sorted(heights)


def test_a_plate_shows_every_well_and_its_value():
    values = {Well("p<1>", 0, 0): 1.0, Well("p<1>", 7, 11): 3.0, Well("p<1>", 1, 1): float("nan")}
    root = parsed(plate_map(values, label="cells", low=1.0, high=3.0))
    groups = list(root.iter("g"))
    assert [g.attrib["data-well"] for g in groups] == ["A01", "H12", "B02"]
    assert groups[0].attrib["data-plate"] == "p<1>"
    opacity = [float(g.find("rect").attrib["fill-opacity"]) for g in groups]
    assert opacity == [0.08, 1.0, 0.08]
    empty = [r for r in root.iter("rect") if r.attrib["class"] == "well none"]
    assert len(empty) == 96


def test_short_numbers_stay_short():
    for value in (0, 0.001234, 9.87, 123.4, 9999, 12345, 1.5e6, 3e9, -42):
        assert len(short(float(value))) <= 6
