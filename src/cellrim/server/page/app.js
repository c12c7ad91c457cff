// The page: a list of images, the one in view, its tools and panels.

import * as api from "./api.js";
import { CellsPanel } from "./cells.js";
import { $, capital, debounce, duration, h, hide, keepFocus, number, plural, save, say } from "./dom.js";
import { LearnPanel } from "./learn.js";
import { SpaceNote } from "./space.js";
import { Viewer } from "./viewer.js";

const POLL = 400; // milliseconds
const AT_ONCE = 3; // uploads
const SETTLED = 400; // milliseconds after the last step of a slider
const DIAMETERS = [4, 400]; // ends of the slider, pixels, on a logarithmic scale
const LATER = [0, 507]; // no answer, no space: the same file may be taken another time
const KEPT = "cellrim images"; // in the tab's own memory, so that a reload finds them again

const KEYS = [
  ["V", "Select"], ["D", "Delete tool"], ["S", "Split tool"], ["M", "Merge tool, or merge selected"],
  ["R", "Redraw tool"], ["A", "Add a cell"], ["Del", "Delete selected"], ["Shift+S", "Halve selected cell"],
  ["Ctrl+Z", "Undo"], ["Ctrl+Shift+Z", "Redo"], ["+  −", "Zoom"], ["0", "Show all"], ["1", "One to one"],
  ["Arrows", "Move"], ["N  P", "Next, previous cell"], ["Z", "Zoom to selected"], ["B", "Side by side"],
  ["O", "Outlines"], ["[  ]", "Previous, next image"], ["Space", "Hold to move"], ["Esc", "Let go"], ["?", "This help"],
];

const HINTS = {
  select: "Drag moves, the wheel zooms.",
  delete: "Click a cell to delete it.",
  split: "Draw a line across a cell.",
  merge: "Draw a line through the cells to join.",
  redraw: "Draw the new outline of a cell over it.",
  draw: "Draw around a cell that is missing.",
};

const images = new Map(); // by a number of our own; those on the server have an id
const toRecall = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"); // ids on the server, not listed yet
const UNDO = 10_000; // milliseconds for which a removed image can be brought back
let nextKey = 1;
let current = null; // the image in view
let selected = [];
let editing = Promise.resolve(); // corrections happen one after the other

const viewer = new Viewer($("stage"), {
  hover: showTip,
  click: clicked,
  gesture: gestured,
  zoomed: (scale) => ($("zoom").textContent = `${number(Math.round(scale * 100))} %`),
});
const cells = new CellsPanel({ onSelect: pick, onHover: (id) => viewer.setHovered(id) });
const space = new SpaceNote();
const learn = new LearnPanel({ current: () => current?.status ?? null, onModel: newModel, onChange: learned });

// -------------------------------------------------------------------- images

function addFiles(files) {
  const list = [...files];
  if (!list.length) return;
  for (const file of list) {
    const image = { key: nextKey++, name: file.name, file, status: null, sent: 0, error: null };
    images.set(image.key, image);
    listImage(image);
  }
  if (!current) show([...images.values()].at(-list.length));
  sendNext();
}

function sendNext() {
  const all = [...images.values()];
  const sending = all.filter((image) => image.sending).length;
  for (const image of all.filter((each) => each.file && !each.sending && !each.error).slice(0, AT_ONCE - sending)) {
    sendImage(image);
  }
}

async function sendImage(image) {
  image.sending = true;
  try {
    const status = await api.upload(image.file, wishes(), (sent) => {
      image.sent = sent;
      paintImage(image);
    });
    image.id = status.id;
    took(image, status);
  } catch (error) {
    if (error.status === 503) return setTimeout(() => ((image.sending = false), sendNext()), 3000);
    image.error = error.message;
    image.again = LATER.includes(error.status);
    paintImage(image);
    if (image === current) show(image);
  }
  if (!image.again) image.file = null;
  image.sending = false;
  remember();
  sendNext();
}

function sendAgain() {
  current.error = null;
  current.again = false;
  current.sent = 0;
  show(current);
  sendNext();
}

async function addSample() {
  try {
    const status = await api.sample(wishes());
    const image = { key: nextKey++, name: status.name, id: status.id, status: null, sent: 1, error: null };
    images.set(image.key, image);
    listImage(image);
    show(image);
    took(image, status);
    remember();
  } catch (error) {
    say(error.message, "error");
  }
}

