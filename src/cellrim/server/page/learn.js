// The Learn tab: the corrected images, a training on them, and what it brought.

import * as api from "./api.js";
import { $, bytes, duration, h, keepFocus, plural, say, sure } from "./dom.js";

const EVERY = 1000; // milliseconds between two looks at a training

const STAGES = {
  preparing: "preparing the images",
  judging: "seeing how the model does now",
  training: "begins",
  finishing: "finishing the new model",
};

export class LearnPanel {
  constructor({ current, onModel, onChange }) {
    this.current = current;
    this.onModel = onModel; // a new model is there; use it
    this.onChange = onChange; // something was collected, trained or deleted
    this.seen = null;
    $("collect").addEventListener("click", () => this.collect());
    $("train").addEventListener("click", () => this.train());
    this.update();
  }

  async update() {
    try {
      this.draw(await api.learning());
    } catch (error) {
      say(error.message, "error");
    }
  }

  async follow() {
    clearTimeout(this.timer);
    await this.update();
    if (this.isBusy) this.timer = setTimeout(() => this.follow(), EVERY);
  }

  // Do something that answers with the new state.
  async act(promise) {
    try {
      this.draw(await promise);
      if (this.isBusy) this.follow();
    } catch (error) {
      say(error.message, "error");
    }
  }

  async collect() {
    const image = this.current();
    if (!image) return;
    await this.act(api.addToSet(image.id));
    if (this.has(image.id)) say(`${image.name} is collected as it is corrected now.`);
  }

  train() {
    const minutes = Number($("minutes").value);
    if (!(minutes >= 0.1 && minutes <= 1440)) return say("Give between 1 and 1440 minutes.", "error");
    return this.act(api.train($("base").value, minutes));
  }

  removeImage(image) {
    const question = `Delete ${image.name} and its corrections from the collected images? This cannot be undone.`;
    sure(question, () => this.act(api.takeFromSet(image.id)));
  }

  removeModel(model) {
    sure(`Delete the model ${model.name}? This cannot be undone.`, () => this.act(api.removeModel(model.name)));
  }

  has(id) {
    return this.state?.images.some((image) => image.id === id) ?? false;
  }

  draw(state) {
    const finished = this.isBusy && state.state === "finished";
    const gone = (this.state?.models ?? []).some((old) => !state.models.some((model) => model.name === old.name));
    const what = JSON.stringify([state.images, state.models, state.state]);
    if (what !== this.what) this.onChange({ models: gone });
    this.what = what;
    keepFocus($("panel-learn"), () => this.paint(state));
    if (finished) this.onModel(state.model, false);
  }

  paint(state) {
    this.state = state;
    this.isBusy = state.state === "training" || state.state === "comparing";
    const current = this.current();
    $("collect").disabled = !current || current.state !== "ready";
    $("collect").textContent = current && this.has(current.id) ? "Collect again, as it is now" : "Collect this image";
    $("set").replaceChildren(
      ...state.images.map((image) =>
        h(
          "li",
          {},
          h("span", { title: image.name }, image.name),
          h("span", { class: "note" }, plural(image.cells, "cell")),
          h(
            "button",
            { class: "quiet", "aria-label": `Delete ${image.name} from the collected images`, title: "Delete", onclick: () => this.removeImage(image) },
            "✕",
          ),
        ),
      ),
    );
    $("trained").hidden = !state.models.length;
    $("trained-models").replaceChildren(
      ...state.models.map((model) =>
        h(
          "li",
          {},
          h("span", { title: `${model.name}, trained ${new Date(model.created).toLocaleString()}` }, model.name),
          h("span", { class: "note" }, bytes(model.bytes)),
          h(
            "button",
            { class: "quiet", "aria-label": `Delete the model ${model.name}`, title: "Delete", onclick: () => this.removeModel(model) },
            "✕",
          ),
        ),
      ),
    );
    const few = state.images.length < 2;
    $("train").disabled = Boolean(state.impossible) || few || this.isBusy;
    $("train").textContent = state.images.length ? `Train on ${plural(state.images.length, "image")}` : "Train";
    $("train-note").textContent =
      state.impossible ??
      (few ? "Needs two collected images: one to learn from, one to judge by." : "The new model is offered beside the others; nothing is replaced.");
    $("progress").replaceChildren(...this.progress(state));
  }

