import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cellrim.core.image import image_from_array
from cellrim.core.labels import relabel, touching
from cellrim.errors import InputError, OutputError
from cellrim.io.overlay import (
    _colour_numbers,
    display,
    draw_overlay,
    outlines,
    write_png,
)

LABELS = arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 9)
)


def grey(shape, dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).integers(0, 200, shape)
    return image_from_array(values.astype(dtype))


@given(LABELS)
@settings(deadline=None)
def test_outline_lies_inside_and_where_a_neighbour_differs(labels):
    expected = np.zeros(labels.shape, bool)
    for y, x in np.argwhere(labels > 0):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            inside = 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1]
            expected[y, x] |= inside and labels[v, u] != labels[y, x]
    np.testing.assert_array_equal(outlines(labels), expected)


def test_wide_outline_is_an_erosion():
    labels = np.zeros((60, 60), np.int32)
    labels[10:50, 10:50] = 4
    inner = ndimage.binary_erosion(labels > 0, iterations=1)
    inner = ndimage.binary_erosion(inner, np.ones((3, 3)))
    inner = ndimage.binary_erosion(inner)
    np.testing.assert_array_equal(outlines(labels, width=3), (labels > 0) & ~inner)


def test_outline_is_open_at_the_frame():
    assert not outlines(np.ones((5, 5), np.int32), width=2).any()


def test_background_stays_as_displayed():
    labels = np.zeros((40, 40), np.int32)
    labels[5:20, 5:20] = 1
    labels[5:20, 20:35] = 7
    image = grey((40, 40))
    overlay = draw_overlay(image, labels)
    plain = display(image)
    line = outlines(labels)
    np.testing.assert_array_equal(overlay[~line], plain[~line])
    assert (overlay[10, 19] != overlay[10, 20]).any()
    assert (overlay[10, 5] == overlay[19, 10]).all()


@given(LABELS)
@settings(deadline=None)
def test_touching_pairs_are_all_found(labels):
    expected = set()
    for y, x in np.argwhere(labels > 0):
        block = labels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        expected |= {tuple(sorted((labels[y, x], n))) for n in block.ravel() if n > 0}
    expected = {p for p in expected if p[0] != p[1]}
    first, second = touching(labels)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected


@pytest.mark.parametrize("step", [1, 8, 5])
def test_touching_cells_have_different_colours(step):
    rng = np.random.default_rng(3)
    seeds = np.zeros((400, 400), np.int32)
    y, x = rng.integers(0, 400, (2, 900))
    seeds[y, x] = rng.permutation(900) * step + 1  # starts with clashes in plenty
    _, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    labels = seeds[tuple(nearest)]
    numbers = _colour_numbers(labels)
    first, second = touching(labels)
    assert len(first) > 2000
    assert (numbers[first] != numbers[second]).all()
    assert numbers.max() < 8


def test_ids_may_be_huge():
    labels = np.zeros((10, 10), np.int32)
    labels[2:8, 2:8] = 2**31 - 1
    assert draw_overlay(grey((10, 10)), labels).shape == (10, 10, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2), (1500, 2200)])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_every_size_and_number_of_channels(shape, channels):
    values = np.zeros((*shape, channels), np.uint16)
    labels = np.zeros(shape, np.int32)
    labels[0, 0] = 1
    overlay = draw_overlay(image_from_array(values, axes="YXC"), labels)
    assert overlay.shape == (*shape, 3)
    assert overlay.dtype == np.uint8


def test_line_is_wider_on_large_images_of_large_cells():
    labels = np.zeros((3000, 100), np.int32)
    labels[100:2900, 10:90] = 1
    image = image_from_array(np.zeros((3000, 100), np.uint8))
    overlay = draw_overlay(image, labels)
    assert (overlay[1500].any(axis=1)).sum() == 6


def test_dark_outlines_on_light_images():
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 1
    white = np.full((40, 40, 3), 255, np.uint8)
    light = draw_overlay(image_from_array(white, axes="YXC"), labels)
    dark = draw_overlay(image_from_array(white * 0, axes="YXC"), labels)
    assert light[10, 15].sum() < dark[10, 15].sum()


def test_rgb_of_eight_bits_stays():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    shown = display(image_from_array(pixels, axes="YXC"))
    np.testing.assert_array_equal(shown, pixels)
    shown[:] = 0
    assert pixels.any()


def test_two_channels_are_magenta_and_green():
    pixels = np.zeros((2, 100, 100), np.uint16)
    pixels[0, :, :50] = 4000
    pixels[1, :, 50:] = 100
    shown = display(image_from_array(pixels, axes="CYX"))
    assert shown[50, 10].tolist() == [255, 0, 255]
    assert shown[50, 90].tolist() == [0, 255, 0]


def test_grey_is_stretched_and_nan_is_black():
    pixels = np.linspace(1000, 2000, 10_000, dtype=np.float32).reshape(100, 100)
    pixels[0, 0] = np.nan
    shown = display(image_from_array(pixels))
    assert shown.min() == 0
    assert shown.max() == 255
    assert (shown[..., 0] == shown[..., 2]).all()


def test_sixteen_bit_rgb_keeps_its_hue():
    ramp = np.linspace(0, 1, 2000)[:, None, None]
    pixels = (ramp * np.array([4000, 2000, 0])).astype(np.uint16).reshape(40, 50, 3)
    shown = display(image_from_array(pixels, axes="YXC")).astype(float)
    bright = shown[..., 0] > 100
    assert np.abs(shown[bright, 1] / shown[bright, 0] - 0.5).max() < 0.05


def test_sizes_must_agree():
    with pytest.raises(InputError, match=r"\(4, 5\).*\(5, 4\)"):
        draw_overlay(grey((4, 5)), np.zeros((5, 4), np.int32))


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(tmp_path, shape, dtype):
    picture = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    path = tmp_path / "new" / "a.png"
    write_png(path, picture)
    np.testing.assert_array_equal(imagecodecs.png_decode(path.read_bytes()), picture)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_png_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="float32"):
        write_png(tmp_path / "a.png", np.zeros((3, 3), np.float32))
    with pytest.raises(InputError, match=r"\(3, 3, 4\)"):
        write_png(tmp_path / "a.png", np.zeros((3, 3, 4), np.uint8))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_png(tmp_path / "file" / "a.png", np.zeros((3, 3), np.uint8))


def test_relabelled_labels_draw_the_same_lines():
    labels = np.kron(
        np.arange(1, 10, dtype=np.int32).reshape(3, 3) * 100, np.ones((9, 9), np.int32)
    )
    image = grey(labels.shape)
    np.testing.assert_array_equal(draw_overlay(image, labels), draw_overlay(image, relabel(labels)))


def test_nuclei_have_the_colour_of_their_cell(cells):
    image = grey(cells.shape)
    nuclei = np.zeros_like(cells)
    for y, x in ((20, 20), (20, 45), (50, 70)):
        nuclei[y - 3 : y + 4, x - 3 : x + 4] = cells[y, x]
    nuclei[60:68, 40:48] = cells.max() + 1  # in no cell
    plain, both = draw_overlay(image, cells), draw_overlay(image, cells, nuclei=nuclei)
    line = outlines(nuclei)
    np.testing.assert_array_equal(both[~line], plain[~line])
    rims = outlines(cells)
    for k in np.unique(cells[nuclei > 0]):
        if k:
            colour = plain[rims & (cells == k)][0]
            assert (both[line & (nuclei == k)] == colour).all()
    assert (both[line & (nuclei > cells.max())] == 255).all()
    with pytest.raises(InputError, match="shape"):
        draw_overlay(image, cells, nuclei=nuclei[1:])