const wishes = () => ({ model: $("model").value || null });

function remember() {
  const ids = [...images.values()].filter((image) => image.id).map((image) => image.id);
  sessionStorage.setItem(KEPT, JSON.stringify([...toRecall, ...ids]));
}

// What the page showed before it was loaded again; images dropped meanwhile are not among it.
async function recall() {
  while (toRecall.length) {
    const id = toRecall[0];
    const status = await api.status(id).catch(() => null); // null: no longer on the server
    toRecall.shift();
    if (!status) continue;
    const image = { key: nextKey++, name: status.name, id, status: null, sent: 1, error: null };
    images.set(image.key, image);
    listImage(image);
    took(image, status);
    if (!current) show(image);
  }
  remember();
}

// A new status has come.
function took(image, status) {
  const before = image.status;
  image.status = status;
  if (status.state === "failed") image.error = status.error;
  if (status.state === "ready" && before && before.state !== "ready" && status.error) say(status.error, "error");
  paintImage(image);
  const busy = isBusy(status);
  if (busy) follow(image);
  if (busy !== isBusy(before)) space.soon();
  if (image === current) {
    const finished = status.state === "ready" && before?.state !== "ready";
    if (finished) load(image, { fit: viewer.width === 0 });
    else if (busy) preview(image);
    paintBusy();
    paintTools();
    if (learn.state) learn.draw(learn.state);
  }
  paintNow();
  if (!$("overview").hidden) paintOverview();
}

const isBusy = (status) => status?.state === "waiting" || status?.state === "working";

function follow(image) {
  clearTimeout(image.timer);
  image.timer = setTimeout(async () => {
    if (!images.has(image.key)) return;
    try {
      took(image, await api.status(image.id));
    } catch (error) {
      if (error.status === 404) {
        image.error = error.message;
        image.status = null;
        paintImage(image);
        if (image === current) show(image);
      } else {
        paintNow(error.message);
        image.timer = setTimeout(() => follow(image), 2000);
      }
    }
  }, POLL);
}

function listImage(image) {
  const thumb = h("img", { class: "thumb", alt: "", hidden: true });
  const name = h("span", { class: "name", title: image.name }, image.name);
  const what = h("span", { class: "what" });
  const bar = h("progress", { max: 1, hidden: true, "aria-label": `Progress of ${image.name}` });
  const button = h("button", { class: "image", onclick: () => show(image) }, h("span", { class: "thumb" }, thumb), h("span", {}, name, what, bar));
  const away = h("button", { class: "away", "aria-label": `Remove ${image.name}`, title: "Remove", onclick: () => removeImage(image) }, "✕");
  image.row = { item: h("li", {}, button, away), button, thumb, what, bar };
  $("images").append(image.row.item);
  paintImage(image);
}

function describe(image) {
  const { status } = image;
  if (image.error) return image.error;
  if (!status) return image.sent > 0 && image.sent < 1 ? "sending" : image.sent >= 1 ? "arriving" : "waits to be sent";
  if (status.state === "waiting") return status.waiting > 1 ? `waits, ${status.waiting} in the queue` : "waits its turn";
  if (status.state === "working") {
    const left = status.expected_seconds - status.seconds;
    return left >= 1 ? `about ${duration(left)} to go` : `${duration(status.seconds)} so far`;
  }
  return `${plural(status.count, "cell")}${status.edits ? `, ${plural(status.edits, "edit")}` : ""}`;
}

function progressOf(image) {
  const { status } = image;
  if (image.error || status?.state === "ready") return null;
  if (!status) return image.sent * 0.2;
  if (status.state === "waiting") return 0.2;
  return 0.2 + 0.8 * (1 - Math.exp((-1.6 * status.seconds) / Math.max(status.expected_seconds, 0.5)));
}

function paintImage(image) {
  const { row } = image;
  row.what.textContent = row.what.title = describe(image);
  row.what.classList.toggle("bad", Boolean(image.error));
  const progress = progressOf(image);
  row.bar.hidden = progress === null;
  if (progress !== null) row.bar.value = progress;
  row.button.setAttribute("aria-current", image === current ? "true" : "false");
  if (image.status?.width && row.thumb.hidden) {
    row.thumb.src = api.viewAddress(image.id, { most: 88 });
    row.thumb.hidden = false;
  }
  const all = [...images.values()];
  const ready = all.filter((each) => each.status?.state === "ready").length;
  $("batch-note").textContent = all.length ? `${ready} of ${plural(all.length, "image")} done` : "No images yet.";
  $("batch-note").hidden = all.length === 1;
  $("overview-button").disabled = !all.length;
  $("for-all").disabled = all.length < 2;
}

