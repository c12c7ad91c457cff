from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from cellrim.errors import CellrimError, RecipeError
from cellrim.models.card import read_card
from cellrim.models.onnx_runtime import OnnxBackend
from cellrim.models.registry import find_model
from cellrim.models.unet import TorchBackend, UNet, UNetShape
from cellrim.prediction import load_model
from cellrim.training.checkpoint import read_checkpoint
from cellrim.training.dryrun import dry_run
from cellrim.training.loop import Trainer, choose_device
from cellrim.training.places import Places
from cellrim.training.prepare import prepare
from cellrim.training.run import train
from cellrim.training.store import read_index

from .conftest import ALONE, QUIET


@pytest.fixture
def places(discs, tmp_path):
    return Places(run=tmp_path / "run", data=discs)


def test_from_recipe_to_a_model_that_segments(recipe, trained, discs):
    places, folder, lines = trained
    card = read_card(folder / "card.json")
    assert card.patches_seen == 96
    assert [(s.name, s.images) for s in card.training_sets] == [("discs", 5)]
    assert set(card.validation) == {"discs"}
    assert card.intervals == {}  # one validation image says nothing of the others
    image = tifffile.imread(discs / "discs" / "images" / "field0.tif")
    result = load_model(folder, threads=1).segment(image, axes="YX")
    assert result.labels.shape == image.shape
    with (places.run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["patches"]) for r in rows] == [48, 96]
    assert {"train_dice", "val_dice", "train_iou", "val_iou", "val_ap50"} <= set(rows[0])
    for name in ("report.html", "curves.png", "panels.png", "recipe.json", "checkpoint.pt"):
        assert (places.run / name).stat().st_size > 0
    assert "epoch 2" in "\n".join(lines)
    with pytest.raises(RecipeError, match="--resume"):
        train(recipe, places, limits=ALONE, progress=QUIET)


def test_onnx_computes_what_torch_computes(trained):
    places, folder, _ = trained
    model = UNet(UNetShape((8, 12), 8))
    state = read_checkpoint(places.run / "checkpoint.pt")
    backend = OnnxBackend(folder, read_card(folder / "card.json"), precision="float32")
    batch = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    differences = []
    for weights in (state.average, state.best_model):
        model.load_state_dict(weights)
        difference = np.abs(TorchBackend(model).predict(batch) - backend.predict(batch)).max()
        differences.append(difference)
    assert min(differences) < 0.01


class StopAt:
    """Asks the process to stop, as Ctrl-C does, once so many patches are through."""

    def __init__(self, patches):
        self.patches = patches

    def step(self, *, patches, total, loss, seconds_left):
        if patches == self.patches:
            os.kill(os.getpid(), signal.SIGTERM)

    def epoch(self, model, row):
        return 0.0


