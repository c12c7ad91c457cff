import warnings

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from cellrim.core.image import image_from_array
from cellrim.errors import InputError, ModelError
from cellrim.prediction import Result, Segmenter, load_model
from cellrim.prediction.scale import VIEW_PIXELS
from cellrim.representation.flow import DecodeOptions

CANONICAL = 16.0


@pytest.fixture
def backend(oracle):
    return oracle(CANONICAL)


@pytest.fixture
def segmenter(backend, card_with):
    return Segmenter(backend, card_with(canonical_diameter=CANONICAL))


def _truth(pixels):
    return ndimage.label(pixels > 100)


def _same_partition(a, b):
    pairs = {tuple(p) for p in np.stack([a.ravel(), b.ravel()], axis=1)}
    return len(pairs) == len({p[0] for p in pairs}) == len({p[1] for p in pairs})


def test_at_scale_one_the_truth_comes_back(segmenter, discs):
    pixels = discs((200, 300), 8)
    truth, count = _truth(pixels)
    result = segmenter.segment(pixels, diameter=CANONICAL)
    assert isinstance(result, Result)
    assert result.count == count
    assert result.labels.dtype == np.int32
    assert result.labels.shape == pixels.shape
    assert _same_partition(result.labels, truth)
    assert result.confidence.shape == (count,)
    assert (result.confidence > 0.8).all()
    assert result.diameter == CANONICAL


@pytest.mark.parametrize(
    ("estimate", "used"), [(1.05, 1.0), (0.95, 1.0), (1.07, 1.07), (0.93, 0.93)]
)
def test_pixels_are_left_as_they_are_where_the_scale_is_about_one(
    segmenter, discs, monkeypatch, estimate, used
):
    monkeypatch.setattr("cellrim.prediction.segmenter.estimate_scale", lambda *_, **__: estimate)
    prediction = segmenter.predict(image_from_array(discs((200, 300), 8)))
    assert prediction.diameter == pytest.approx(CANONICAL / used)
    assert prediction.maps.shape[1:] == (round(200 * used), round(300 * used))


@pytest.mark.parametrize("radius", [3, 5, 8, 15, 40, 100])
def test_the_scale_is_found_and_labels_have_the_size_of_the_input(segmenter, discs, radius):
    pixels = discs((min(900, 40 * radius), min(1100, 50 * radius)), radius)
    truth, count = _truth(pixels)
    result = segmenter.segment(pixels)
    assert result.labels.shape == pixels.shape
    assert result.diameter == pytest.approx(2 * radius, rel=0.25)
    assert result.count == count
    for k in range(1, count + 1):  # each disc is one instance, with an outline as fine as the input
        inside = truth == k
        label = np.bincount(result.labels[inside]).argmax()
        found = result.labels == label
        assert (inside & found).sum() / (inside | found).sum() > (0.75 if radius < 5 else 0.9)


def test_cells_are_brought_to_the_working_diameter(backend, card_with, discs):
    plain = Segmenter(backend, card_with(canonical_diameter=CANONICAL))
    larger = Segmenter(
        backend, card_with(canonical_diameter=CANONICAL, working_diameter=1.25 * CANONICAL)
    )
    assert larger.given_scale(10.0) == pytest.approx(1.25 * plain.given_scale(10.0))
    assert larger.diameter_at(larger.given_scale(10.0)) == pytest.approx(10.0)
    pixels = discs((300, 400), 15)
    before, after = plain.segment(pixels), larger.segment(pixels)
    assert after.diameter == pytest.approx(before.diameter, rel=0.01)
    assert after.count == before.count
    wide = plain.predict(image_from_array(pixels, axes="YX")).maps.shape[2]
    assert larger.predict(image_from_array(pixels, axes="YX")).maps.shape[2] == pytest.approx(
        1.25 * wide, abs=2
    )


def test_the_looks_have_options_of_their_own(backend, card_with, discs):
    """What is kept in the end says nothing about the scale."""
    image = image_from_array(discs((300, 400), 15), axes="YX")
    nothing = DecodeOptions(min_area=100_000)

    def passes(**options):
        model = Segmenter(backend, card_with(canonical_diameter=CANONICAL, **options))
        before = len(backend.shapes)
        assert model.predict(image).diameter == pytest.approx(30, rel=0.05)
        return len(backend.shapes) - before

    usual = passes()
    assert passes(decode=nothing, look=DecodeOptions()) == usual
    assert passes(look=nothing) > usual  # nothing convinces, so other scales are tried


def test_passes_through_the_network_are_bounded(segmenter, backend, discs):
    pixels = discs((3000, 3000), 60)
    segmenter.segment(pixels)
    views = [s for s in backend.shapes if s[2] * s[3] <= 1.4 * VIEW_PIXELS]
    assert sum(s[2] * s[3] for s in views) < 1_200_000


@pytest.mark.parametrize("tile_size", [192, 256, 320, 1024])
def test_labels_do_not_depend_on_the_tiling(backend, card_with, discs, tile_size):
    noise = np.random.default_rng(3)
    pixels = discs((330, 410), 9, spacing=24) + noise.integers(0, 20, (330, 410), np.uint8)
    card = card_with(canonical_diameter=CANONICAL, halo=50)
    one = Segmenter(backend, card).segment(pixels, diameter=18)
    tiled = Segmenter(backend, card, tile_size=tile_size).segment(pixels, diameter=18)
    np.testing.assert_array_equal(tiled.labels, one.labels)
    np.testing.assert_allclose(tiled.confidence, one.confidence, atol=1e-6)