function removeImage(image) {
  images.delete(image.key);
  clearTimeout(image.timer);
  image.row.item.remove();
  if (image.status?.state === "ready") {
    // It stays on the server for as long as the message offers it back.
    const forGood = setTimeout(() => removeForGood(image), UNDO);
    const run = () => (clearTimeout(forGood), bringBack(image));
    say(`${image.name} is removed.`, "info", { label: "Undo", run });
  } else removeForGood(image);
  remember();
  if (image === current) show([...images.values()][0] ?? null);
  else paintNow();
  if (!$("overview").hidden) paintOverview();
}

function removeForGood(image) {
  if (image.id) api.remove(image.id).then(space.soon, () => {});
}

function bringBack(image) {
  images.set(image.key, image);
  $("images").append(image.row.item);
  remember();
  show(image);
  if (isBusy(image.status)) follow(image);
}

// -------------------------------------------------------------------- the image in view

function show(image) {
  const before = current;
  current = image;
  for (const each of [before, image]) if (each && images.has(each.key)) paintImage(each);
  image?.row.item.scrollIntoView({ block: "nearest" });
  closeOverview();
  select([]);
  viewer.clear();
  cells.clear(image ? "no cells yet" : "no image yet");
  $("empty").hidden = image !== null;
  if (image?.status?.state === "ready") load(image, { fit: true });
  else if (image) preview(image);
  paintBusy();
  paintTools();
  paintNow();
  if (learn.state) learn.draw(learn.state);
}

// Show an image that has been read while its cells are being found.
async function preview(image) {
  if (viewer.width || image.previewing || !image.status?.width || image.error) return;
  image.previewing = true;
  try {
    const { width, height, light } = image.status;
    const bitmap = await api.view(image.id, {});
    if (image === current && !viewer.width && isBusy(image.status)) {
      await viewer.setImage(bitmap, width, height, { light, diameter: 0, fit: true });
    }
  } catch {
    // the image says itself what is wrong with it
  } finally {
    image.previewing = false;
  }
}

async function load(image, { fit }) {
  const { status } = image;
  image.loading = !viewer.width;
  paintBusy();
  try {
    paintAdjust();
    const channel = image.channel ?? -1;
    const wanted = { channel: channel >= 0 ? channel : null };
    const [bitmap, labels, table] = await Promise.all([
      image.bitmap?.channel === channel ? image.bitmap.bitmap : api.view(image.id, wanted),
      api.labels(image.id),
      api.cells(image.id),
    ]);
    for (const each of images.values()) if (each !== image) each.bitmap = null; // one is enough to keep
    image.bitmap = { channel, bitmap };
    if (image !== current) return;
    await viewer.setImage(bitmap, status.width, status.height, { light: status.light, diameter: status.diameter, fit });
    if (image !== current) return;
    tookCells(image, table);
    viewer.setLabels(labels);
  } catch (error) {
    say(error.message, "error");
  } finally {
    image.loading = false;
    if (image === current) paintBusy();
  }
}

function tookCells(image, table) {
  image.confidence = new Map(table.ids.map((id, i) => [id, table.confidence[i]]));
  cells.set(table.columns, image.status.pixel_size);
  showConfident();
  select(selected.filter((id) => image.confidence.has(id)));
}

// Hide cells below the slider. Ids that the server has not spoken of yet were just drawn.
function showConfident() {
  if (!current?.confidence) return;
  const least = Number($("confidence").value);
  let most = 0;
  for (const id of current.confidence.keys()) if (id > most) most = id;
  const shown = new Uint8Array(most + 4096).fill(1);
  shown[0] = 0;
  for (const [id, sure] of current.confidence) shown[id] = sure >= least - 1e-6 ? 1 : 0;
  viewer.setShown(shown);
  viewer.setMarked(selected);
}

const measureSoon = debounce(250, async (image) => {
  try {
    const table = await api.cells(image.id);
    if (image !== current) return;
    if (table.revision < image.status.revision) return measureSoon(image);
    tookCells(image, table);
  } catch (error) {
    say(error.message, "error");
  }
});

