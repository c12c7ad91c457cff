import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from cellrim.core.normalise import measure_range
from cellrim.errors import ImageReadError, InputError, OutputError
from cellrim.io.images import read_image
from cellrim.io.labels import read_labels
from cellrim.prediction import Segmenter, load_model
from cellrim.prediction.large import Model, Store, segment_large, squares
from cellrim.representation.flow import DecodeOptions

CANONICAL = 16.0


class BlurBackend:
    """Sees no further than 24 pixels: flow is the slope of the blurred image, upwards."""

    device = "blur"
    precision = "float32"

    def __init__(self):
        self.calls = 0

    def predict(self, batch):
        self.calls += 1
        blurred = ndimage.gaussian_filter(batch[:, 0], (0, 4, 4), truncate=3, mode="nearest")
        slope = np.stack(np.gradient(blurred, axis=(1, 2)), axis=1)
        length = np.hypot(slope[:, :1], slope[:, 1:]) + 1e-6
        foreground = 20 * (ndimage.gaussian_filter(batch[:, 0], (0, 1, 1)) - 0.5)
        flow = slope / length * np.minimum(1, length * 50)
        maps = [foreground[:, None], flow, np.zeros_like(length)]
        return np.concatenate(maps, axis=1).astype(np.float32)


@pytest.fixture
def blobs():
    """Touching blobs of many sizes on a textured ground, uint16."""

    def make(shape, seed=0):
        rng = np.random.default_rng(seed)
        noise = ndimage.gaussian_filter(rng.normal(size=shape), 5)
        noise = noise / noise.std() + ndimage.gaussian_filter(rng.normal(size=shape), 1)
        return np.clip(3000 + 1500 * noise, 0, 65535).astype(np.uint16)

    return make


def matched(found, expected):
    """Smallest IoU over the instances of both, each with its best partner."""
    width = int(expected.max()) + 1
    pairs = np.bincount(
        found.ravel().astype(np.int64) * width + expected.ravel(),
        minlength=(int(found.max()) + 1) * width,
    ).reshape(-1, width)
    union = pairs.sum(1, keepdims=True) + pairs.sum(0, keepdims=True) - pairs
    iou = pairs[1:, 1:] / np.maximum(union[1:, 1:], 1)
    assert iou.shape[0] == iou.shape[1]
    return min(iou.max(1).min(), iou.max(0).min())


def segmenter_with(backend, card_with, tile_size, **card):
    return Segmenter(
        backend, card_with(canonical_diameter=CANONICAL, halo=32, **card), tile_size=tile_size
    )


def streamed(path, folder, segmenter, **kwargs):
    return segment_large(path, folder, load=lambda: segmenter, **kwargs)