  progress(state) {
    if (state.state === "none") return [];
    if (state.state === "training") return this.running(state);
    if (state.state === "comparing") {
      const text = `Comparing before and after: ${state.comparison.length} of ${state.images.length} images.`;
      return [h("p", {}, text), h("progress", { "aria-label": text })];
    }
    if (state.state === "failed") {
      const log = h("details", {}, h("summary", {}, "What it said"), h("pre", { class: "note" }, state.log.slice(-8).join("\n")));
      return [h("p", { class: "bad" }, state.error), log];
    }
    if (state.state === "stopped") return [h("p", { class: "note" }, "The training was stopped.")];
    return this.outcome(state);
  }

  running(state) {
    const left = state.seconds_left;
    const bar = h("progress", { max: 1, "aria-label": "Training" });
    if (state.stage === "training") bar.value = Math.min(0.99, state.fraction);
    const where = state.stage === "training" && left !== null ? `about ${duration(left)} left` : STAGES[state.stage];
    const parts = [h("p", {}, `Training ${state.model}: ${where}.`), bar];
    if (state.loss !== null) parts.push(h("p", { class: "note" }, `Loss ${state.loss.toFixed(3)}${this.marks(state)}`));
    parts.push(h("button", { onclick: () => this.act(api.stopTraining()) }, "Stop"));
    return parts;
  }

  marks(state) {
    if (!state.marks.length) return "";
    return `; accuracy (AP50) on what is held back: ${state.marks.map((m) => m.ap50.toFixed(2)).join(" → ")}`;
  }

  outcome(state) {
    const rows = [...state.comparison].sort((a, b) => b.held_back - a.held_back);
    const held = rows.filter((row) => row.held_back);
    const mean = (column) => (held.reduce((sum, row) => sum + row[column], 0) / held.length).toFixed(2);
    const where = held.length === 1 ? "the image" : `the ${held.length} images`;
    const same = rows.every((row) => row.ap50_before === row.ap50_after && row.cells_before === row.cells_after);
    const head = ["Image", "Cells", "AP50"].map((text) => h("th", { scope: "col" }, text));
    return [
      h("p", {}, h("b", {}, `${state.model} is ready`), ` after ${duration(state.seconds)}.`),
      held.length ? h("p", {}, `On ${where} held back from training (*): AP50 ${mean("ap50_before")} → ${mean("ap50_after")}.`) : null,
      same ? h("p", { class: "note" }, `It finds the same as ${state.base}: nothing better came up on the way. Collect more images, or give it more minutes.`) : null,
      h("button", { class: "primary", onclick: () => this.onModel(state.model, true) }, "Use it for this image"),
      h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows.map(outcomeRow))),
      h("p", { class: "note" }, "Before → after, on your corrections. AP50: share of cells found with an outline that fits by half; 1 is perfect."),
    ].filter(Boolean);
  }
}

function outcomeRow(row) {
  const change = row.ap50_after - row.ap50_before;
  const kind = change > 0.005 ? "better" : change < -0.005 ? "worse" : "";
  const name = row.held_back ? `* ${row.name}` : row.name;
  return h(
    "tr",
    {},
    h("td", { title: row.held_back ? `${row.name}, held back from training` : row.name }, name),
    h("td", { title: `The correction has ${row.cells}` }, `${row.cells_before} → ${row.cells_after}`),
    h("td", { class: kind }, `${row.ap50_before.toFixed(2)} → ${row.ap50_after.toFixed(2)}`),
  );
}