function select(ids) {
  selected = ids;
  viewer.setMarked(ids);
  cells.mark(ids, { scroll: true });
  paintTools();
}

// A cell, or several, were chosen in a panel or in the image.
function pick(ids, more, bring) {
  const list = Array.isArray(ids) ? ids : [ids];
  if (more) select(list.every((id) => selected.includes(id)) ? selected.filter((id) => !list.includes(id)) : [...new Set([...selected, ...list])]);
  else select(list);
  const box = bring && list.length === 1 ? cells.boxOf(list[0]) : null;
  if (box) viewer.show(box);
}

function showTip(id, x, y) {
  viewer.setHovered(id);
  const tip = $("tip");
  const about = id && viewer.tool !== "draw" ? cells.describe(id) : null;
  tip.hidden = !about;
  if (!about) return;
  if (tip.dataset.cell !== String(id) + about.title) {
    tip.dataset.cell = String(id) + about.title;
    tip.replaceChildren(
      h("b", {}, about.title),
      h("table", {}, ...about.rows.map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", {}, value)))),
    );
  }
  const right = x + 18 + tip.offsetWidth > window.innerWidth - 8;
  const below = y + 18 + tip.offsetHeight > window.innerHeight - 8;
  tip.style.left = `${right ? x - tip.offsetWidth - 14 : x + 18}px`;
  tip.style.top = `${below ? y - tip.offsetHeight - 14 : y + 18}px`;
}

// -------------------------------------------------------------------- corrections

function clicked(id, event) {
  $("stage").focus({ preventScroll: true });
  if (viewer.tool === "delete") {
    if (id) correct({ action: "delete", cells: [id] });
    return;
  }
  if (viewer.tool === "merge" && id && selected.length === 1 && selected[0] !== id) {
    correct({ action: "merge", cells: [selected[0], id] });
    return;
  }
  if (id) pick(id, event.shiftKey || event.ctrlKey || event.metaKey, false);
  else if (!event.shiftKey) select([]);
}

function gestured(tool, path, done) {
  if (tool === "merge") {
    const below = viewer.cellsBelow(path);
    if (!done) return viewer.setMarked(below);
    viewer.setMarked(selected);
    if (below.length < 2) return say("Draw the line through two cells or more that touch.");
    return correct({ action: "merge", cells: below });
  }
  if (!done) return undefined;
  const points = thinned(path);
  if (tool === "split") {
    const [cell] = viewer.cellsBelow(path);
    if (!cell) return say("There is no cell below the line: draw it across one.");
    return correct({ action: "split", line: points, cell });
  }
  if (points.length < 3) return say("Draw around the whole cell.");
  if (tool === "draw") return correct({ action: "draw", polygon: points });
  const around = cellsInside(path);
  const cell = around.includes(selected[0]) ? selected[0] : around[0];
  if (!cell) return say("Draw the new outline over the cell that it is of.");
  return correct({ action: "draw", polygon: points, cell });
}

// Enough points for the outline, not one for every twitch of the mouse.
function thinned(path) {
  const least = 0.7 / Math.min(viewer.scale, 4);
  const kept = [path[0]];
  for (const point of path) {
    const last = kept.at(-1);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= least) kept.push(point);
  }
  return kept.map(([x, y]) => [Math.round(x * 100) / 100, Math.round(y * 100) / 100]);
}

// The cells that a closed path goes around, those first that are on most chords through it.
function cellsInside(path) {
  const half = Math.floor(path.length / 2);
  const chords = [];
  for (let i = 0; i < half; i += Math.max(1, Math.floor(half / 12))) chords.push(path[i], path[i + half]);
  return viewer.cellsBelow(chords);
}

function correct(what) {
  const image = current;
  if (!image || image.status?.state !== "ready") return;
  editing = editing.then(async () => {
    try {
      const answer = await api.edit(image.id, what);
      image.status = answer.status;
      paintImage(image);
      if (image !== current) return;
      if (what.action === "delete" || what.action === "merge") select(selected.filter((id) => !what.cells.includes(id)));
      if (answer.labels === null) await load(image, { fit: false });
      else {
        viewer.patchLabels(answer.box, api.unpackLabels(answer.labels));
        measureSoon(image);
      }
      hide();
      paintTools();
      paintNow();
    } catch (error) {
      say(error.message, "error");
    }
  });
}

