"""The page in a real browser: drop, segment, correct, download. And what needs no browser."""

import csv
import os
import re
import shutil
import socket
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from cellrim.io.images import read_image
from cellrim.server.app import PAGE, create_app
from cellrim.server.workspace import desk, trainer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
]
SECONDS = 60_000  # milliseconds, for machines that are busy with other things


def test_nothing_comes_from_other_hosts_and_nothing_is_inline():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        hosts = re.findall(r"https?://[^\s\"')]+", text)
        assert set(hosts) <= {"http://www.w3.org/2000/svg"}, path.name
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)


def test_every_element_that_the_scripts_ask_for_is_there():
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    scripts = "".join(p.read_text(encoding="utf-8") for p in PAGE.glob("*.js"))
    asked = set(re.findall(r'\$\("([^"]+)"\)', scripts)) | set(
        re.findall(r'\bon\("([^"]+)"', scripts)
    )
    assert asked <= set(ids)


def test_the_page_is_served_with_its_policy(client):
    said = client.get("/")
    assert said.status_code == 200
    assert "script-src 'self'" in said.headers["content-security-policy"]
    for name in re.findall(r'(?:src|href)="([^"#]+)"', said.text):
        assert client.get(f"/{name}").status_code == 200, name


# --------------------------------------------------------------------------- in the browser


@pytest.fixture
def browser():
    """Start Chromium with an empty profile; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: tests in the browser are skipped")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def site(settings_with):
    """Serve on a free port, in a thread, with some settings changed; gives the address."""
    uvicorn = pytest.importorskip("uvicorn")
    with ExitStack() as running:

        def start(**changes):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            app = create_app(settings_with(**changes))
            server = uvicorn.Server(
                uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none")
            )
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            end = time.monotonic() + 60
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < end
                time.sleep(0.05)
            running.callback(thread.join, 30)
            running.callback(setattr, server, "should_exit", True)
            return f"http://127.0.0.1:{port}/"

        yield start


@pytest.fixture
def visit(browser, site):
    """Open the page at the size it must fit; whatever its scripts complain of fails the test."""
    complaints = []

    def start(**changes):
        opened = browser.new_page(viewport={"width": 1280, "height": 720}, accept_downloads=True)
        opened.set_default_timeout(SECONDS)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "console", lambda line: complaints.append(line.text) if line.type == "error" else None
        )
        opened.goto(site(**changes))
        return opened

    yield start
    # That a refused upload is logged by the browser itself is as it should be.
    assert [c for c in complaints if not re.search("status of (4|507)", c)] == []


@pytest.fixture
def page(visit):
    return visit()


@pytest.fixture
def look_at():
    """Keep a picture of the page, to be looked at, where the tests are told a folder for it."""
    folder = os.environ.get("CELLRIM_SCREENSHOTS")

    def keep(page, name):
        if folder:
            settle(page)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return keep


DROP = """
([name, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(
      new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data }));
  }
}
"""


def drop(page, name, data):
    import base64

    page.evaluate(DROP, [name, base64.b64encode(data).decode()])


def wait_for_count(page, text):
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text(text, timeout=SECONDS)


def settle(page):
    """Let the page lay out and draw what it has."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))")


def wait_for_bad(page, count):
    from playwright.sync_api import expect

    expect(page.locator("#images .what.bad")).to_have_count(count, timeout=SECONDS)


def at(page, shape, x, y):
    """Place on the screen of a point of an image that is shown whole, in the middle."""
    box = page.locator("#pane-result").bounding_box()
    scale = min((box["width"] - 24) / shape[1], (box["height"] - 24) / shape[0], 8)
    left = box["x"] + (box["width"] - shape[1] * scale) / 2
    top = box["y"] + (box["height"] - shape[0] * scale) / 2
    return left + x * scale, top + y * scale


TINT = """
([x, y]) => {
  const canvas = document.querySelector("canvas.over");
  const box = canvas.getBoundingClientRect();
  const k = canvas.width / box.width;
  return canvas.getContext("2d").getImageData((x - box.left) * k, (y - box.top) * k, 1, 1).data[3];
}
"""


def tint(page, place):
    """How much of a colour lies over a place of the screen, 0..255."""
    return page.evaluate(TINT, list(place))


def draw(page, points):
    page.mouse.move(*points[0])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(x, y, steps=6)
    page.mouse.up()


def download(page, form):
    page.click("#download")
    with page.expect_download() as started:
        page.click(f'[data-form="{form}"]')
    page.keyboard.press("Escape")
    return started.value


