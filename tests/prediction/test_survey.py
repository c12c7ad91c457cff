import numpy as np
import pytest

from cellrim.core.image import Image
from cellrim.core.normalise import measure_range
from cellrim.prediction.survey import survey


@pytest.fixture
def planes():
    """One of its own, a constant, a copy of the first, and one that differs in one pixel."""
    own = np.arange(90 * 70, dtype=np.uint16).reshape(90, 70) * np.uint16(9)
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


def test_a_channel_of_noise_is_left_out_where_another_shows_more(spots):
    noise = np.random.default_rng(0).normal(20, 3, spots.shape).astype(np.uint8)
    both = Image(np.dstack([noise, spots, noise[::-1]]), ("empty", "DNA", "empty too"))
    assert survey(both, (0, 1, 2)).showing == (1,)
    assert survey(both, (0, 2)).showing == (0, 2)


def test_the_noise_goes_with_its_channel(spots):
    noisy = (spots + np.random.default_rng(0).normal(30, 9, spots.shape)).clip(0, 255)
    noisy = noisy.astype(np.uint8)
    seen = survey(Image(np.dstack([spots, noisy]), ("a", "b")), (0, 1))
    assert seen.of((1, 0)).noise == seen.noise[::-1]
    assert seen.of((1,)).intensity((1,)) == seen.intensity((1,))
