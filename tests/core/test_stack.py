import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.core.stack import Index, Stack, stack_of
from cellrim.errors import InputError


def _stack(pixels, axes):
    """A stack of an array with the named axes in front of YX, and the reads it was asked for."""
    asked = []

    def read(index):
        asked.append(index)
        at = tuple(index.along(a) for a in axes)
        return image_from_array(pixels[at])

    return Stack(axes, pixels.shape[:-2], pixels.shape[-2:], ("grey",), read), asked


@pytest.mark.parametrize("axes", ["TZ", "ZT"])
def test_planes_come_in_the_order_of_the_file(axes):
    stack, _ = _stack(np.zeros((2, 3, 4, 5), np.uint8), axes)
    assert len(stack) == 6
    places = [(i.along(axes[0]), i.along(axes[1])) for i in stack.indices()]
    assert places == list(np.ndindex(2, 3))


@pytest.mark.parametrize("axes", ["TZ", "ZT", "Z"])
def test_projection_is_the_maximum_over_the_slices(axes):
    rng = np.random.default_rng(1)
    pixels = rng.random((2, 3, 4, 5)[4 - len(axes) - 2 :]).astype(np.float32)
    pixels[..., 0, 0] = np.nan
    pixels[(0,) * len(axes)][1, 1] = np.nan  # missing in one slice only
    stack, asked = _stack(pixels, axes)
    flat = stack.project("max")
    assert flat.axes == axes.replace("Z", "")
    assert asked == []
    with np.errstate(all="ignore"):
        expected = np.fmax.reduce(pixels, axis=axes.index("Z"))
    for index in flat.indices():
        at = tuple(index.along(a) for a in flat.axes)
        np.testing.assert_array_equal(flat.read(index).pixels[..., 0], expected[at])


def test_an_image_is_a_stack_of_one_plane():
    image = image_from_array(np.zeros((3, 4), np.uint8), pixel_size=0.5)
    stack = stack_of(image)
    assert (len(stack), stack.axes, stack.calibration.pixel_size) == (1, "", 0.5)
    assert stack.read(next(stack.indices())) is image
    assert stack.project("max") is stack


@pytest.mark.parametrize(("axes", "lengths"), [("C", (2,)), ("TT", (2, 2)), ("T", ()), ("T", (0,))])
def test_axes_that_do_not_fit_are_refused(axes, lengths):
    with pytest.raises(InputError, match="axes out of TZ"):
        Stack(axes, lengths, (2, 2), ("grey",), read=lambda _: None)


def test_unknown_projection_is_refused():
    with pytest.raises(InputError, match="'mean'"):
        stack_of(image_from_array(np.zeros((3, 4), np.uint8))).project("mean")


def test_an_index_counts_zero_along_missing_axes():
    assert Index(t=3).along("Z") == 0