// Cut the selected cell across its middle, for those who do not draw.
function halve() {
  if (selected.length !== 1) return say("Select one cell to halve.");
  const box = cells.boxOf(selected[0]);
  if (!box) return undefined;
  const [y0, x0, y1, x1] = box;
  let [n, sx, sy, sxx, syy, sxy] = [0, 0, 0, 0, 0, 0];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      if (viewer.labels[y * viewer.width + x] !== selected[0]) continue;
      n += 1;
      sx += x; sy += y; sxx += x * x; syy += y * y; sxy += x * y;
    }
  }
  const [mx, my] = [sx / n, sy / n];
  const angle = 0.5 * Math.atan2(2 * (sxy / n - mx * my), sxx / n - mx * mx - (syy / n - my * my));
  const reach = Math.hypot(y1 - y0, x1 - x0);
  const [dx, dy] = [-Math.sin(angle) * reach, Math.cos(angle) * reach];
  const line = [[mx + 0.5 - dx, my + 0.5 - dy], [mx + 0.5 + dx, my + 0.5 + dy]];
  return correct({ action: "split", line, cell: selected[0] });
}

function setTool(tool) {
  viewer.setTool(tool);
  for (const button of document.querySelectorAll("[data-tool]")) {
    if (button.tagName === "BUTTON") button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }
  paintTools();
}

// -------------------------------------------------------------------- what is shown of the state

function paintTools() {
  const status = current?.status;
  const ready = status?.state === "ready";
  $("undo").disabled = !ready || !status.undo;
  $("redo").disabled = !ready || !status.redo;
  $("download").disabled = !ready;
  for (const button of $("tools").querySelectorAll("[data-tool]")) button.disabled = !ready;
  $("hint").textContent = !ready ? "" : selected.length > 1 ? `${selected.length} cells selected: Del deletes, M merges.` : HINTS[viewer.tool];
  enable($("finding"), ready);
  enable($("seeing"), ready);
}

// A control that is disabled loses the keyboard: it gets it back.
function enable(controls, ready) {
  if (!ready && controls.contains(document.activeElement)) controls.had = document.activeElement;
  controls.disabled = !ready;
  if (!ready || !controls.had) return;
  if (document.activeElement === document.body) controls.had.focus();
  controls.had = null;
}

function paintBusy() {
  const failed = current?.error;
  const busy = current && (current.status?.state !== "ready" || current.loading);
  $("busy").hidden = !busy;
  if (!busy) return;
  $("busy-text").textContent = failed ?? `${current.name}: ${current.loading ? "loading" : describe(current)}`;
  $("busy-text").classList.toggle("bad", Boolean(failed));
  $("busy-again").hidden = !current.again;
  $("busy-bar").hidden = Boolean(failed);
  $("busy-bar").value = progressOf(current) ?? 1;
}

function paintNow(trouble = "") {
  const all = [...images.values()];
  const busy = all.filter((image) => !image.error && image.status?.state !== "ready").length;
  const status = current?.status;
  const size = status?.width ? `${current.name}, ${status.width} × ${status.height} px` : "";
  $("now").textContent = trouble || (busy ? `${plural(busy, "image")} to go` : size);
}

function paintAdjust() {
  const { status } = current;
  $("model").value = status.model;
  $("automatic").checked = status.asked_diameter === null;
  $("diameter").value = toSlider(status.diameter);
  $("diameter-value").textContent = `${number(Math.round(status.diameter * 10) / 10)} px${status.asked_diameter === null ? ", estimated" : ""}`;
  $("threshold").value = status.threshold;
  $("confidence").value = status.min_confidence;
  paintSliders();
  const names = status.channels;
  const one = names.length === 1;
  $("channel").replaceChildren(
    ...(one ? [] : [h("option", { value: "-1" }, "all, in colour")]),
    ...names.map((name, i) => h("option", { value: String(i) }, one ? name : `${i + 1}: ${name}`)),
  );
  $("channel").value = String(current.channel ?? (one ? 0 : -1));
  $("seen-row").hidden = one;
  $("seen").replaceChildren(
    h("option", { value: "" }, names.length <= 3 ? "all channels" : "the first three channels"),
    ...names.map((name, i) => h("option", { value: String(i) }, `only ${name}`)),
  );
  $("seen").value = status.used_channels?.length === 1 ? String(status.used_channels[0]) : "";
}