def whole(result):
    level = result.levels[0]
    height, width = level.shape
    rows = [
        np.concatenate([level.read(y, x) for x in range(-(-width // level.edge))], axis=1)
        for y in range(-(-height // level.edge))
    ]
    return np.concatenate(rows)


@pytest.mark.parametrize("diameter", [16.0, 23.0, 9.0])
@pytest.mark.parametrize("tile_size", [96, 160, 256, 2048])
def test_the_same_cells_as_in_memory(
    blobs, card_with, tmp_path, write_tiff, monkeypatch, tile_size, diameter
):
    monkeypatch.setattr(squares, "EDGE", 64)
    pixels = blobs((190, 230))
    path = write_tiff(tmp_path / "a.tif", pixels, tile=(48, 80), compression="zlib")
    options = DecodeOptions(sink_radius=2, min_area=12, min_confidence=0.2)
    inside = segmenter_with(BlurBackend(), card_with, 4096)
    expected = inside.segment(pixels, diameter=diameter, options=options)
    assert expected.count > 20
    tiled = segmenter_with(BlurBackend(), card_with, tile_size)
    result = streamed(path, tmp_path / "work", tiled, diameter=diameter, options=options)
    labels = whole(result)
    assert labels.dtype == np.uint32
    assert result.count == expected.count == len(np.unique(labels)) - 1 == labels.max()
    assert matched(labels.astype(np.int64), expected.labels) >= 0.99
    assert result.diameter == expected.diameter
    assert np.sort(result.confidence) == pytest.approx(np.sort(expected.confidence), abs=1e-4)
    for k, box in enumerate(result.boxes[:: max(1, result.count // 10)]):
        number = k * max(1, result.count // 10) + 1
        y, x = np.nonzero(labels == number)
        assert tuple(box) == (y.min(), x.min(), y.max() + 1, x.max() + 1)


def test_devices_are_those_that_the_blocks_were_seen_on(blobs, card_with, tmp_path, write_tiff):
    path = write_tiff(tmp_path / "a.tif", blobs((190, 230)))
    backend = BlurBackend()
    segmenter = segmenter_with(backend, card_with, 160)
    work = tmp_path / "work"
    assert streamed(path, work, segmenter, diameter=16.0).devices == ("blur",)
    (work / "blocks" / "00000001.npz").unlink()  # as if the first run had been cut off
    (work / "cells.npz").unlink()
    backend.device = "another"
    assert streamed(path, work, segmenter, diameter=16.0).devices == ("another", "blur")


@pytest.mark.parametrize("tile_size", [96, 128, 160])
def test_cells_on_corners_and_larger_than_any_tile(
    tiny_model, tmp_path, write_tiff, tile_size, discs
):
    """The tiny network calls bright what is bright, so that cells may have any size."""
    y, x = np.mgrid[:260, :270]
    pixels = discs((260, 270), 7, spacing=32)  # some on the corners of the blocks
    big = np.hypot(y - 130, x - 140) < 100
    pixels[np.hypot(y - 130, x - 140) < 108] = 10
    pixels[big & (np.hypot(y - 130, x - 140) > 70)] = 200
    pixels[np.hypot(y - 130, x - 140) < 50] = 200
    expected = load_model(tiny_model, threads=1).segment(pixels, diameter=16.0)
    assert expected.count > 30
    assert (np.bincount(expected.labels.ravel())[1:] > 7000).sum() == 2  # the ring and its heart
    path = write_tiff(tmp_path / "a.tif", pixels)
    model = load_model(tiny_model, threads=1, tile_size=2 * 64 + 32 + tile_size - 96)
    result = streamed(path, tmp_path / "work", model, diameter=16.0)
    labels = whole(result).astype(np.int64)
    assert result.count == expected.count
    assert matched(labels, expected.labels) == 1


def test_range_and_scale_are_those_of_the_whole_image(
    blobs, card_with, tmp_path, write_tiff, monkeypatch
):
    monkeypatch.setattr("cellrim.prediction.survey._EDGE", 64)
    monkeypatch.setattr("cellrim.prediction.normalised._FLOAT_PIXELS", 3000)
    monkeypatch.setattr("cellrim.core.normalise.MAX_MEASURED_PIXELS", 5000)
    monkeypatch.setattr("cellrim.prediction.scale.VIEW_PIXELS", 8000)
    pixels = np.stack([blobs((240, 300), seed) for seed in (1, 2)])
    path = write_tiff(
        tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "CYX"}
    )
    model = segmenter_with(BlurBackend(), card_with, 128)
    work = tmp_path / "work"
    streamed(path, work, model)
    plan = Store(work).read_plan()
    assert sorted(plan.channels) == [0, 1]
    expected = measure_range(np.moveaxis(pixels[list(plan.channels)], 0, 2))
    assert plan.arrangement.intensity == expected
    in_memory = model.segment(pixels, axes="CYX")
    assert plan.diameter == pytest.approx(in_memory.diameter, rel=1e-6)


@pytest.fixture
def stained(discs):
    """Three channels, uint16: nothing, touching rings, and the round nuclei in them."""
    nuclei = discs((230, 260), 8, spacing=32)
    distance = ndimage.distance_transform_edt(nuclei < 100)
    rings = np.where((distance > 5) & (distance < 9), 180, 20)
    rings = np.maximum(rings, np.roll(rings, 11, axis=1))
    noise = np.random.default_rng(0).integers(0, 9, (2, 230, 260))
    return np.stack([np.full_like(rings, 3), rings + noise[0], nuclei + noise[1]]).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("inverted", [False, True])
def test_channels_come_in_any_order_bright_or_dark(
    stained, card_with, tmp_path, write_tiff, monkeypatch, order, inverted, dtype
):
    """The network sees the first channel: that of the nuclei, whatever the image."""
    monkeypatch.setattr(squares, "EDGE", 64)
    monkeypatch.setattr("cellrim.prediction.survey._EDGE", 64)
    monkeypatch.setattr("cellrim.core.normalise.MAX_MEASURED_PIXELS", 9000)
    monkeypatch.setattr("cellrim.prediction.nucleus_channel._LOOKED_AT", 20_000)
    expected = segmenter_with(BlurBackend(), card_with, 256).segment(stained[2], diameter=16.0)
    assert expected.count > 40
    pixels = stained[list(order)].astype(dtype)
    pixels = 300 - pixels if inverted else pixels
    path = write_tiff(
        tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "CYX"}
    )
    model = segmenter_with(BlurBackend(), card_with, 128)
    in_memory = model.segment(read_image(path), diameter=16.0)
    result = streamed(path, tmp_path / "work", model, diameter=16.0)
    labels = whole(result).astype(np.int64)
    assert matched(labels, in_memory.labels) == 1
    assert matched(labels, expected.labels) >= 0.99
    plan = Store(tmp_path / "work").read_plan()
    assert [order[c] for c in plan.channels] == [2, 1]
    assert (plan.low > plan.high) == inverted


def test_the_pyramid_is_halved_to_the_end(blobs, card_with, tmp_path, write_tiff, monkeypatch):
    monkeypatch.setattr(squares, "EDGE", 32)
    monkeypatch.setattr("cellrim.prediction.large.labels._SMALLEST_LEVEL", 32)
    path = write_tiff(tmp_path / "a.tif", blobs((101, 130)))
    result = streamed(
        path, tmp_path / "work", segmenter_with(BlurBackend(), card_with, 256), diameter=16.0
    )
    assert [level.shape for level in result.levels] == [(101, 130), (51, 65), (26, 33), (13, 17)]
    result.save_labels(tmp_path / "out.ome.tif")
    labels = whole(result)
    np.testing.assert_array_equal(read_labels(tmp_path / "out.ome.tif"), labels)
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.is_ome
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [level.shape for level in result.levels]
        assert all(level.dtype == np.uint32 for level in levels)
        small = levels[1].asarray()
    from cellrim.core.labels import halve

    np.testing.assert_array_equal(small, halve(labels))


def test_no_block_is_done_twice(blobs, card_with, tmp_path, write_tiff, monkeypatch):
    path = write_tiff(tmp_path / "a.tif", blobs((190, 230)))
    backend = BlurBackend()
    model = segmenter_with(backend, card_with, 128)
    seen = []

    def stop(progress):
        seen.append(progress)
        if progress.step == "Cells" and progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streamed(path, tmp_path / "work", model, diameter=16.0, report=stop)
    assert backend.calls == 5
    blocks = sorted((tmp_path / "work" / "blocks").glob("*.npz"))
    blocks[0].write_bytes(blocks[0].read_bytes()[:100])  # as a power failure leaves it
    again = []
    result = streamed(path, tmp_path / "work", model, diameter=16.0, report=again.append)
    total = next(p.total for p in again if p.step == "Cells")
    assert backend.calls == 5 + 1 + total - 5
    assert next(p for p in again if p.step == "Cells").before == 4
    assert result.count > 20
    streamed(path, tmp_path / "work", model, diameter=17.0)  # another request starts anew
    assert backend.calls > 5 + 1 + total - 5


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((70, 50), np.uint8), np.full((70, 50), np.nan, np.float32)],
)
def test_images_without_contrast_have_no_cells(pixels, card_with, tmp_path, write_tiff):
    path = write_tiff(tmp_path / "a.tif", pixels)
    backend = BlurBackend()
    result = streamed(path, tmp_path / "work", segmenter_with(backend, card_with, 256))
    assert result.count == backend.calls == 0
    assert not whole(result).any()
    result.save_labels(tmp_path / "a_labels.tif")
    assert not read_labels(tmp_path / "a_labels.tif").any()


def test_specks_that_the_size_of_the_image_would_lose_keep_a_pixel(
    tiny_model, tmp_path, write_tiff
):
    pixels = np.full((40, 40), 10, np.uint8)
    pixels[5:8, 5:8] = 200
    pixels[20, 30] = 255
    path = write_tiff(tmp_path / "a.tif", pixels)
    model = load_model(tiny_model, threads=1)
    options = DecodeOptions(foreground_threshold=0.9, min_area=1)
    expected = model.segment(pixels, diameter=2.0, options=options)
    result = streamed(path, tmp_path / "work", model, diameter=2.0, options=options)
    assert result.count == expected.count
    assert matched(whole(result).astype(np.int64), expected.labels) >= 0.99


def test_grey_stored_as_rgb_is_grey(blobs, card_with, tmp_path, write_tiff):
    grey = (blobs((130, 140)) // 256).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", np.stack([grey] * 3, axis=2), photometric="rgb")
    model = segmenter_with(BlurBackend(), card_with, 256)
    streamed(path, tmp_path / "work", model, diameter=16.0)
    assert Store(tmp_path / "work").read_plan().channels == (0,)


def test_too_many_channels_and_bad_diameters(blobs, card_with, tmp_path, write_tiff):
    pixels = np.stack([blobs((40, 50), seed) for seed in range(4)])
    path = write_tiff(
        tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": "CYX"}
    )
    model = segmenter_with(BlurBackend(), card_with, 256)
    with pytest.raises(InputError, match=r"one to three channels.*0 channel 0"):
        streamed(path, tmp_path / "w", model)
    with pytest.raises(InputError, match=r"none of the image.s channels"):
        streamed(path, tmp_path / "w", model, channels=(4,))
    with pytest.raises(InputError, match="diameter"):
        streamed(path, tmp_path / "w", model, diameter=-1.0)
    assert streamed(path, tmp_path / "w", model, channels=(2, 0), diameter=16.0).count >= 0


def test_a_png_goes_the_same_way(discs, card_with, tmp_path, oracle):
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(discs((90, 100), 8)))
    model = segmenter_with(oracle(CANONICAL), card_with, 256)
    expected = model.segment(read_image(path), diameter=16.0)
    result = streamed(path, tmp_path / "work", model, diameter=16.0)
    assert matched(whole(result).astype(np.int64), expected.labels) >= 0.99


def test_a_tile_that_cannot_be_read_is_named_and_the_rest_is_kept(
    blobs, card_with, tmp_path, write_tiff
):
    pixels = blobs((256, 256))
    path = write_tiff(tmp_path / "a.tif", pixels, tile=(64, 64), compression="zlib")
    good = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages.first.dataoffsets[-1], tiff.pages.first.databytecounts[-1]
    backend = BlurBackend()
    model = segmenter_with(backend, card_with, 128)
    work = tmp_path / "work"
    plan_only = []

    def stop(progress):
        if progress.step == "Cells":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streamed(path, work, model, diameter=16.0, report=stop)
    stat = path.stat()
    path.write_bytes(good[:offset] + b"\0" * count + good[offset + count :])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(ImageReadError, match=r"rows 192 to 256, columns 192 to 256 of .*a\.tif"):
        streamed(path, work, model, diameter=16.0, report=plan_only.append)
    done = backend.calls
    assert done > 3
    path.write_bytes(good)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    streamed(path, work, model, diameter=16.0)
    assert backend.calls - done < done  # only what was missing


def test_an_unfinished_folder_that_was_damaged_is_told(blobs, card_with, tmp_path, write_tiff):
    path = write_tiff(tmp_path / "a.tif", blobs((130, 140)))
    model = segmenter_with(BlurBackend(), card_with, 128)
    result = streamed(path, tmp_path / "work", model, diameter=16.0)
    for file in (tmp_path / "work" / "labels" / "0").iterdir():
        file.write_bytes(b"")
    with pytest.raises(OutputError, match="--overwrite"):
        whole(result)


def test_a_model_is_the_same_where_it_means_the_same(tiny_model):
    assert Model(str(tiny_model), 1) == Model(str(tiny_model), 1)
    assert Model(Path(tiny_model), 1, 256)().tile_size == 256
