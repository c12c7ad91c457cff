// The Cells tab: count, histogram, and a table that stays quick with tens of thousands of rows.

import { $, columnName, h, isPlace, number, plural } from "./dom.js";

const ROW = 26; // pixels, as in style.css
const BARS = 24;

export class CellsPanel {
  constructor({ onSelect, onHover }) {
    this.onSelect = onSelect;
    this.onHover = onHover; // the pointer is on the row of a cell; 0 on none
    this.columns = null;
    this.rows = [];
    this.marked = new Set();
    this.measure = "area";
    this.sort = { column: "id", down: false };
    this.body = h("div", { class: "body", role: "rowgroup" });
    this.head = h("div", { class: "head", role: "row" });
    $("table").append(this.head, this.body);
    $("table").addEventListener("scroll", () => this.paint());
    $("histogram").addEventListener("keydown", (event) => this.barKey(event));
    $("table").addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe($("table"));
    $("measure").addEventListener("change", () => {
      this.measure = $("measure").value;
      this.draw();
    });
    this.clear("no image yet");
  }

  clear(note) {
    this.columns = null;
    this.rows = [];
    $("panel-cells").classList.add("none");
    $("count").textContent = "–";
    $("count-more").textContent = note;
    $("histogram").replaceChildren();
    $("measure").replaceChildren();
    this.head.replaceChildren();
    this.paint();
  }

  // Columns of equal length; numbers are what downloads call the cells: their places in order.
  set(columns, pixelSize) {
    this.columns = columns;
    $("panel-cells").classList.remove("none");
    this.pixelSize = pixelSize;
    const measures = Object.keys(columns).filter((c) => !isPlace(c) && typeof columns[c][0] !== "string");
    if (!measures.includes(this.measure)) this.measure = measures[0] ?? "area";
    $("measure").replaceChildren(
      ...measures.map((c) => h("option", { value: c, selected: c === this.measure }, this.title(c))),
    );
    this.draw();
  }

  title(column) {
    const unit = { area: " (px)", perimeter: " (px)" }[column] ?? "";
    return columnName(column) + unit;
  }

  text(column, row) {
    const value = this.columns[column]?.[row];
    return column === "confidence" && typeof value === "number" ? value.toFixed(2) : number(value);
  }

  draw() {
    if (!this.columns) return;
    const count = this.columns.id.length;
    $("count").textContent = count.toLocaleString("en");
    $("count-more").textContent = count === 1 ? "cell" : "cells";
    this.numbers = new Map(this.columns.id.map((id, i) => [id, i + 1]));
    this.histogram();
    this.order();
  }

  numberOf(id) {
    return this.numbers?.get(id) ?? 0;
  }

  shownColumns() {
    const fourth = ["area", "confidence"].includes(this.measure) ? this.brightest() : this.measure;
    return ["id", "area", "confidence", fourth];
  }

  // The channel that shows most: others may be empty.
  brightest() {
    const sum = (c) => this.columns[c].reduce((a, b) => a + (b ?? 0), 0);
    const means = Object.keys(this.columns).filter((c) => c.startsWith("mean_"));
    return means.length ? means.reduce((a, b) => (sum(b) > sum(a) ? b : a)) : "perimeter";
  }

  order() {
    const { column, down } = this.sort;
    const values = this.columns[column] ?? this.columns.id;
    const way = down ? -1 : 1;
    this.rows = values.map((_, i) => i);
    this.rows.sort((a, b) => {
      const [va, vb] = [values[a] ?? -Infinity, values[b] ?? -Infinity];
      return va < vb ? -way : va > vb ? way : a - b;
    });
    this.head.replaceChildren(
      ...this.shownColumns().map((c) => {
        const mine = c === column;
        const direction = mine ? (down ? "descending" : "ascending") : "none";
        const name = c === "id" ? "No." : columnName(c);
        return h(
          "div",
          { role: "columnheader", "aria-sort": direction },
          h(
            "button",
            { title: `Sort by ${name}`, onclick: () => this.sortBy(c) },
            `${name}${mine ? (down ? " ↓" : " ↑") : ""}`,
          ),
        );
      }),
    );
    $("table").setAttribute("aria-rowcount", this.rows.length + 1);
    this.paint();
  }

  sortBy(column) {
    const down = this.sort.column === column ? !this.sort.down : column !== "id";
    this.sort = { column, down };
    this.order();
  }

  mark(ids, { scroll = false } = {}) {
    this.marked = new Set(ids);
    this.markBars();
    if (scroll && ids.length === 1 && this.columns) {
      const at = this.rows.findIndex((row) => this.columns.id[row] === ids[0]);
      const box = $("table");
      const [top, room] = [at * ROW, box.clientHeight - 3 * ROW];
      if (at >= 0 && (top < box.scrollTop || top > box.scrollTop + room)) box.scrollTop = top - room / 2;
    }
    this.paint();
  }