@pytest.mark.parametrize("diameter", [None, 4.0, 16.0, 300.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1), (1, 500), (31, 33), (64, 64)])
def test_small_images(segmenter, shape, diameter):
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    result = segmenter.segment(pixels, diameter=diameter)
    assert result.labels.shape == shape
    assert result.count == result.labels.max()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((70, 50), np.uint8),
        np.full((70, 50), 255, np.uint8),
        np.full((70, 50), 65535, np.uint16),
        np.full((70, 50), np.nan, np.float32),
        np.full((70, 50), np.inf, np.float32),
        np.full((70, 50), -1e30, np.float32),
    ],
)
def test_images_without_contrast_have_no_cells(segmenter, backend, pixels):
    result = segmenter.segment(pixels)
    assert result.count == 0
    assert not result.labels.any()
    assert result.labels.shape == pixels.shape
    assert backend.shapes == []


def test_hot_pixels_are_no_cells(segmenter, discs):
    clean = discs((200, 300), 8)
    pixels = clean.copy()
    pixels[::40, ::17] = 255
    got = segmenter.segment(pixels, diameter=4)  # blown up, a hot pixel covers many
    assert got.count == segmenter.segment(clean, diameter=4).count
    assert len(got.confidence) == got.labels.max() == got.count


def test_noise_neither_fails_nor_hangs(segmenter):
    noise = np.random.default_rng(1).normal(size=(110, 130)).astype(np.float32)
    result = segmenter.segment(noise)
    assert result.count == len(np.unique(result.labels)) - 1


def test_a_few_bad_pixels_change_nothing_elsewhere(segmenter, discs):
    clean = discs((200, 300), 8).astype(np.float32)
    bad = clean.copy()
    bad[0, :3] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = segmenter.segment(clean, diameter=16), segmenter.segment(bad, diameter=16)
    np.testing.assert_array_equal(a.labels[12:], b.labels[12:])


@pytest.mark.parametrize("top", [1e-30, 1e30, 3e38])
def test_extreme_values(segmenter, discs, top):
    pixels = (discs((100, 100), 8).astype(np.float64) / 255 * top).astype(np.float32)
    assert segmenter.segment(pixels, diameter=16).count > 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float64])
def test_number_types_agree(segmenter, discs, dtype):
    pixels = discs((100, 100), 8)
    expected = segmenter.segment(pixels, diameter=16).labels
    np.testing.assert_array_equal(
        segmenter.segment(pixels.astype(dtype), diameter=16).labels, expected
    )


def test_axes_and_channels(segmenter, discs):
    cells = discs((100, 120), 8)
    other = np.roll(cells, 12, axis=0)
    expected = segmenter.segment(cells, diameter=16).labels
    stack = np.stack([other, cells, other, other])
    for array, axes in ((stack, "CYX"), (np.moveaxis(stack, 0, 2), "YXC")):
        got = segmenter.segment(array, axes=axes, channels=(1,), diameter=16)
        np.testing.assert_array_equal(got.labels, expected)
        assert len(got.image.channels) == 4
    with pytest.raises(InputError, match=r"one to three.*0 channel 0, 1 channel 1"):
        segmenter.segment(stack, axes="CYX")
    with pytest.raises(InputError, match="axes"):
        segmenter.segment(stack)
    with pytest.raises(InputError, match="axes for arrays only"):
        segmenter.segment(image_from_array(cells), axes="YX")
    with pytest.raises(InputError, match="out of 0 grey, but got '1'"):
        segmenter.segment(cells, channels=(1,))


@pytest.mark.parametrize("diameter", [0.0, -3.0, float("nan"), float("inf")])
def test_bad_diameters(segmenter, discs, diameter):
    with pytest.raises(InputError, match="diameter"):
        segmenter.segment(discs((50, 50), 8), diameter=diameter)


def test_options_override_the_card(segmenter, discs):
    pixels = discs((100, 100), 8)
    options = DecodeOptions(min_area=10_000)
    assert segmenter.segment(pixels, diameter=16, options=options).count == 0


def test_nothing_of_the_caller_is_changed(segmenter, discs):
    pixels = discs((100, 100), 8).astype(np.float32)
    before = pixels.copy()
    result = segmenter.segment(pixels)
    np.testing.assert_array_equal(pixels, before)
    again = segmenter.segment(pixels)
    np.testing.assert_array_equal(result.labels, again.labels)


def test_a_tile_too_small_for_the_halo_is_refused_at_once(backend, card_with):
    with pytest.raises(InputError, match="tiles of at least"):
        Segmenter(backend, card_with(halo=64), tile_size=100)


def test_load_model_from_a_folder(tiny_model, discs, tmp_path):
    segmenter = load_model(tiny_model, threads=1)
    pixels = discs((100, 120), 8)
    truth, count = _truth(pixels)
    assert segmenter.segment(pixels).count == count
    result = segmenter.segment(pixels, diameter=segmenter.card.canonical_diameter)
    assert _same_partition(result.labels, truth)
    result.save_labels(tmp_path / "a_labels.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a_labels.tif"), result.labels)


def test_unknown_model(tmp_path):
    with pytest.raises(ModelError, match="no-such-model"):
        load_model("no-such-model")
