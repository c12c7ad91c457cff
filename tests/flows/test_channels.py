"""The order of the channels, the contrast and the way grey is stored: real validation images.

benchmarks/channels.py does the same for all of them.
"""

from itertools import permutations

import numpy as np
import pytest

from cellrim.core.image import Image, image_from_array
from cellrim.evaluation import count_image, scores
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.models.registry import embedded_models
from cellrim.prediction import load_model

pytestmark = pytest.mark.skipif(not embedded_models(), reason="no model is embedded yet")

KC167 = "kc167/{}/096.{}"
MEMBRANE = "mixed/{}/cytomembrane_290.{}"
NEURON = "mixed/{}/neurocyte_044.{}"
MOST_LOST = 0.03


@pytest.fixture(scope="module")
def model():
    return load_model()


def _read(folder, name):
    plain = folder / "plain"
    return read_image(plain / name.format("images", "png")), read_labels(
        plain / name.format("labels", "tif")
    )


def _ap50(labels, truth):
    return scores(count_image(labels, truth, boundaries=False)).ap50


def test_every_order_of_channels(model, real_data):
    image, truth = _read(real_data, KC167)
    expected = model.segment(image).labels
    assert _ap50(expected, truth) > 0.8
    for order in permutations(range(3)):
        arranged = model.predict(image.select(order), diameter=35).maps
        np.testing.assert_array_equal(arranged, model.predict(image, diameter=35).maps)
    two = image.select((1, 0))
    np.testing.assert_array_equal(model.segment(two).labels, expected)


def test_grey_however_it_is_stored(model, real_data):
    image, truth = _read(real_data, MEMBRANE)
    grey = image.pixels[:, :, 1]
    expected = model.segment(grey).labels
    assert _ap50(expected, truth) > 0.4
    nothing = np.zeros_like(grey)
    for planes in ((grey, grey, grey), (nothing, grey, nothing), (grey, nothing)):
        stored = image_from_array(np.stack(planes, axis=2), axes="YXC")
        np.testing.assert_array_equal(model.segment(stored).labels, expected)


@pytest.mark.parametrize("name", [KC167, NEURON])
def test_inverted_contrast(model, real_data, name):
    image, truth = _read(real_data, name)
    top = image.pixels.max(axis=(0, 1))
    inverted = Image(top - image.pixels, image.channels)
    lost = _ap50(model.segment(image).labels, truth) - _ap50(model.segment(inverted).labels, truth)
    assert lost <= MOST_LOST