  // Only the rows in sight are elements.
  paint() {
    const box = $("table");
    this.body.style.height = `${this.rows.length * ROW}px`;
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
    const last = Math.min(this.rows.length, first + Math.ceil(box.clientHeight / ROW) + 8);
    const columns = this.columns ? this.shownColumns() : [];
    const lines = [];
    for (let i = first; i < last; i++) {
      const row = this.rows[i];
      const id = this.columns.id[row];
      const line = h(
        "div",
        {
          class: "line",
          role: "row",
          "aria-rowindex": i + 2,
          "aria-selected": this.marked.has(id) ? "true" : "false",
          onclick: (event) => this.onSelect(id, event.shiftKey || event.ctrlKey, true),
          onpointerenter: () => this.onHover(id),
          onpointerleave: () => this.onHover(0),
        },
        ...columns.map((c) =>
          h("span", { role: "gridcell" }, c === "id" ? String(row + 1) : this.text(c, row)),
        ),
      );
      line.style.top = `${i * ROW}px`;
      lines.push(line);
    }
    this.body.replaceChildren(...lines);
  }

  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 };
    if (!(event.key in steps) || !this.rows.length) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(steps[event.key]);
  }

  // Go to another cell in the table's order.
  step(by) {
    if (!this.columns || !this.rows.length) return;
    const [current] = this.marked;
    const at = this.rows.findIndex((row) => this.columns.id[row] === current);
    const next = Math.min(this.rows.length - 1, Math.max(0, at < 0 ? 0 : at + by));
    this.onSelect(this.columns.id[this.rows[next]], false, true);
  }

  histogram() {
    const values = this.columns[this.measure] ?? [];
    const known = values.filter((v) => v !== null);
    const box = $("histogram");
    if (known.length < 2) return box.replaceChildren();
    const low = known.reduce((a, b) => Math.min(a, b));
    const high = known.reduce((a, b) => Math.max(a, b));
    const width = (high - low) / BARS || 1;
    const bins = Array.from({ length: BARS }, () => []);
    values.forEach((v, i) => {
      if (v !== null) bins[Math.min(BARS - 1, Math.floor((v - low) / width))].push(this.columns.id[i]);
    });
    this.bins = bins;
    const most = Math.max(...bins.map((bin) => bin.length));
    box.replaceChildren(
      ...bins.map((ids, i) => {
        const range = `${number(low + i * width)} to ${number(low + (i + 1) * width)}`;
        const text = `${range}: ${plural(ids.length, "cell")}`;
        const bar = h("span");
        bar.style.height = ids.length ? `${Math.max(3, (100 * ids.length) / most)}%` : "0";
        return h(
          "button",
          { title: text, "aria-label": text, tabindex: i ? -1 : 0, disabled: !ids.length, onclick: () => this.onSelect(ids, false, false) },
          bar,
        );
      }),
      h("div", { class: "ends", "aria-hidden": "true" }, h("span", {}, number(low)), h("span", {}, number(high))),
    );
    return this.markBars();
  }

  // Left and right go from bar to bar; one of them is in the order of the tab key.
  barKey(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const bars = [...$("histogram").querySelectorAll("button:enabled")];
    const next = bars[bars.indexOf(document.activeElement) + by];
    if (!next) return;
    for (const bar of bars) bar.tabIndex = bar === next ? 0 : -1;
    next.focus();
  }

  // Show in which bars the selected cells are.
  markBars() {
    const bars = $("histogram").querySelectorAll("button");
    bars.forEach((bar, i) => bar.classList.toggle("marked", this.bins[i].some((id) => this.marked.has(id))));
  }

  // What the tip beside the pointer says of a cell.
  describe(id) {
    const i = this.columns ? this.columns.id.indexOf(id) : -1;
    if (i < 0) return null;
    const rows = [];
    const area = this.columns.area[i];
    const size = this.pixelSize ? ` (${number(area * this.pixelSize ** 2)} µm²)` : "";
    rows.push(["Area", `${number(area)} px${size}`]);
    const more = Object.keys(this.columns).filter(
      (c) => c !== "area" && (c === this.measure || c === "perimeter" || c.startsWith("mean_") || c === "confidence"),
    );
    for (const c of more.slice(0, 6)) rows.push([columnName(c), this.text(c, i)]);
    return { title: `Cell ${i + 1}`, rows };
  }

  boxOf(id) {
    const i = this.columns ? this.columns.id.indexOf(id) : -1;
    if (i < 0) return null;
    return ["bbox_y0", "bbox_x0", "bbox_y1", "bbox_x1"].map((c) => this.columns[c][i]);
  }
}