function paintSliders() {
  $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
  $("confidence-value").textContent = Number($("confidence").value).toFixed(2);
  $("black-value").textContent = `${Math.round($("black").value * 100)} %`;
  $("white-value").textContent = `${Math.round($("white").value * 100)} %`;
}

const toSlider = (diameter) => Math.log(diameter / DIAMETERS[0]) / Math.log(DIAMETERS[1] / DIAMETERS[0]);
const fromSlider = (value) => DIAMETERS[0] * (DIAMETERS[1] / DIAMETERS[0]) ** value;

// -------------------------------------------------------------------- sliders

function asked() {
  const seen = $("seen").value;
  return {
    model: $("model").value || null, // the model of an image may have been deleted since
    diameter: $("automatic").checked ? null : Number(fromSlider(Number($("diameter").value)).toPrecision(3)),
    channels: seen === "" ? (current.status.channels.length > 3 ? "0,1,2" : null) : seen,
    min_confidence: Number($("confidence").value),
  };
}

// The keyboard moves a slider step by step: wait for the last one.
const whenSettled = (act) => {
  const soon = debounce(SETTLED, (image) => image === current && act());
  return () => soon(current);
};

async function again(image, options) {
  const lost = image.status.edits;
  try {
    took(image, await api.segment(image.id, options));
    if (lost && image === current) {
      say(`Found anew: ${plural(lost, "correction")} ${lost === 1 ? "is" : "are"} gone; Undo brings the old outlines back.`);
    }
  } catch (error) {
    say(error.message, "error");
  }
}

async function moveSliders(values) {
  const image = current;
  const lost = "threshold" in values ? image.status.edits : 0;
  try {
    const before = image.status.revision;
    image.status = await api.sliders(image.id, values);
    paintImage(image);
    if (image !== current) return;
    if (image.status.revision !== before) await load(image, { fit: false });
    else measureSoon(image);
    paintTools();
    if (lost) say(`Outlined anew: ${plural(lost, "correction")} ${lost === 1 ? "is" : "are"} gone; Undo brings them back.`);
  } catch (error) {
    say(error.message, "error");
  }
}

function forAll() {
  const options = asked();
  const others = [...images.values()].filter((image) => image !== current && image.status?.state === "ready");
  for (const image of others) again(image, options);
  say(`${plural(others.length, "image")} are segmented again like this one.`);
}

// A model has been trained; list it, and use it if that was asked for.
async function newModel(name, use) {
  await listModels();
  if (!use) return say(`The model ${name} is ready: see before and after in Learn.`);
  $("model").value = name;
  if (current?.status?.state === "ready") again(current, asked());
  return undefined;
}

// The set or the trained models are others than before.
function learned({ models }) {
  space.soon();
  if (models) listModels().catch((error) => say(error.message, "error"));
}

async function listModels() {
  const chosen = $("model").value;
  const base = $("base").value;
  const { models: list, device } = await api.models();
  $("device").textContent = device ? `Runs on ${device}` : "";
  for (const [id, value] of [["model", chosen], ["base", base]]) {
    $(id).replaceChildren(...list.map((model) => h("option", { value: model.name }, model.name)));
    const there = list.some((model) => model.name === value);
    $(id).value = there ? value : list.find((model) => model.default).name;
  }
}

function contrast() {
  const black = Number($("black").value);
  const white = Math.max(Number($("white").value), black + 0.05);
  $("white").value = white;
  viewer.setContrast(black, white);
  paintSliders();
}

// -------------------------------------------------------------------- downloads, overview, help

async function openDownload() {
  const list = await api.forms();
  $("forms").replaceChildren(
    ...list.map((form) =>
      h("li", {}, h("button", { "data-form": form.name, onclick: () => downloadForm(form) }, capital(form.about), h("span", {}, form.ending))),
    ),
  );
  $("download-all").parentElement.hidden = images.size < 2;
  $("download-dialog").showModal();
}

async function downloadForm(form) {
  const every = $("download-all").checked && images.size > 1;
  const list = every ? [...images.values()].filter((image) => image.status?.state === "ready") : [current];
  const taken = new Set();
  try {
    for (const image of list) {
      const stem = image.name.replace(/\.[^.]+$/, "");
      let name = stem;
      for (let i = 2; taken.has(name); i++) name = `${stem}-${i}`;
      taken.add(name);
      save(await api.result(image.id, form.name), `${name}${form.ending}`);
    }
  } catch (error) {
    $("download-dialog").close();
    say(error.message, "error");
  }
}