def test_a_stopped_training_resumes_where_it_was(recipe, places, tmp_path):
    index = prepare(recipe, places.data, tmp_path / "packed", progress=lambda _: None)

    def trainer():
        return Trainer(recipe, tmp_path / "packed", index, limits=ALONE)

    whole = trainer()
    assert whole.run(tmp_path / "whole", StopAt(-1))
    first = trainer()
    assert not first.run(tmp_path / "parts", StopAt(40))
    assert first.patches == 40
    second = trainer()
    second.resume(tmp_path / "parts" / "checkpoint.pt")
    assert second.patches == 40
    assert second.run(tmp_path / "parts", StopAt(-1))
    assert second.patches == whole.patches == 96
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def run_cellrim(*arguments, discs, log, launcher=()):
    environment = os.environ | {"CELLRIM_DATA": str(discs), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", *launcher, "-m", "cellrim", "train", *arguments]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def write_recipe(recipe, path, **training):
    """Write a recipe as TOML; JSON values are TOML values here."""
    import json

    table = recipe.model_dump()
    table["training"] |= training
    lines = [f"name = {json.dumps(table['name'])}", '[[data]]\npath = "discs"']
    for part in ("model", "training", "validation"):
        lines.append(f"[{part}]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in table[part].items() if v is not None]
    path.write_text("\n".join(lines))
    return path


def test_killed_in_the_middle_and_resumed_by_the_command_line(recipe, discs, tmp_path):
    endless = 10_000_000
    path = write_recipe(recipe, tmp_path / "recipe.toml", patches=endless)
    run = tmp_path / "run"
    checkpoint = run / "checkpoint.pt"
    options = (str(path), "-o", str(run), "--device", "cpu", "--workers", "0")
    with (tmp_path / "log.txt").open("w") as log:
        first = run_cellrim(*options, "--max-minutes", "0.02", discs=discs, log=log)
        assert first.wait(120) == 0, (tmp_path / "log.txt").read_text()
        seen = read_checkpoint(checkpoint).patches
        assert 0 < seen < endless
        killed = run_cellrim(*options, "--resume", discs=discs, log=log)
        time.sleep(4)
        killed.kill()
        killed.wait(60)
    kept = read_checkpoint(checkpoint).patches
    assert kept >= seen
    with (tmp_path / "log.txt").open("a") as log:
        # A schedule by time that is over ends the training with the next step, as a model.
        last = run_cellrim(*options, "--resume", "--anneal-minutes", "0.01", discs=discs, log=log)
        assert last.wait(240) == 0, (tmp_path / "log.txt").read_text()
    assert read_checkpoint(checkpoint).patches > kept
    assert (run / "model" / "model.onnx").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over torchrun is tested on POSIX")
def test_two_processes_train_one_model(recipe, discs, tmp_path):
    path = write_recipe(recipe, tmp_path / "recipe.toml", patches=64)
    run = tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    options = (str(path), "-o", str(run), "--device", "cpu", "--workers", "0")
    with (tmp_path / "log.txt").open("w") as log:
        process = run_cellrim(*options, discs=discs, log=log, launcher=launcher)
        assert process.wait(240) == 0, (tmp_path / "log.txt").read_text()
    assert read_checkpoint(run / "checkpoint.pt").patches == 64
    assert (run / "model" / "card.json").is_file()


def test_fine_tuning_begins_with_the_old_weights(recipe, trained):
    places, _, _ = trained
    checkpoint = places.run / "checkpoint.pt"
    new = Trainer(recipe, places.packed_folder, read_index(places.packed_folder), limits=ALONE)
    new.start_from(read_checkpoint(checkpoint).average)
    old = read_checkpoint(checkpoint).average
    for name, value in new.model.state_dict().items():
        assert torch.equal(value, old[name])
    with pytest.raises(RecipeError, match="do not fit"):
        new.start_from({"rim.0.weight": torch.zeros(1)})


def test_fine_tuning_begins_with_what_an_exported_model_computes(recipe, trained):
    places, folder, _ = trained
    index = read_index(places.packed_folder)
    new = Trainer(recipe, places.packed_folder, index, limits=ALONE)
    new.start_from_model(find_model(folder))
    batch = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    exported = OnnxBackend(folder, read_card(folder / "card.json"), precision="float32")
    expected = exported.predict(batch)
    np.testing.assert_allclose(TorchBackend(new.model).predict(batch), expected, atol=1e-3)
    np.testing.assert_allclose(TorchBackend(new.average).predict(batch), expected, atol=1e-3)
    wider = recipe.model_copy(update={"model": recipe.model.model_copy(update={"rim": 4})})
    with pytest.raises(RecipeError, match="rim=4"):
        Trainer(wider, places.packed_folder, index, limits=ALONE).start_from_model(
            find_model(folder)
        )


@pytest.mark.parametrize(
    ("ends", "own"),
    [
        ({"half_in": True}, {"rim", "stem"}),
        ({"half_out": True}, {"head"}),
        ({"half_in": True, "half_out": True}, {"rim", "stem", "head"}),
        ({"half_out": True, "first_block": False}, {"head"}),
    ],
    ids=str,
)
def test_a_network_with_other_ends_borrows_the_rest_and_learns_its_own_layers_first(
    recipe, trained, tmp_path, ends, own
):
    places, folder, _ = trained
    changes = {
        "model": recipe.model.model_copy(update=ends),
        "training": recipe.training.model_copy(update={"new_layers": 16}),
    }
    halved = recipe.model_copy(update=changes)
    index = read_index(places.packed_folder)
    full = Trainer(recipe, places.packed_folder, index, limits=ALONE)
    full.start_from_model(find_model(folder))
    new = Trainer(halved, places.packed_folder, index, limits=ALONE)
    new.start_from_model(find_model(folder))
    new.judge_start(NoEpoch())
    assert new.history == []  # random layers draw noise, which is no mark to beat
    given = dict(full.model.named_parameters())
    first = {name: value.clone() for name, value in new.model.named_parameters()}
    borrowed = {name for name in first if name.split(".")[0] not in own}
    assert all(torch.equal(first[name], given[name]) for name in borrowed)
    assert set(first) & new.borrowed == borrowed

    def changed():
        return {n for n, value in new.model.named_parameters() if not torch.equal(value, first[n])}

    same = Trainer(halved, places.packed_folder, index, limits=ALONE)
    same.start_from_checkpoint(places.run / "checkpoint.pt")
    assert same.borrowed == new.borrowed
    new.run(tmp_path, StopAt(16))
    assert {name.split(".")[0] for name in changed()} == own
    again = Trainer(halved, places.packed_folder, index, limits=ALONE)
    again.resume(tmp_path / "checkpoint.pt")
    assert again.borrowed == new.borrowed
    new.run(tmp_path, StopAt(24))
    assert changed() >= borrowed


def test_a_teacher_is_imitated(recipe, trained, tmp_path):
    places, folder, _ = trained
    index = read_index(places.packed_folder)
    settings = {"teacher": str(folder), "patches": 600, "learning_rate": 5e-3}
    taught = recipe.model_copy(update={"training": recipe.training.model_copy(update=settings)})
    new = Trainer(taught, places.packed_folder, index, limits=ALONE)
    image = tifffile.imread(places.data / "discs" / "images" / "field0.tif")
    batch = np.float32(image[None, None, :, :96] / 255).repeat(3, axis=1)
    teacher = OnnxBackend(folder, read_card(folder / "card.json"), precision="float32")
    wanted = teacher.predict(batch)[:, :3]

    def difference():
        return np.abs(TorchBackend(new.model).predict(batch)[:, :3] - wanted).mean()

    before = difference()
    assert new.run(tmp_path, StopAt(-1))
    assert difference() < before / 2
    state = read_checkpoint(tmp_path / "checkpoint.pt")
    assert state.taught_by == read_card(folder / "card.json").sha256
    unknown = recipe.training.model_copy(update={"teacher": "nobody"})
    with pytest.raises(CellrimError, match="nobody"):
        Trainer(
            recipe.model_copy(update={"training": unknown}), places.packed_folder, index,
            limits=ALONE,
        )  # fmt: skip


class NoEpoch:
    """An observer that nothing may be shown to."""

    def epoch(self, model, row):
        raise AssertionError(row)


def test_the_card_names_the_model_that_training_went_on_from(recipe, trained, tmp_path):
    places, folder, _ = trained
    again = Places(run=tmp_path / "again", packed=places.packed_folder)
    new = train(recipe, again, limits=ALONE, start_from=folder, progress=QUIET)
    assert read_card(new / "card.json").started_from == read_card(folder / "card.json").sha256
    assert read_card(folder / "card.json").started_from is None
    checkpoint = places.run / "checkpoint.pt"
    further = Trainer(recipe, places.packed_folder, read_index(places.packed_folder), limits=ALONE)
    further.start_from_checkpoint(again.run / "checkpoint.pt")
    assert further.started_from == read_card(folder / "card.json").sha256
    further.start_from_checkpoint(checkpoint)
    assert further.started_from is None


def test_recipes_and_data_that_cannot_work_are_refused(recipe, tmp_path, discs):
    with pytest.raises(RecipeError, match="is not under"):
        train(recipe, Places(run=tmp_path / "a", data=tmp_path), limits=ALONE)
    with pytest.raises(RecipeError, match="to be a folder"):
        train(recipe, Places(run=tmp_path / "a", data=tmp_path / "no"), limits=ALONE)
    with pytest.raises(RecipeError, match="Nothing to resume"):
        train(recipe, Places(run=tmp_path / "a", data=discs), limits=ALONE, resume=True)
    only_one = tmp_path / "one" / "discs"
    for folder in ("images", "labels"):
        (only_one / folder).mkdir(parents=True)
        name = Path(folder) / "field0.tif"
        (only_one / name).write_bytes((discs / "discs" / name).read_bytes())
    with pytest.raises(RecipeError, match="validation split is empty"):
        train(recipe, Places(run=tmp_path / "b", data=tmp_path / "one"), limits=ALONE)
    no_cells = tmp_path / "none" / "discs"
    for folder in ("images", "labels"):
        (no_cells / folder).mkdir(parents=True)
        for i in range(3):
            tifffile.imwrite(no_cells / folder / f"{i}.tif", np.zeros((40, 40), np.uint8))
    with pytest.raises(RecipeError, match="No cell"):
        train(recipe, Places(run=tmp_path / "c", data=tmp_path / "none"), limits=ALONE)


def test_images_with_too_many_channels_are_refused(recipe, tmp_path):
    root = tmp_path / "data" / "discs"
    for i in range(3):
        labels = np.zeros((40, 48), np.uint8)
        labels[10:20, 10:20] = 1
        pixels = np.dstack([labels * 200] * 4)
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "labels").mkdir(parents=True, exist_ok=True)
        path = root / "images" / f"{i}.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
        tifffile.imwrite(root / "labels" / f"{i}.tif", labels)
    with pytest.raises(RecipeError, match="one to three channels, but got 4"):
        train(recipe, Places(run=tmp_path / "run", data=tmp_path / "data"), limits=ALONE)


def test_a_damaged_checkpoint_is_named(recipe, places):
    places.run.mkdir(parents=True)
    (places.run / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(RecipeError, match="cannot be read"):
        train(recipe, places, limits=ALONE, resume=True, progress=QUIET)


def test_one_unreadable_image_does_not_stop_packing(recipe, discs, tmp_path):
    root = tmp_path / "data" / "discs"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
        for file in (discs / "discs" / folder).iterdir():
            (root / folder / file.name).write_bytes(file.read_bytes())
    (root / "images" / "field1.tif").write_bytes(b"II*\0broken")
    index = prepare(recipe, tmp_path / "data", tmp_path / "packed", progress=lambda _: None)
    assert len(index.samples) == 5
    assert any("field1" in p for p in index.problems)


def test_dry_run_counts_and_estimates(recipe, places):
    outlook = dry_run(recipe, places, limits=ALONE)
    assert outlook.images == {("discs", "train"): 5, ("discs", "validation"): 1}
    assert sum(outlook.cells.values()) > 20
    assert outlook.seconds > 0
    assert "discs" in outlook.describe()
    assert not places.run.exists()


def test_unknown_devices_are_refused():
    with pytest.raises(RecipeError, match="Expected auto, cpu, cuda"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="sees none"):
            choose_device("cuda")
