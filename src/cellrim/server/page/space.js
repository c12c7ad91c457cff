// The space on the server's disk that is used, in a line, and what uses it, in a dialog.

import * as api from "./api.js";
import { $, bytes, debounce, h } from "./dom.js";

const EVERY = 60_000; // milliseconds: others use the server, too
const SOON = 600;
const NEARLY_FULL = 0.9;

const KINDS = [
  ["images", "Images in the page", "go by themselves when nobody needed them for longest, unless you corrected them"],
  ["jobs", "Jobs sent by REST", "go by themselves once they are finished, the oldest first"],
  ["corrected", "Collected images", "stay until you delete them under Learn"],
  ["models", "Trained models", "stay until you delete them under Learn"],
  ["passing", "On their way", "go at once"],
];

export class SpaceNote {
  constructor() {
    this.soon = debounce(SOON, () => this.update());
    $("space").addEventListener("click", () => this.open());
    setInterval(() => this.update(), EVERY);
  }

  // What it says is of use only while the server answers, so failures are silent.
  async update() {
    try {
      this.draw(await api.space());
    } catch {
      $("space").hidden = true;
    }
  }

  draw(space) {
    this.space = space;
    const share = space.used_bytes / space.quota_bytes;
    $("space-text").textContent = `${bytes(space.used_bytes)} of ${bytes(space.quota_bytes)} used`;
    $("space-bar").value = Math.min(1, share);
    $("space").classList.toggle("full", share > NEARLY_FULL);
    $("space").hidden = false;
  }

  async open() {
    await this.update();
    const { used, quota_bytes: quota, used_bytes: all, free_bytes: free } = this.space;
    const rows = KINDS.map(([key, name, fate]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, bytes(used[key])), h("td", { class: "note" }, fate)),
    );
    $("space-rows").replaceChildren(...rows);
    $("space-sum").textContent = `${bytes(all)} of the ${bytes(quota)} that this server may use. Its disk has ${bytes(free)} free.`;
    $("space-dialog").showModal();
  }
}