function closeOverview() {
  $("overview").hidden = true;
  $("overview-button").setAttribute("aria-pressed", "false");
}

function toggleOverview() {
  if (!$("overview").hidden) return closeOverview();
  $("overview").hidden = false;
  $("overview-button").setAttribute("aria-pressed", "true");
  paintOverview();
  return $("overview").querySelector("button")?.focus();
}

const paintOverview = () => keepFocus($("overview"), drawOverview);

function drawOverview() {
  const rows = [...images.values()].map((image) => {
    const { status } = image;
    const ready = status?.state === "ready";
    const size = status?.width ? `${status.width} × ${status.height}` : "–";
    const name = h("td", {}, h("button", { class: "quiet", title: image.name, onclick: () => show(image) }, image.name));
    if (image.error) return h("tr", { class: "bad" }, name, h("td", { colspan: 7 }, image.error));
    return h(
      "tr",
      {},
      name,
      h("td", {}, ready ? "done" : describe(image)),
      h("td", { class: "number" }, size),
      h("td", { class: "number" }, ready ? status.count.toLocaleString("en") : "–"),
      h("td", { class: "number" }, ready && status.diameter ? `${number(Math.round(status.diameter * 10) / 10)} px` : "–"),
      h("td", { class: "number" }, ready ? String(status.edits) : "–"),
      h("td", {}, ready ? status.model : "–"),
      h("td", {}, image.id && learn.has(image.id) ? "✓" : ""),
    );
  });
  const total = [...images.values()].reduce((sum, image) => sum + (image.status?.count ?? 0), 0);
  const head = [["Image"], ["State"], ["Pixels", 1], ["Cells", 1], ["Diameter", 1], ["Edits", 1], ["Model"], ["Collected"]];
  $("overview").replaceChildren(
    h("h2", {}, `${plural(images.size, "image")}, ${plural(total, "cell")}`),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...head.map(([text, numeric]) => h("th", { scope: "col", class: numeric ? "number" : null }, text)))),
      h("tbody", {}, ...rows),
    ),
  );
}

function openTab(name) {
  for (const tab of document.querySelectorAll('[role="tab"]')) {
    const mine = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !mine;
  }
  if (name === "learn") learn.follow();
  if (name === "cells") cells.paint();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("cellrim theme", theme);
}

function nextImage(by) {
  const all = [...images.values()];
  const at = all.indexOf(current) + by;
  if (all[at]) show(all[at]);
}

function toggleSide() {
  viewer.setSplit(!viewer.split);
  $("side").setAttribute("aria-pressed", String(viewer.split));
}

function setOutlines(style) {
  $("outlines").value = style;
  viewer.setStyle(style);
}

function nextOutlines() {
  const styles = [...$("outlines").options].map((option) => option.value);
  setOutlines(styles[(styles.indexOf(viewer.style) + 1) % styles.length]);
}

// -------------------------------------------------------------------- keyboard

const TOOL_KEYS = { v: "select", d: "delete", s: "split", r: "redraw", a: "draw" };

function letGo() {
  hide();
  if (viewer.abandonPath()) return;
  if (!$("overview").hidden) closeOverview();
  else if (selected.length) select([]);
  else setTool("select");
}

function deleteSelected() {
  if (selected.length) correct({ action: "delete", cells: selected });
}

const ACTIONS = {
  Delete: deleteSelected,
  Backspace: deleteSelected,
  m: () => (selected.length > 1 ? correct({ action: "merge", cells: selected }) : setTool("merge")),
  S: halve,
  "+": () => viewer.zoom(1.25),
  "=": () => viewer.zoom(1.25),
  "-": () => viewer.zoom(0.8),
  0: () => viewer.fit(),
  1: () => viewer.zoom(1 / viewer.scale),
  ArrowLeft: () => viewer.pan(60, 0),
  ArrowRight: () => viewer.pan(-60, 0),
  ArrowUp: () => viewer.pan(0, 60),
  ArrowDown: () => viewer.pan(0, -60),
  n: () => cells.step(1),
  p: () => cells.step(-1),
  z: () => {
    const box = selected.length === 1 ? cells.boxOf(selected[0]) : null;
    if (!box) return;
    viewer.scale = Math.min(16, 160 / Math.max(box[2] - box[0], box[3] - box[1], 1));
    viewer.centreOn((box[1] + box[3]) / 2, (box[0] + box[2]) / 2);
  },
  b: toggleSide,
  o: nextOutlines,
  "[": () => nextImage(-1),
  "]": () => nextImage(1),
  "?": () => $("help-dialog").showModal(),
  Escape: letGo,
};

