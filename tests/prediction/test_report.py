import csv
import json

import imagecodecs
import msgspec
import numpy as np
import pytest

from cellrim.core.image import image_from_array
from cellrim.prediction import Segmenter
from cellrim.prediction.batch import plan_run, run
from cellrim.prediction.inputs import find_jobs
from cellrim.prediction.report import Kept, append_kept, keep, read_kept, write_report
from cellrim.prediction.request import Request
from cellrim.prediction.result import Result
from cellrim.report.page import PICTURES_BYTES, read_cards

WITH = Request(save=("labels", "overlay"), report=True)
NAMES = ("plate/A01_s1", "plate/A01_s2", "plate/B02_s1")


@pytest.fixture
def folder(tmp_path, discs):
    images = tmp_path / "in"
    (images / "plate").mkdir(parents=True)
    for name, radius in zip(NAMES, (8, 7, 8), strict=True):
        pixels = discs((80, 90), radius)
        (images / f"{name}.png").write_bytes(imagecodecs.png_encode(pixels))
    return images


@pytest.fixture
def segmenter(oracle, card_with):
    return Segmenter(oracle(16.0), card_with())


@pytest.fixture
def start(folder, segmenter):
    def make(request=WITH, report=None, **kwargs):
        out = folder.parent / "out"
        jobs = find_jobs([folder], out)
        plan = plan_run(jobs, out, segmenter=segmenter, request=request, **kwargs)
        return run(plan, report=report)

    return make


def page(folder):
    return folder.parent / "out" / "report.html"


def cards(folder):
    return {card["name"]: card for card in read_cards(page(folder))}


def test_the_page_shows_every_image(folder, start):
    (folder / "plate" / "B03_s1.tif").write_bytes(b"II*\0broken <b>")
    outcome = start()
    text = page(folder).read_text(encoding="utf-8")
    found = cards(folder)
    assert set(found) == {*NAMES, "plate/B03_s1"}
    # What failed comes first, and says why, also without the gallery.
    assert next(iter(found)) == "plate/B03_s1"
    assert "B03_s1.tif" in found["plate/B03_s1"]["error"]
    assert text.count("B03_s1") >= 3
    for record in outcome.records:
        if record.status == "ok":
            card = found[record.target]
            assert card["keep"]["cells"] == record.cells > 0
            assert card["picture"]["image"]
            assert [f"{record.target}_labels.tif" in card["links"].values()] == [True]
            assert card["flags"] == list(record.flags)
    assert found["plate/A01_s1"]["well"] == "A01"
    # Both sites of a well are added up.
    sites = sum(found[name]["keep"]["cells"] for name in NAMES[:2])
    assert f"A01: {sites}</title>" in text
    assert not (folder.parent / "out" / ".report.jsonl").exists()


def test_flagged_images_come_before_the_others(folder, start, discs):
    tiny = discs((80, 90), 2, spacing=8)
    (folder / "plate" / "zz.png").write_bytes(imagecodecs.png_encode(tiny))
    outcome = start()
    [flagged] = [r for r in outcome.records if "too few pixels per cell" in r.flags]
    assert flagged.target == "plate/zz"
    assert flagged.quality["cell_diameter"] < 8
    first = next(iter(cards(folder).values()))
    assert first["name"] == "plate/zz"
    assert any("Too few pixels per cell" in text for text in first["sentences"])
    summary = json.loads((folder.parent / "out" / "run.json").read_text())
    assert {f["target"]: f["flags"] for f in summary["files"]}["plate/zz"] == list(flagged.flags)


