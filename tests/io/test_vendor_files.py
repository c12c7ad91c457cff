"""Makers' files through bioio's readers: CZI by Zeiss's library, OIB of a microscope (see
``olympus.oib.md``), LIF and ND2 as ``vendor_files.py`` writes them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cellrim.cli.main import app
from cellrim.core.stack import Index
from cellrim.errors import ImageReadError
from cellrim.io.images import open_stack, scene_names
from cellrim.io.vendors import bioio_source

from .vendor_files import Series, write_lif, write_nd2

pytest.importorskip("bioio")

RANDOM = np.random.default_rng(3)
STACK = RANDOM.integers(0, 4000, (2, 3, 2, 8, 9), dtype=np.uint16)  # TZCYX
OVERVIEW = RANDOM.integers(0, 255, (1, 1, 1, 6, 5), dtype=np.uint8)
DYES = ("DAPI", "GFP")


def czi(path: Path) -> None:
    from pylibCZIrw.czi import create_czi

    with create_czi(str(path)) as file:
        for t, z, c in np.ndindex(STACK.shape[:3]):
            file.write(
                np.ascontiguousarray(STACK[t, z, c, ..., np.newaxis]),
                plane={"T": t, "C": c, "Z": z},
            )
        file.write_metadata(
            document_name="a",
            channel_names=dict(enumerate(DYES)),
            scale_x=0.5e-6,
            scale_y=0.5e-6,
            scale_z=2e-6,
        )


def lif(path: Path) -> None:
    stack = Series("Stack", STACK, ("Green", "Red"), pixel_size=0.25, z_step=2.0)
    write_lif(path, [stack, Series("Overview", OVERVIEW, ("Gray",), pixel_size=1.5)])


def nd2(path: Path) -> None:
    write_nd2(path, STACK[:, np.newaxis], DYES, pixel_size=0.325, z_step=2.0, period=5.0)


def oib(path: Path) -> None:
    path.write_bytes(gzip.decompress((Path(__file__).parent / "olympus.oib.gz").read_bytes()))


WRITERS = (czi, lif, nd2, oib)


def assert_holds(path: Path, pixels: np.ndarray, **options) -> None:
    with open_stack(path, **options) as stack:
        assert len(stack) == pixels.shape[0] * pixels.shape[1]
        for index in stack.indices():
            expected = np.moveaxis(pixels[index.t, index.z], 0, -1)
            np.testing.assert_array_equal(stack.read(index).pixels, expected)


def read_all(path: Path) -> None:
    with open_stack(path, scene=0) as stack:
        for index in stack.indices():
            stack.read(index)


def test_zeiss(tmp_path):
    path = tmp_path / "a.czi"
    czi(path)
    with open_stack(path) as stack:
        assert (stack.axes, stack.lengths, stack.channels) == ("TZ", (2, 3), DYES)
        assert stack.calibration.pixel_size == pytest.approx(0.5)
        assert stack.calibration.z_step == pytest.approx(2)
    assert_holds(path, STACK)


def test_leica(tmp_path):
    path = tmp_path / "a.lif"
    lif(path)
    assert scene_names(path) == ("Stack", "Overview")
    with open_stack(path, scene="Stack") as stack:
        assert (stack.axes, stack.lengths, stack.shape) == ("TZ", (2, 3), (8, 9))
        assert stack.channels == ("Green", "Red")
        assert stack.calibration.pixel_size == pytest.approx(0.25)
        assert stack.calibration.z_step == pytest.approx(2)
    with open_stack(path, scene=1) as stack:
        assert (stack.axes, stack.shape, stack.channels) == ("", (6, 5), ("Gray",))
        assert stack.calibration.pixel_size == pytest.approx(1.5)
        assert stack.calibration.z_step is None
    assert_holds(path, STACK, scene=0)
    assert_holds(path, OVERVIEW, scene="Overview")


def test_from_the_command_line(tmp_path):
    oib(tmp_path / "a.oib")
    out = tmp_path / "out"
    command = ["segment", str(tmp_path / "a.oib"), "-o", str(out), "--save", "cells,ome-tiff"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    header = (out / "a_cells.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"mean_CH1", "mean_CH2", "mean_TD1", "area_um2"} <= set(header)
    with open_stack(out / "a_labels.ome.tif") as labels:
        assert labels.shape == (256, 256)
        assert labels.calibration.pixel_size == pytest.approx(0.177)


def test_of_several_images_one_must_be_chosen(tmp_path):
    path = tmp_path / "a.lif"
    lif(path)
    with pytest.raises(ImageReadError, match=r"holds 2: 0 Stack, 1 Overview\."), open_stack(path):
        pass
    with pytest.raises(ImageReadError, match="'Stck'"), open_stack(path, scene="Stck"):
        pass


def test_nikon(tmp_path):
    path = tmp_path / "a.nd2"
    nd2(path)
    with open_stack(path) as stack:
        assert (stack.axes, stack.lengths, stack.channels) == ("TZ", (2, 3), DYES)
        steps = stack.calibration
        assert (steps.pixel_size, steps.z_step, steps.time_step) == pytest.approx((0.325, 2, 5))
    assert_holds(path, STACK)


def test_positions_of_nikon_are_scenes(tmp_path):
    path = tmp_path / "a.nd2"
    left, right = STACK, STACK[::-1]
    names = ("left", "right")
    write_nd2(path, np.stack([left, right], axis=1), DYES, pixel_size=0.325, positions=names)
    assert scene_names(path) == names
    assert_holds(path, left, scene="left")
    assert_holds(path, right, scene="right")


def test_nikon_without_calibration_has_no_pixel_size(tmp_path):
    path = tmp_path / "a.nd2"
    write_nd2(path, STACK[:1, np.newaxis, :1], DYES, pixel_size=None)
    with open_stack(path) as stack:
        assert stack.calibration.pixel_size is None
        assert stack.calibration.z_step is None
    with open_stack(path, pixel_size=0.5) as stack:
        assert stack.calibration.pixel_size == 0.5


@pytest.mark.parametrize("kind", ["oib", "oif"])
def test_olympus(tmp_path, kind):
    oiffile = pytest.importorskip("oiffile")
    path = tmp_path / "a.oib"
    oib(path)
    expected = oiffile.imread(path)
    if kind == "oif":
        oiffile.oib2oif(path, str(tmp_path), verbose=0)
        (path,) = tmp_path.glob("*.oif")
    with open_stack(path) as stack:
        assert (stack.axes, stack.shape) == ("", (256, 256))
        assert stack.channels == ("CH1", "CH2", "TD1")
        assert stack.calibration.pixel_size == pytest.approx(0.177)
        assert stack.read(Index()).pixels[95, 216].tolist() == [820, 50, 436]  # oiffile's manual
    assert_holds(path, expected[np.newaxis, np.newaxis])


@pytest.mark.parametrize("write", [lif, nd2])
def test_what_is_written_is_read_alike_by_another_reader(tmp_path, write):
    from bioio_openreadout import Reader

    path = tmp_path / f"a.{write.__name__}"
    write(path)
    other = bioio_source(path, Reader(path), scene=0)
    with open_stack(path, scene=0) as stack:
        assert (other.length("T"), other.length("Z")) == stack.lengths
        assert other.channels == stack.channels
        assert other.calibration.pixel_size == pytest.approx(stack.calibration.pixel_size)
        for index in stack.indices():
            pixels, axes = other.read(index)
            assert axes == "CYX"
            np.testing.assert_array_equal(np.moveaxis(pixels, 0, -1), stack.read(index).pixels)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_is_cut_off_is_named(tmp_path, write, kept):
    path = tmp_path / f"cut.{write.__name__}"
    write(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ImageReadError, match="cut") as caught:
        read_all(path)
    assert "\n" not in str(caught.value)
    assert "()" not in str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
def test_another_file_with_the_suffix_is_named(tmp_path, write):
    path = tmp_path / f"other.{write.__name__}"
    path.write_bytes(b"no microscope wrote this" * 50)
    with pytest.raises(ImageReadError, match="other"), open_stack(path):
        pass
    with pytest.raises(ImageReadError, match="other"):
        scene_names(path)
