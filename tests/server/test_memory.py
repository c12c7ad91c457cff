import pytest

from cellrim.errors import UsageError
from cellrim.prediction.segmenter import MOST_ENLARGED_PIXELS
from cellrim.server import memory
from cellrim.server.app import create_app
from cellrim.server.memory import pixels_at_once
from cellrim.server.models import MOST_LOADED
from cellrim.server.settings import GB, Settings


def test_by_default_two_images_of_estimated_scale_run_at_once(tmp_path):
    settings = Settings(data=tmp_path, workers=2)
    assert pixels_at_once(settings) >= 2 * MOST_ENLARGED_PIXELS


def test_all_shares_together_are_the_bound(tmp_path):
    settings = Settings(data=tmp_path, workers=3, max_pixels=5_000_000, max_memory_bytes=9 * GB)
    fixed = memory.BASE_BYTES + 3 * MOST_LOADED * memory.TILE_BYTES + 5_000_000 * memory.LOOK_BYTES
    most = fixed + pixels_at_once(settings) * memory.PIXEL_BYTES
    assert 9 * GB - memory.PIXEL_BYTES < most <= 9 * GB


def test_the_least_is_what_one_image_needs(settings_with):
    settings = settings_with(max_pixels=1_000_000)
    least = memory.least_bytes(settings)
    enough = settings.model_copy(update={"max_memory_bytes": least})
    assert pixels_at_once(enough) == MOST_ENLARGED_PIXELS
    with pytest.raises(UsageError):
        pixels_at_once(settings.model_copy(update={"max_memory_bytes": least - 1}))


def test_too_little_memory_is_refused_with_what_would_do(settings_with):
    with pytest.raises(UsageError, match=r"at least (\d+\.\d) GB .* but got 2 GB"):
        create_app(settings_with(max_memory_bytes=2 * GB))
    create_app(settings_with(max_memory_bytes=6 * GB, max_pixels=1_000_000))


def test_the_bound_is_what_work_is_given(client, settings_with):
    assert client.app.state.work._max_pixels == pixels_at_once(settings_with())