@pytest.mark.timeout(400)
def test_drop_segment_correct_download(page, png, field, tmp_path):
    drop(page, "my <cells>.png", png)
    wait_for_count(page, "20")
    # Delete with the tool: the cell in the first row and column.
    page.click('[data-tool="delete"]')
    page.mouse.click(*at(page, field.shape, 12, 12))
    wait_for_count(page, "19")
    # Split with a line across the second.
    page.keyboard.press("s")
    draw(page, [at(page, field.shape, 36.5, 1), at(page, field.shape, 36.5, 23)])
    wait_for_count(page, "20")
    # Merge its halves again: a line through both.
    page.keyboard.press("m")
    draw(page, [at(page, field.shape, 31, 12), at(page, field.shape, 41, 12)])
    wait_for_count(page, "19")
    # Add one where the first was.
    page.keyboard.press("a")
    draw(page, [at(page, field.shape, *p) for p in ((5, 5), (19, 5), (19, 19), (5, 19))])
    wait_for_count(page, "20")
    page.keyboard.press("Control+z")
    wait_for_count(page, "19")
    page.keyboard.press("Control+Shift+z")
    wait_for_count(page, "20")
    got = download(page, "label-tiff")
    assert got.suggested_filename == "my <cells>_labels.tif" or "cells" in got.suggested_filename
    path = tmp_path / "labels.tif"
    got.save_as(path)
    labels = tifffile.imread(path)
    assert labels.shape == field.shape
    assert len(np.unique(labels)) == 21
    drawn = labels == labels[12, 12]
    assert drawn[6:18, 6:18].all()
    assert drawn.sum() <= 16 * 16


@pytest.mark.timeout(400)
def test_dropped_while_the_page_is_still_loading_it_is_listed_once(browser, site, png):
    """The list of models comes late: the image is already on the server by then."""
    from playwright.sync_api import expect

    page = browser.new_page()
    page.set_default_timeout(SECONDS)
    held = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.goto(site())
    drop(page, "early.png", png)
    wait_for_count(page, "20")
    held[0].continue_()
    expect(page.locator("#model option")).not_to_have_count(0)
    settle(page)
    expect(page.locator("#images .what")).to_have_count(1)
    page.unroute("**/v1/models")
    page.reload()
    wait_for_count(page, "20")
    expect(page.locator("#images .what")).to_have_count(1)


@pytest.mark.timeout(400)
def test_a_removed_image_can_be_brought_back(page, png):
    from playwright.sync_api import expect

    drop(page, "cells.png", png)
    wait_for_count(page, "20")
    page.locator("#stage").focus()
    page.keyboard.press("n")
    page.keyboard.press("Delete")
    wait_for_count(page, "19")
    page.click('[aria-label="Remove cells.png"]')
    expect(page.locator("#images .what")).to_have_count(0)
    page.click("#toast >> text=Undo")
    expect(page.locator("#images .what")).to_have_text("19 cells, 1 edit")
    wait_for_count(page, "19")
    page.keyboard.press("Control+z")
    wait_for_count(page, "20")
    page.click('[aria-label="Remove cells.png"]')
    with page.expect_request(lambda asked: asked.method == "DELETE"):
        expect(page.locator("#images .what")).to_have_count(0)