function keyed(event) {
  if (document.querySelector("dialog[open]")) return;
  const target = event.target;
  const writes = target.matches("input:not([type=checkbox]), select, textarea");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    const which = event.shiftKey ? "redo" : "undo";
    if (!$(which).disabled) correct({ action: which });
    return;
  }
  if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && target === $("stage")) {
    viewer.panning = true;
    event.preventDefault();
    return;
  }
  const arrow = event.key.startsWith("Arrow");
  if (arrow && target !== $("stage") && target !== document.body) return;
  const action = event.key in TOOL_KEYS ? () => setTool(TOOL_KEYS[event.key]) : ACTIONS[event.key];
  if (!action || (!current && event.key !== "?")) return;
  event.preventDefault();
  action();
}

// -------------------------------------------------------------------- wiring

function wire() {
  const on = (id, action, type = "click") => $(id).addEventListener(type, action);
  on("add", () => $("files").click());
  on("choose", () => $("files").click());
  on("sample", addSample);
  on("busy-again", sendAgain);
  on("files", () => {
    addFiles($("files").files);
    $("files").value = "";
  }, "change");
  for (const button of $("tools").querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => setTool(button.dataset.tool));
  }
  on("undo", () => correct({ action: "undo" }));
  on("redo", () => correct({ action: "redo" }));
  on("in", () => viewer.zoom(1.25));
  on("out", () => viewer.zoom(0.8));
  on("zoom", () => viewer.fit());
  on("side", toggleSide);
  on("outlines", () => viewer.setStyle($("outlines").value), "change");
  on("overview-button", toggleOverview);
  on("download", () => openDownload().catch((error) => say(error.message, "error")));
  on("help", () => $("help-dialog").showModal());
  on("theme", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  on("model", () => again(current, asked()), "change");
  on("seen", () => again(current, asked()), "change");
  on("automatic", () => {
    if ($("automatic").checked) again(current, asked());
  }, "change");
  on("diameter", () => {
    $("automatic").checked = false;
    $("diameter-value").textContent = `${number(Math.round(fromSlider(Number($("diameter").value)) * 10) / 10)} px`;
  }, "input");
  on("diameter", whenSettled(() => again(current, asked())), "change");
  on("threshold", paintSliders, "input");
  on("threshold", whenSettled(() => moveSliders({ threshold: Number($("threshold").value) })), "change");
  on("confidence", () => {
    paintSliders();
    showConfident();
  }, "input");
  on("confidence", whenSettled(() => moveSliders({ min_confidence: Number($("confidence").value) })), "change");
  on("for-all", forAll);
  on("channel", () => {
    current.channel = Number($("channel").value);
    load(current, { fit: false });
  }, "change");
  on("black", contrast, "input");
  on("white", contrast, "input");
  on("contrast-reset", () => {
    $("black").value = 0;
    $("white").value = 1;
    contrast();
  });
  const tabs = ["cells", "adjust", "learn"];
  tabs.forEach((name, i) => {
    on(`tab-${name}`, () => openTab(name));
    on(`tab-${name}`, (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = tabs[(i + by + tabs.length) % tabs.length];
      openTab(next);
      $(`tab-${next}`).focus();
    }, "keydown");
  });
  document.addEventListener("keydown", keyed);
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") viewer.panning = false;
  });
  let depth = 0;
  document.addEventListener("dragenter", (event) => {
    depth += 1;
    if (event.dataTransfer?.types.includes("Files")) $("drop").hidden = false;
  });
  document.addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) $("drop").hidden = true;
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    $("drop").hidden = true;
    addFiles(event.dataTransfer.files);
  });
  $("keys").append(...KEYS.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]));
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(localStorage.getItem("cellrim theme") ?? (dark ? "dark" : "light"));
  wire();
  setTool("select");
  paintTools();
  try {
    space.update();
    await listModels();
    await recall();
  } catch (error) {
    say(error.message, "error");
  }
}

start();