def test_flags_and_quality_are_columns_of_the_table(folder, start, discs):
    tiny = discs((80, 90), 2, spacing=8)
    (folder / "plate" / "zz.png").write_bytes(imagecodecs.png_encode(tiny))
    (folder / "plate" / "zzz.tif").write_bytes(b"II*\0broken")
    outcome = start()
    with (folder.parent / "out" / "images.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert "too few pixels per cell" in rows["plate/zz"]["flags"].split("; ")
    for record in outcome.records:
        assert rows[record.target]["flags"] == "; ".join(record.flags)
        for name, value in record.quality.items():
            written = rows[record.target][f"quality_{name}"]
            assert written == "" if value is None else float(written) == pytest.approx(value)
    assert rows["plate/zzz"]["status"] == "failed"
    assert rows["plate/zzz"]["quality_cell_diameter"] == ""


class Killed(BaseException):
    pass


def test_a_killed_run_goes_on_with_its_pictures(folder, start):
    def kill(record):
        raise Killed

    with pytest.raises(Killed):
        start(report=kill)
    out = folder.parent / "out"
    assert not page(folder).exists()
    kept = read_kept(out)
    assert set(kept) == {NAMES[0]}
    with (out / ".report.jsonl").open("a") as file:
        file.write('{"target": "torn')
    # The image of a done one may be gone meanwhile: nothing is read twice.
    seen = []
    start(existing="resume", report=seen.append)
    assert [r.target for r in seen] == list(NAMES[1:])
    found = cards(folder)
    assert found[NAMES[0]]["picture"] == kept[NAMES[0]].picture
    assert all(card["picture"] for card in found.values())


def test_a_finished_run_takes_new_images_and_keeps_the_old_pictures(folder, start, discs):
    start()
    before = cards(folder)
    (folder / "plate" / "C01.png").write_bytes(imagecodecs.png_encode(discs((70, 70), 8)))
    start(existing="resume")
    after = cards(folder)
    assert set(after) == {*NAMES, "plate/C01"}
    assert all(after[name]["picture"] == before[name]["picture"] for name in NAMES)
    assert all(after[name]["keep"] == before[name]["keep"] for name in NAMES)


def test_pictures_are_made_of_saved_labels_where_a_run_had_no_report(folder, start):
    start(Request(save=("labels", "overlay")))
    assert not page(folder).exists()
    seen = []
    start(existing="resume", report=seen.append)
    assert seen == []
    assert all(card["picture"] for card in cards(folder).values())


def test_overwrite_leaves_nothing_of_the_page_before(folder, start):
    start()
    (folder / f"{NAMES[0]}.png").write_bytes(b"")
    start(existing="overwrite")
    found = cards(folder)
    assert found[NAMES[0]]["picture"] is None
    assert found[NAMES[0]]["error"]


def test_without_it_no_page_of_an_earlier_run_stays(folder, start):
    start()
    start(Request(save=("labels", "overlay")), existing="overwrite")
    assert not page(folder).exists()


def test_a_page_that_somebody_broke_is_made_again(folder, start):
    start()
    page(folder).write_text("nothing")
    start(existing="resume")
    assert all(card["picture"] for card in cards(folder).values())


def test_names_with_spaces_and_unicode_are_linked(folder, start, discs):
    name = "pl#te/a b & 'ü' 100%"
    (folder / "pl#te").mkdir()
    (folder / f"{name}.png").write_bytes(imagecodecs.png_encode(discs((60, 60), 8)))
    start()
    [link] = [v for k, v in cards(folder)[name]["links"].items() if k.endswith("overlay.png")]
    assert link == "pl%23te/a%20b%20%26%20%27%C3%BC%27%20100%25_overlay.png"


def test_an_image_without_cells_and_one_of_many_channels(tmp_path):
    rng = np.random.default_rng(0)
    image = image_from_array(rng.random((40, 50, 5)).astype(np.float32), axes="YXC")
    nothing = Result(np.zeros((40, 50), np.int32), np.zeros(0, np.float32), 24.0, image)
    kept = keep(nothing, "x", images=1)
    assert (kept.cells, kept.diameters, kept.confidence) == (0, (), None)
    assert len(kept.intensities) == 4
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Kept) == kept


def test_a_thousand_images_stay_small(tmp_path, cells):
    """The bound that the docs state, with pictures as large as their budget lets them be."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    labels = np.kron(np.arange(1, 626).reshape(25, 25), np.ones((12, 12))).astype(np.int32)
    result = Result(
        labels, np.full(625, 0.9, np.float32), 12.0, image_from_array(noise, axes="YXC")
    )
    kept = keep(result, "x", images=1000)
    files = []
    for k in range(1000):
        target = f"p{k // 384}/{chr(65 + k % 384 // 24)}{k % 24 + 1:02d}"
        append_kept(tmp_path, msgspec.structs.replace(kept, target=target))
        record = {"source": f"/{target}.tif", "target": target, "status": "ok", "cells": 625}
        files.append(record)
    summary = {
        "files": files, "images": 1000, "cells": 625_000, "begun": "now", "seconds": 1.0,
        "done_before": 0, "model": {"name": "m", "version": "1", "sha256": "0"}, "options": {},
        "devices": ["cpu"],
        "cellrim": "0", "python": "3", "platform": "x", "packages": {},
    }  # fmt: skip
    write_report(tmp_path, summary)
    size = (tmp_path / "report.html").stat().st_size
    assert PICTURES_BYTES / 4 < size < PICTURES_BYTES + 6_000_000
    found = read_cards(tmp_path / "report.html")
    assert sum(card["picture"] is not None for card in found) == 1000


def test_a_stack_is_one_card_with_all_of_its_cells(folder, start, write_tiff, discs):
    planes = np.stack([discs((80, 90), 8), np.zeros((80, 90), np.uint8), discs((80, 90), 8)])
    write_tiff(folder / "stack.ome.tif", planes, metadata={"axes": "TYX"}, ome=True)
    outcome = start()
    [record] = [r for r in outcome.records if r.target == "stack"]
    card = cards(folder)["stack"]
    assert card["keep"]["cells"] == record.cells > 0
    assert card["keep"]["covered"] > 0.1  # shown by a plane with cells
    assert record.quality["cell_diameter"] == pytest.approx(16, rel=0.2)
    assert card["picture"]


def test_an_empty_channel_has_no_histogram(folder, start, discs):
    rng = np.random.default_rng(0)
    pixels = np.zeros((80, 90, 3), np.uint8)
    pixels[..., 0] = discs((80, 90), 8) // 2 + rng.integers(0, 9, (80, 90))
    (folder / "plate" / "C01.png").write_bytes(imagecodecs.png_encode(pixels))
    start()
    text = page(folder).read_text(encoding="utf-8")
    assert "mean intensity of the cells, red" in text
    assert "mean intensity of the cells, blue" not in text
