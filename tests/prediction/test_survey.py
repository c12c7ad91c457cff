import numpy as np
import pytest

from cellrim.core.image import Image
from cellrim.core.normalise import measure_range
from cellrim.prediction.survey import survey


@pytest.fixture
def planes():
    """One of its own, a constant, a copy of the first, and one that differs in one pixel."""
    own = np.random.default_rng(0).integers(0, 60000, (90, 70), np.uint16)
    near = own.copy()
    near[83, 65] += 1
    return np.stack([own, np.full_like(own, 7), own, near], axis=2)


@pytest.mark.parametrize("edge", [16, 64, 2048])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_shows_and_its_range_whatever_the_parts(planes, edge, dtype, monkeypatch):
    monkeypatch.setattr("cellrim.prediction.survey._EDGE", edge)
    monkeypatch.setattr("cellrim.core.normalise.MAX_MEASURED_PIXELS", 900)
    pixels = planes.astype(dtype)
    if dtype == np.float32:
        pixels[3, 4, [0, 2]] = np.nan
    told = []
    seen = survey(
        Image(pixels, tuple("abcd")), (3, 2, 1, 0), report=lambda *parts: told.append(parts)
    )
    assert seen.showing == (3, 2)
    assert seen.constant == {1}
    assert seen.copies == {(0, 2)}
    assert seen.intensity((0, 3)) == measure_range(pixels[..., [0, 3]])
    assert told[-1] == (len(told), len(told))
    negative = measure_range(60000 - pixels[..., :1])
    exchanged = seen.intensity((0,), inverted=True)
    assert exchanged.low > exchanged.high
    span = negative.high[0] - negative.low[0]
    assert exchanged.low[0] - exchanged.high[0] == pytest.approx(span)


def test_the_negative_of_a_few_bright_cells_on_a_constant_ground():
    pixels = np.full((100, 100, 1), 9, np.uint8)
    pixels[:3, :3] = 200
    seen = survey(Image(pixels, ("a",)), (0,))
    assert (seen.intensity((0,)).low, seen.intensity((0,)).high) == ((9.0,), (200.0,))
    assert seen.intensity((0,), inverted=True).low == (200.0,)
    assert seen.intensity((0,), inverted=True).high == (9.0,)
