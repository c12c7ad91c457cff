import numpy as np
import pytest

from cellrim.core.noise import NoiseTally
from cellrim.core.normalise import LEAST_CONTRAST, range_of


def deviations(*parts):
    tally = NoiseTally((sum(map(len, parts)), parts[0].shape[1]), range(parts[0].shape[2]))
    for part in parts:
        tally.add(part)
    return tally.deviations


@pytest.mark.parametrize("deviation", [2.0, 30.0])
def test_the_noise_is_measured_over_cells_and_gradients(deviation):
    y, x = np.mgrid[:400, :300]
    cells = 2000.0 * (np.hypot(y % 40 - 20, x % 40 - 20) < 12) + 3 * y + 500
    noise = np.random.default_rng(0).normal(0, deviation, cells.shape)
    two = np.dstack([500 + 3.0 * y, cells]) + noise[..., None]
    smooth, edges = deviations(two)
    assert smooth == pytest.approx(deviation, rel=0.05)
    assert edges == pytest.approx(deviation, rel=0.3)
    assert deviations(two[:200], two[200:]) == pytest.approx((smooth, edges), rel=0.05)


def test_what_is_not_finite_or_too_small_is_left_out():
    plane = np.random.default_rng(0).normal(size=(100, 100, 1)).astype(np.float32)
    expected = deviations(plane)
    plane[50, 50], plane[7, 9] = np.nan, np.inf
    assert deviations(plane) == pytest.approx(expected, rel=0.02)
    assert deviations(np.ones((2, 50, 1))) == (0.0,)
    assert deviations(np.ones((50, 2, 1), np.uint8)) == (0.0,)


def test_the_range_of_noise_is_not_stretched_over_all():
    rng = np.random.default_rng(0)
    noise = rng.normal(100, 5, (256, 256))
    wide = range_of([noise], noise=[5.0])
    assert wide.high[0] - wide.low[0] == pytest.approx(5 * LEAST_CONTRAST)
    share = (100 - wide.low[0]) / (wide.high[0] - wide.low[0])
    narrow = range_of([noise])
    assert share == pytest.approx(
        (100 - narrow.low[0]) / (narrow.high[0] - narrow.low[0]), abs=0.01
    )
    cells = np.where(rng.random(noise.shape) < 0.1, noise + 300, noise)
    assert range_of([cells], noise=[5.0]) == range_of([cells])
    exchanged = range_of([-noise], inverted=True, noise=[5.0])
    assert (exchanged.low[0], exchanged.high[0]) == pytest.approx((-wide.low[0], -wide.high[0]))
