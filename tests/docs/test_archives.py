"""docs/archives.md: every line is run, from the files of an archive to the report.

On real images where a part of the archive is at hand, else on files in its format. The training
is one step; BBBC009 goes on from the embedded model as the guide says, the others from a small one.
"""

from __future__ import annotations

import importlib
import json
from functools import partial

import pytest
from guide_code import DOCS, blocks_of, run_console

GUIDE = DOCS / "archives.md"
SECTIONS = list(dict.fromkeys(block.section for block in blocks_of(GUIDE)))
# Files of the real archives, and how many of each kind.
REAL = {
    "BBBC009": (("*_images/*/*.tif", "*_outlines/*/*.tif"), 2),
    "BBBC030": (("images/*.png", "ground_truth/*.png"), 2),
    "BBBC041": (("malaria/images/*.png",), 2),
}
MADE = {"BBBC007": "bbbc007", "BBBC018": "bbbc018", "Sartorius": "sartorius"}
IMAGES_ONLY = "Images only"


@pytest.fixture
def small_model(tmp_path, card_with):
    """A model that can be trained on in a second: small, and never trained."""
    torch = pytest.importorskip("torch", reason="training needs torch")
    from cellrim.models.card import sha256_of, write_card
    from cellrim.models.export import export_onnx
    from cellrim.models.unet import UNet, UNetShape

    torch.manual_seed(0)
    network = UNet(UNetShape((8, 12), 8))
    network(torch.rand(4, 3, 32, 32))  # normalisations that have seen nothing have no bias
    network.eval()
    folder = tmp_path / "small"
    export_onnx(network, folder / "model.onnx")
    card = card_with(
        canonical_diameter=24.0,
        stride=network.shape.stride,
        halo=network.shape.halo,
        architecture={"widths": (8, 12), "rim": 8, "canonical_diameter": 24.0},
        sha256=sha256_of((folder / "model.onnx").read_bytes()),
    )
    write_card(folder / "card.json", card)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder that the commands are run in."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def quick(monkeypatch, small_model):
    """Let a training be one step in this process, from the small model or as it says."""

    def make(*, small):
        change = monkeypatch.setattr
        finetune = importlib.import_module("cellrim.training.finetune")
        change(finetune, "PATCHES", 16)
        change(finetune, "_VALIDATIONS", 1)
        change(finetune, "DecodePart", partial(finetune.DecodePart, int8_steps=2))
        change(importlib.import_module("cellrim.training.loop"), "_STATISTICS_BATCHES", 1)
        if small:
            change(importlib.import_module("cellrim.cli.train"), "BASE", str(small_model))

    return make


def run_section(section):
    blocks = [block for block in blocks_of(GUIDE) if block.section == section]
    assert blocks
    for block in blocks:
        run_console(block)


def check_written(place):
    """Every run has its report, every evaluation compared what it could, every sheet is there."""
    runs = [path.parent for path in place.rglob("run.json")]
    assert runs
    for run in runs:
        assert json.loads((run / "run.json").read_text())["failed"] == 0
        assert (run / "report.html").is_file()
        assert (run / "images.csv").is_file()
    for scores in place.glob("*-scores"):
        assert (scores / "report.html").is_file()
        assert (scores / "per_image.csv").is_file()


def test_every_archive_is_in_the_guide():
    assert [*SECTIONS] == [*sorted({*REAL, *MADE}), IMAGES_ONLY]


@pytest.mark.parametrize("section", MADE)
def test_an_archive_in_its_format(section, place, quick, write_archive):
    write_archive(MADE[section], place / ("sartorius" if section == "Sartorius" else section))
    quick(small=True)
    run_section(section)
    check_written(place)
    [model] = (place / "runs").glob("*/model/card.json")
    assert json.loads(model.read_text())["patches_seen"] == 16
    if section == "Sartorius":
        assert (place / "submission.csv").read_text().startswith("id,predicted\ndd,")


@pytest.mark.parametrize("section", REAL)
def test_real_images(section, real_data, place, quick, link_some):
    patterns, count = REAL[section]
    archive = real_data / "seed" / section
    link_some(archive, place / section, patterns, count)
    if section == "BBBC041":
        cut_records(archive / "malaria", place / section / "malaria")
    quick(small=section != "BBBC009")
    run_section(section)
    check_written(place)
    [sheet] = place.glob("*.png")
    assert sheet.stat().st_size > 1000


def test_real_images_without_annotation(real_data, place, link_some):
    link_some(real_data / "seed" / "BBBC007", place / "BBBC007", ("*_images/*/*d.tif",), 1)
    link_some(real_data / "seed" / "BBBC007", place / "BBBC007", ("*_images/*/*_D_*.tif",), 1)
    link_some(real_data / "seed" / "sartorius", place / "sartorius", ("t*/*.png", "train.csv"), 2)
    run_section(IMAGES_ONLY)
    check_written(place)


def cut_records(archive, part):
    """Leave only those records in the JSON files whose images are in the part of the archive."""
    for path in archive.glob("*.json"):
        records = json.loads(path.read_text())
        kept = [r for r in records if (part / r["image"]["pathname"].lstrip("/")).exists()]
        (part / path.name).write_text(json.dumps(kept))
