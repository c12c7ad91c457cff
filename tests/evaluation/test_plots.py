import sys

import imagecodecs
import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.errors import InputError, MissingExtraError, OutputError
from cellrim.evaluation.plots import Curve, Panel, _window, plot_ap, plot_curves, plot_panels


def size_of(path):
    pixels = imagecodecs.png_decode(path.read_bytes())
    assert pixels[..., :3].std() > 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return pixels.shape[:2]


@pytest.fixture
def history():
    epochs = np.arange(1.0, 9)
    columns = {
        n: 1 - np.exp(-epochs / 4)
        for n in ("train_dice", "val_dice", "train_iou", "val_iou", "val_ap50", "val_map", "score")
    }
    columns["val_map"] = np.where(epochs % 2 == 0, columns["val_map"], np.nan)
    return {"epoch": epochs, "loss": np.exp(-epochs), "loss_flow": np.exp(-epochs) / 2} | columns


def test_curves(tmp_path, history):
    plot_curves(history, tmp_path / "curves.png")
    assert min(size_of(tmp_path / "curves.png")) > 900


@pytest.mark.parametrize("keep", [0, 1])
def test_curves_of_short_histories(tmp_path, history, keep):
    short = {name: values[:keep] for name, values in history.items()}
    plot_curves(short, tmp_path / "curves.png")
    plot_curves({"epoch": history["epoch"]}, tmp_path / "curves.png")


def test_curves_refuse_what_does_not_fit(tmp_path):
    with pytest.raises(InputError, match="epoch"):
        plot_curves({}, tmp_path / "c.png")
    with pytest.raises(InputError, match="equal length"):
        plot_curves({"epoch": np.zeros(2), "loss": np.zeros(3)}, tmp_path / "c.png")


@pytest.mark.parametrize("count", [0, 1, 12])
def test_ap(tmp_path, count):
    ap = np.linspace(0.9, 0.1, 10)
    curves = [Curve(f"set {i}", ap * (1 - i / 20), ap - 0.1, ap) for i in range(count)]
    plot_ap(curves, tmp_path / "ap.png", title="all")
    size_of(tmp_path / "ap.png")


def cells(shape, seed=0):
    labels = np.zeros(shape, np.int32)
    labels[2:8, 2:8] = 1
    labels[2:8, 8:12] = 2
    return labels


@pytest.mark.parametrize("shape", [(20, 30), (300, 200), (1200, 700)])
def test_panels(tmp_path, shape):
    image = image_from_array(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8))
    truth = cells(shape)
    rows = [
        Panel(image, truth, truth, "same"),
        Panel(image, truth, truth * 0, "nothing found", ap50=0.0),
        Panel(image, truth * 0, truth * 0, "a name " * 20),
    ]
    plot_panels(rows, tmp_path / "panels.png")
    size_of(tmp_path / "panels.png")


def test_no_panels(tmp_path):
    plot_panels([], tmp_path / "panels.png")
    size_of(tmp_path / "panels.png")


def test_the_part_with_the_cells_is_shown():
    labels = np.zeros((2000, 1500), np.int32)
    labels[1500:1520, 900:920] = 3
    y, x = _window(labels)
    assert y.start <= 1500
    assert y.stop >= 1520
    assert x.start <= 900
    assert x.stop >= 920
    assert (y.stop - y.start, x.stop - x.start) == (315, 315)


@pytest.mark.parametrize("shape", [(1, 1), (5, 900), (256, 256)])
def test_small_images_are_shown_whole_or_in_part(shape):
    y, x = _window(np.ones(shape, np.int32))
    assert 0 <= y.start < y.stop <= shape[0]
    assert 0 <= x.start < x.stop <= shape[1]


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"cellrim\[plot\]"):
        plot_ap([], tmp_path / "ap.png")


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        plot_ap([], tmp_path / "file" / "ap.png")