@pytest.mark.timeout(400)
def test_select_table_keyboard_and_sliders(page, png, field):
    from playwright.sync_api import expect

    drop(page, "cells.png", png)
    wait_for_count(page, "20")
    settle(page)
    # The row below the pointer tints its cell.
    centres = [at(page, field.shape, 12 + 24 * i, 12 + 24 * j) for i in range(5) for j in range(4)]
    assert sum(tint(page, centre) > 0 for centre in centres) == 0
    page.locator("#table .line").nth(3).hover()
    settle(page)
    assert sum(tint(page, centre) > 0 for centre in centres) == 1
    page.mouse.click(*at(page, field.shape, 36, 12))
    chosen = page.locator('#table .line[aria-selected="true"]')
    chosen.wait_for()
    number = int(chosen.locator("span").first.inner_text())
    page.wait_for_selector("#tip:not([hidden])")
    expect(page.locator("#tip b")).to_have_text(f"Cell {number}")
    page.mouse.move(*at(page, field.shape, 60, 12))
    expect(page.locator("#tip b")).not_to_have_text(f"Cell {number}")
    # The keyboard alone: next cell, delete, undo.
    page.keyboard.press("n")
    expect(chosen.locator("span").first).to_have_text(str(number + 1))
    # The bar of the histogram that holds the cell stands out, and the arrows go along the bars.
    expect(page.locator("#histogram button.marked")).to_have_count(1)
    page.locator('#histogram button[tabindex="0"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#histogram button:focus")).to_have_count(1)
    page.locator("#stage").focus()
    page.keyboard.press("Delete")
    wait_for_count(page, "19")
    page.keyboard.press("Control+z")
    wait_for_count(page, "20")
    # Sorted by area, the largest first.
    page.click('#table .head button[title="Sort by Area"]')
    areas = [int(t) for t in page.locator("#table .line span:nth-child(2)").all_inner_texts()]
    assert areas == sorted(areas, reverse=True)
    # Confidence hides cells at once; this network is sure of none.
    page.click("#tab-adjust")
    page.locator("#confidence").fill("0.5")
    page.click("#tab-cells")
    wait_for_count(page, "0")
    page.click("#tab-adjust")
    page.locator("#confidence").fill("0")
    page.click("#tab-cells")
    wait_for_count(page, "20")
    # Steps of a slider by the keyboard run the network once, and the slider keeps the keyboard.
    page.click("#tab-adjust")
    runs = []
    page.on("request", lambda asked: runs.append(asked.url) if "/segment?" in asked.url else None)
    page.locator("#diameter").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#automatic")).not_to_be_checked()
    expect(page.locator("#undo")).to_be_enabled()
    page.wait_for_timeout(1000)
    expect(page.locator("#diameter")).to_be_enabled()
    expect(page.locator("#diameter")).to_be_focused()
    assert len(runs) == 1
    page.locator("#stage").focus()
    page.keyboard.press("Control+z")
    page.click("#tab-cells")
    wait_for_count(page, "20")
    # What is drawn over another cell than the selected one is the outline of that one.
    page.keyboard.press("v")
    page.mouse.click(*at(page, field.shape, 36, 12))
    page.keyboard.press("r")
    draw(page, [at(page, field.shape, *p) for p in ((76, 52), (92, 52), (92, 68), (76, 68))])
    expect(page.locator("#images .what")).to_have_text("20 cells, 1 edit")
    settle(page)
    assert tint(page, at(page, field.shape, 36, 12)) > 0
    # Side by side, then a reload: the image is still there.
    page.keyboard.press("b")
    assert page.locator("#pane-original").is_visible()
    page.reload()
    wait_for_count(page, "20")


@pytest.mark.timeout(400)
def test_a_bad_file_says_so_and_the_others_go_on(page, png):
    from playwright.sync_api import expect

    drop(page, "broken.png", png[:100])
    drop(page, "notes.txt", b"no image at all")
    drop(page, "good.png", png)
    wait_for_bad(page, 2)
    page.click("text=good.png")
    wait_for_count(page, "20")
    told = page.locator("#images .what.bad").all_inner_texts()
    assert any("notes.txt" in text and "expected a PNG" in text for text in told)
    page.click("#overview-button")
    expect(page.locator("#overview tbody tr")).to_have_count(3)


@pytest.mark.timeout(400)
def test_a_file_that_found_no_space_can_be_sent_again(page, png):
    from playwright.sync_api import expect

    no_space = {"detail": "No space: delete trained models.", "status": 507}
    page.route(
        "**/v1/workspace/images*", lambda route: route.fulfill(status=507, json=no_space), times=1
    )
    drop(page, "cells.png", png)
    wait_for_bad(page, 1)
    expect(page.locator("#busy-text")).to_have_text("No space: delete trained models.")
    page.click("#busy-again")
    wait_for_count(page, "20")
    wait_for_bad(page, 0)


@pytest.mark.timeout(400)
def test_it_fits_the_screen_and_names_every_control(page, png):
    drop(page, "cells.png", png)
    wait_for_count(page, "20")
    for tab in ("cells", "adjust", "learn"):
        page.click(f"#tab-{tab}")
        size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert size[0] <= size[1]
        clipped = page.evaluate(
            """() => [...document.querySelectorAll("header button, #tools button, footer button")]
              .filter((b) => { const r = b.getBoundingClientRect();
                return r.right > innerWidth || r.bottom > innerHeight || r.width < 20; })
              .map((b) => b.id || b.textContent)"""
        )
        assert clipped == []
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select")]
          .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []


FRAMES = """
async () => {
  const { Viewer } = await import("/viewer.js");
  const events = { hover() {}, click() {}, gesture() {}, zoomed() {} };
  const viewer = new Viewer(document.getElementById("stage"), events);
  const median = async (edge, spacing) => {
    const across = Math.floor(edge / spacing);
    const labels = new Uint16Array(edge * edge);
    for (let y = 0; y < across * spacing; y++) {
      for (let x = 0; x < across * spacing; x++) {
        const [dy, dx] = [(y % spacing) - spacing / 2, (x % spacing) - spacing / 2];
        if (dy * dy + dx * dx < (spacing * spacing) / 9) {
          labels[y * edge + x] = Math.floor(y / spacing) * across + Math.floor(x / spacing) + 1;
        }
      }
    }
    const bitmap = await createImageBitmap(new ImageData(edge, edge));
    await viewer.setImage(bitmap, edge, edge, { light: false, diameter: spacing, fit: true });
    viewer.setLabels(labels);
    viewer.setShown(new Uint8Array(across * across + 1).fill(1));
    const times = [];
    for (let i = 0; i < 15; i++) {
      viewer.zoom(i < 8 ? 1.15 : 0.87);
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      times.push(viewer.milliseconds);
    }
    return times.sort((a, b) => a - b)[7];
  };
  await median(512, 64);
  return [await median(512, 64), await median(4096, 56)];
}
"""


@pytest.mark.timeout(400)
def test_a_frame_costs_what_the_screen_has_and_not_the_image(page):
    """A frame of 4096 x 4096 with 5,329 cells against one of 512 x 512 with 64."""
    small, large = page.evaluate(FRAMES)
    assert large < 4 * small + 20


@pytest.mark.timeout(400)
def test_real_images_in_the_browser(page, real_data, settings_with):
    """Real files of different kinds, with the real model of this server's list."""
    if sys.platform == "win32":
        pytest.skip("paths of the data are not for this system")
    files = [
        next(iter(sorted((real_data / "seed" / "BBBC009").rglob("*.tif")))),
        next(iter(sorted((real_data / "unlabelled" / "corrupt").glob("*.tif")))),
    ]
    page.set_input_files("#files", [Path(f) for f in files])
    wait_for_bad(page, 1)
    done = page.locator("#images .what", has_text=re.compile(r"^\d+ cells?$"))
    done.wait_for()
    assert page.locator("#images .thumb[src]").count() == 1


TRAINS = """
import json, pathlib, shutil, sys, time
data, run, base = map(pathlib.Path, sys.argv[1:])
print("packing 2/2: x", flush=True)
print("epoch 0: 0 patches, 0 min, Dice 0.9, AP50 0.250, mAP 0.1 | x 0.2", flush=True)
for patch in (10, 20, 30):
    print(f"patch {patch} of 40  loss 0.{50 - patch}0  1 min left", flush=True)
    time.sleep(3)
(run / "model").mkdir(parents=True)
shutil.copy(base / "model.onnx", run / "model")
card = json.loads((base / "card.json").read_text())
card["name"] = data.name
(run / "model" / "card.json").write_text(json.dumps(card))
"""


@pytest.mark.timeout(600)
def test_learning_is_shown_as_it_goes(visit, png, field, look_at, monkeypatch):
    """With a script in the place of the training, which says what a training says."""
    from playwright.sync_api import expect

    def command(data, run, base, _minutes, **_more):
        return [*(sys.executable, "-c", TRAINS), str(data), str(run), str(base.path)]

    monkeypatch.setattr(desk, "train_command", command)
    monkeypatch.setattr(trainer, "why_not", lambda: None)
    page = visit()
    page.click("#tab-learn")
    other = imagecodecs.png_encode(field, level=0)
    for number, (name, data) in enumerate({"first.png": png, "second.png": other}.items(), start=1):
        drop(page, name, data)
        page.click(f"#images button:has-text('{name}')")
        wait_for_count(page, "20")
        page.click("#collect")
        expect(page.locator("#set li")).to_have_count(number)
    page.locator("#train").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_contain_text("left", timeout=SECONDS)
    look_at(page, "learning")
    stop = page.locator("#progress button")
    stop.focus()
    page.wait_for_timeout(1500)  # the panel has been drawn anew meanwhile
    expect(stop).to_be_focused()
    expect(page.locator("#progress")).to_contain_text("is ready", timeout=SECONDS)
    look_at(page, "learned")
    expect(page.locator("#progress tbody tr").first).to_contain_text("*")
    use = page.locator("text=Use it for this image")
    box = use.bounding_box()
    assert box["y"] + box["height"] < 720
    use.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_have_value("tiny-fit-1")
    # Both can be deleted for good, once that is confirmed.
    trained = page.locator("#trained-models li")
    expect(trained).to_have_count(1)
    page.click('[aria-label="Delete the model tiny-fit-1"]')
    look_at(page, "learn-delete")
    page.keyboard.press("Escape")
    expect(trained).to_have_count(1)
    page.click('[aria-label="Delete the model tiny-fit-1"]')
    page.click("#sure-dialog .danger")
    expect(trained).to_have_count(0)
    expect(page.locator("#base")).to_have_text("generaltiny")
    page.locator("#set button").first.click()
    page.click("#sure-dialog .danger")
    expect(page.locator("#set li")).to_have_count(1)
    expect(page.locator("#space-text")).to_have_text(re.compile(r"^[\d.]+ .B of 20 GB used$"))
    page.click("#space")
    look_at(page, "space")
    expect(page.locator("#space-rows tr")).to_have_count(5)
    page.keyboard.press("Escape")


def real_crops(folder, *, dataset, count):
    """Yield name and PNG of corners of real images."""
    with (folder / "plain" / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == dataset]
    for row in rows[:count]:
        pixels = read_image(folder / "plain" / row["image"]).pixels[:224, :224]
        grey = pixels.shape[2] == 1
        yield Path(row["image"]).name, imagecodecs.png_encode(pixels[:, :, 0] if grey else pixels)


@pytest.mark.timeout(1500)
def test_correct_and_learn(visit, real_data, look_at, tmp_path):
    """Real images, the real model, and a real training of a few steps."""
    from playwright.sync_api import expect

    pytest.importorskip("torch", reason="training needs torch")
    page = visit(model="general", model_folders=(), training_patches=32)
    crops = dict(real_crops(real_data, dataset="dsb2018", count=3))
    for name, data in crops.items():
        drop(page, name, data)
    what = page.locator("#images .what")
    expect(what.filter(has_text=re.compile(r"^\d+ cells?$"))).to_have_count(3, timeout=3 * SECONDS)
    page.click("#tab-learn")
    expect(page.locator("#train")).to_be_disabled()
    for number, name in enumerate(crops, start=1):
        page.click(f"#images button:has-text('{name}')")
        page.click("#tab-cells")
        page.wait_for_selector("#table .line")
        cells = int(page.locator("#count").inner_text())
        page.locator("#stage").focus()
        page.keyboard.press("n")
        page.keyboard.press("Delete")
        wait_for_count(page, str(cells - 1))
        page.click("#tab-learn")
        page.click("#collect")
        expect(page.locator("#set li")).to_have_count(number)
    download(page, "label-tiff").save_as(tmp_path / "labels.tif")
    assert len(np.unique(tifffile.imread(tmp_path / "labels.tif"))) == cells
    look_at(page, "learn-collected")
    page.fill("#minutes", "20")
    page.click("#train")
    expect(page.locator("#progress")).to_contain_text("Training general-fit-1")
    look_at(page, "learn-preparing")
    minutes = 10 * SECONDS
    expect(page.locator("#progress")).to_contain_text("seeing how the model", timeout=minutes)
    look_at(page, "learn-judging")
    expect(page.locator("#progress")).to_contain_text("Loss", timeout=minutes)
    look_at(page, "learn-training")
    rows = page.locator("#progress tbody tr")
    expect(rows).to_have_count(3, timeout=minutes)
    look_at(page, "learn-finished")
    assert sum("*" in text for text in rows.all_inner_texts()) == 1
    for text in rows.all_inner_texts():
        assert re.search(r"[01]\.\d\d → [01]\.\d\d", text)
    for select in ("#model", "#base"):
        offered = page.locator(f"{select} option").all_inner_texts()
        assert offered == ["general", "general-fit-1"]
    page.click("text=Use it for this image")
    expect(what.last).to_have_text(re.compile(r"^\d+ cells?$"), timeout=3 * SECONDS)
    expect(page.locator("#model")).to_have_value("general-fit-1")
    page.click("#tab-adjust")
    look_at(page, "learn-used")
    page.click("#overview-button")
    expect(page.locator("#overview tbody tr").last).to_contain_text("general-fit-1")
    look_at(page, "learn-overview")
