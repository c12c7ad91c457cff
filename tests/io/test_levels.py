import numpy as np
import pytest

from cellrim.io.levels import Level


@pytest.fixture
def level():
    labels = np.random.default_rng(0).integers(0, 99, (37, 52)).astype(np.uint32)

    def read(y, x):
        return labels[16 * y : 16 * y + 16, 16 * x : 16 * x + 16]

    return Level(labels.shape, 16, read), labels


@pytest.mark.parametrize("window", [np.s_[0:37, 0:52], np.s_[3:30, 15:17], np.s_[36:37, 40:52]])
def test_a_window_over_squares(level, window):
    found = level[0].window(*window)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, level[1][window])


@pytest.mark.parametrize("step", [1, 2, 5, 16, 17, 60])
def test_thinned_over_squares(level, step):
    np.testing.assert_array_equal(level[0].thinned(step), level[1][::step, ::step])
