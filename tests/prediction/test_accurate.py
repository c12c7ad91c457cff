from itertools import product

import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.models.registry import embedded_models
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.accurate import ORIENTATIONS, AccurateSegmenter, averaged_maps
from cellrim.representation.encode import encode


class LopsidedBackend:
    """A network that treats directions differently, as real ones do, and smears over its halo."""

    precision = "float32"

    def predict(self, batch):
        x = batch.sum(axis=1)
        down, right = np.roll(x, 3, axis=1), np.roll(x, 5, axis=2)
        return np.stack([x - 1.5, x - down, 0.3 * x - right, 0.1 * x + 0.2 * down], axis=1)


@pytest.fixture
def noise():
    return np.random.default_rng(4).random((70, 93, 3), np.float32)


def _flip(maps, *, exchanged, y, x):
    """Flip maps CYX by writing down where each vector points afterwards."""
    out = maps.copy()
    if y:
        out = out[:, ::-1]
        out[1] = -out[1]
    if x:
        out = out[:, :, ::-1]
        out[2] = -out[2]
    if exchanged:
        out = np.stack([out[0].T, out[2].T, out[1].T, out[3].T])
    return out


@pytest.mark.parametrize("flags", list(product((False, True), repeat=3)))
def test_maps_of_a_flipped_image_are_the_flipped_maps(card_with, noise, flags):
    exchanged, y, x = flags
    segmenter = AccurateSegmenter(LopsidedBackend(), card_with(canonical_diameter=16.0))
    flipped = noise[:: -1 if y else 1, :: -1 if x else 1]
    flipped = flipped.swapaxes(0, 1) if exchanged else flipped
    one = segmenter.predict(image_from_array(noise, axes="YXC"), diameter=20).maps
    two = segmenter.predict(image_from_array(flipped, axes="YXC"), diameter=20).maps
    np.testing.assert_allclose(two, _flip(one, exchanged=exchanged, y=y, x=x), rtol=1e-4, atol=1e-4)
    if any(flags):  # the test can fail: one look is not symmetric
        plain = Segmenter(LopsidedBackend(), card_with(canonical_diameter=16.0))
        a = plain.predict(image_from_array(noise, axes="YXC"), diameter=20).maps
        b = plain.predict(image_from_array(flipped, axes="YXC"), diameter=20).maps
        assert np.abs(b - _flip(a, exchanged=exchanged, y=y, x=x)).max() > 0.1


def test_turning_back_undoes_turning(cells):
    """Maps of turned labels, turned back, are the maps of the labels, flow vectors included."""
    maps = encode(cells, 16.0)
    inside = cells > 0
    for orientation in ORIENTATIONS:
        turned = orientation.turn(cells[:, :, None])[:, :, 0]
        back = orientation.turn_back(encode(turned, 16.0))
        assert back.shape == maps.shape
        np.testing.assert_array_equal(back[0], maps[0])
        np.testing.assert_array_equal(back[3], maps[3])
        cosine = (back[1:3] * maps[1:3]).sum(axis=0)[inside]
        assert np.median(cosine) > 0.999  # ties between centres may fall otherwise


def test_diameters_of_another_scale_are_brought_back():
    def run(image):
        maps = np.zeros((4, *image.shape[:2]), np.float32)
        maps[3] = np.log2(image.shape[0] / 40)  # cells as large as the image
        return maps

    image = np.zeros((40, 40, 1), np.float32)
    got = averaged_maps(image, run, scales=(1.0, 2.0, 0.5))
    np.testing.assert_allclose(got[3], 0, atol=1e-6)


def test_cells_are_found_as_with_one_look(oracle, card_with, discs):
    pixels = discs((200, 300), 8)
    card = card_with(canonical_diameter=16.0)
    one = Segmenter(oracle(16.0), card).segment(pixels)
    more = AccurateSegmenter(oracle(16.0), card).segment(pixels)
    assert more.count == one.count
    assert more.diameter == pytest.approx(one.diameter, rel=0.1)
    assert ((more.labels > 0) == (one.labels > 0)).mean() > 0.99


@pytest.mark.skipif(not embedded_models(), reason="no model is embedded yet")
def test_the_embedded_model(discs):
    model = load_model(accurate=True, threads=1)
    assert model.accurate
    noise = np.random.default_rng(0).integers(0, 30, (70, 60), np.uint8)
    pixels = discs((70, 60), 9, spacing=30) + noise
    one = model.predict(image_from_array(pixels), diameter=24).maps
    two = model.predict(image_from_array(pixels[::-1]), diameter=24).maps
    np.testing.assert_allclose(
        two, _flip(one, exchanged=False, y=True, x=False), rtol=1e-3, atol=1e-3
    )
