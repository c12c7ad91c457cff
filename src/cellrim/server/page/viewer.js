// The picture with its outlines: zooms, pans, and takes gestures.
//
// Outlines are drawn for the pixels of the screen, not of the image: each looks up its cell in the
// label image and compares it with its neighbours'. That costs the same for ten cells and for ten
// thousand, and lines are as thin at every zoom.

const LIGHT = ["#ffd600", "#00e5ff", "#ff52a0", "#76ff03", "#ff8000", "#b288ff", "#1de9b6", "#ff5252"];
const DARK = ["#0054ff", "#d6001c", "#007929", "#9600be", "#006a78", "#be3e00", "#3c28aa", "#a00060"];
const MOST_ZOOM = 64;
const WIDE = 44; // screen pixels across a cell from which its outline is two wide
const CLICK_REACH = 4; // screen pixels that a click may wander

const packed = (hex, alpha) => {
  const value = parseInt(hex.slice(1), 16);
  const [r, g, b] = [(value >> 16) & 255, (value >> 8) & 255, value & 255];
  return ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
};

export class Viewer {
  constructor(root, events) {
    this.root = root;
    this.events = events; // hover, click, gesture, zoomed
    this.left = root.querySelector("#pane-original");
    this.main = root.querySelector("#pane-result");
    this.bases = [this.left.querySelector("canvas"), this.main.querySelector("canvas.base")];
    this.over = this.main.querySelector("canvas.over");
    this.width = this.height = 0;
    this.mips = [];
    this.labels = null;
    this.shown = new Uint8Array(1);
    this.marked = new Uint8Array(1);
    this.hovered = 0;
    this.scale = 1;
    this.x = this.y = 0;
    this.tool = "select";
    this.style = "colours";
    this.light = false;
    this.split = false;
    this.path = null;
    this.pointers = new Map();
    this.pointed = null; // where the pointer rests
    this.dirty = { base: false, over: false };
    new ResizeObserver(() => this.resized()).observe(root);
    this.listen();
    this.resized();
  }

  // ------------------------------------------------------------------ content

  clear() {
    this.width = this.height = 0;
    this.mips = [];
    this.labels = null;
    this.redraw();
  }

  // A bitmap may be smaller than the image it shows.
  async setImage(bitmap, width, height, { light, diameter, fit }) {
    this.diameter = diameter;
    this.width = width;
    this.height = height;
    this.light = light;
    this.mips = [bitmap];
    if (fit) this.fit();
    this.redraw();
    let [w, h] = [bitmap.width, bitmap.height];
    while (Math.max(w, h) > 1024) {
      [w, h] = [Math.ceil(w / 2), Math.ceil(h / 2)];
      const size = { resizeWidth: w, resizeHeight: h, resizeQuality: "medium" };
      const smaller = await createImageBitmap(this.mips.at(-1), size);
      if (this.mips[0] !== bitmap) return; // another image has come meanwhile
      this.mips.push(smaller);
      this.redraw("base");
    }
  }

  setLabels(labels) {
    this.labels = labels;
    this.redraw("over");
  }

  patchLabels([y0, x0, y1, x1], part) {
    const width = x1 - x0;
    let most = 0;
    for (const id of part) if (id > most) most = id;
    if (most > 65535 && this.labels instanceof Uint16Array) this.labels = Uint32Array.from(this.labels);
    for (let y = y0; y < y1; y++) {
      this.labels.set(part.subarray((y - y0) * width, (y - y0 + 1) * width), y * this.width + x0);
    }
    this.redraw("over");
  }

  // Which ids are shown and which are selected.
  setShown(shown) {
    this.shown = shown;
    this.redraw("over");
  }

  setMarked(ids) {
    this.marked = new Uint8Array(this.shown.length);
    for (const id of ids) this.marked[id] = 1;
    this.redraw("over");
  }

  setHovered(id) {
    if (id === this.hovered) return;
    this.hovered = id;
    this.redraw("over");
  }

  setContrast(black, white) {
    // One CSS filter, done by the compositor: out = (in - black) / (white - black).
    const span = Math.max(white - black, 0.01);
    const contrast = 1 + (2 * black) / span;
    const brightness = 1 / (white + black || 0.01);
    const filter = black === 0 && white === 1 ? "" : `brightness(${brightness}) contrast(${contrast})`;
    for (const canvas of this.bases) canvas.style.filter = filter;
  }

  setStyle(style) {
    this.style = style;
    this.redraw("over");
  }

  setSplit(split) {
    const centre = this.centre();
    const [w, h] = this.size();
    const whole = this.width * this.scale <= w && this.height * this.scale <= h;
    this.split = split;
    this.left.hidden = !split;
    this.resized();
    if (whole) this.fit();
    else this.centreOn(...centre);
  }

  setTool(tool) {
    this.tool = tool;
    this.root.dataset.tool = tool;
  }

  cellAt(x, y) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (!this.labels || column < 0 || row < 0 || column >= this.width || row >= this.height) return 0;
    const id = this.labels[row * this.width + column];
    return this.shown[id] ? id : 0;
  }

  // Cells below a path, those with most of it first.
  cellsBelow(path) {
    const counts = new Map();
    for (let i = 1; i < path.length; i++) {
      const [[ax, ay], [bx, by]] = [path[i - 1], path[i]];
      const steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay)));
      for (let s = 0; s <= steps; s++) {
        const id = this.cellAt(ax + ((bx - ax) * s) / steps, ay + ((by - ay) * s) / steps);
        if (id) counts.set(id, (counts.get(id) ?? 0) + 1);
      }
    }
    return [...counts].sort((a, b) => b[1] - a[1]).map(([id]) => id);
  }

  // ------------------------------------------------------------------ where one looks

  size() {
    return [this.main.clientWidth, this.main.clientHeight];
  }

  centre() {
    const [w, h] = this.size();
    return [(w / 2 - this.x) / this.scale, (h / 2 - this.y) / this.scale];
  }

  centreOn(x, y) {
    const [w, h] = this.size();
    this.x = w / 2 - x * this.scale;
    this.y = h / 2 - y * this.scale;
    this.moved();
  }

  fit() {
    const [w, h] = this.size();
    if (!this.width || !w) return;
    this.scale = Math.min((w - 24) / this.width, (h - 24) / this.height, 8);
    this.centreOn(this.width / 2, this.height / 2);
  }

  zoom(factor, at = null) {
    const [w, h] = this.size();
    const [px, py] = at ?? [w / 2, h / 2];
    const least = Math.min(w / this.width, h / this.height, 1) / 4;
    const scale = Math.min(MOST_ZOOM, Math.max(least, this.scale * factor));
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.moved();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.moved();
  }

  // Bring a box into view, zoomed in only where it would be too small to see.
  show([y0, x0, y1, x1]) {
    const [w, h] = this.size();
    const edge = Math.max(y1 - y0, x1 - x0, 1);
    if (edge * this.scale < 24) this.scale = Math.min(MOST_ZOOM, 60 / edge);
    const [left, top] = [x0 * this.scale + this.x, y0 * this.scale + this.y];
    const [right, bottom] = [x1 * this.scale + this.x, y1 * this.scale + this.y];
    if (left < 0 || top < 0 || right > w || bottom > h) this.centreOn((x0 + x1) / 2, (y0 + y1) / 2);
    else this.moved();
  }

  moved() {
    const [w, h] = this.size();
    const keep = 40; // of the image stays in sight
    this.x = Math.min(w - keep, Math.max(keep - this.width * this.scale, this.x));
    this.y = Math.min(h - keep, Math.max(keep - this.height * this.scale, this.y));
    this.events.zoomed(this.scale);
    if (this.pointed && !this.pointers.size) this.hover();
    this.redraw();
  }

  // Tell of the cell below the pointer, which rests where it is while the image moves.
  hover() {
    const { at, x, y } = this.pointed;
    this.events.hover(this.cellAt(...this.toImage(at)), x, y);
  }

  resized() {
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = this.size();
    for (const canvas of [...this.bases, this.over]) {
      canvas.width = Math.max(1, Math.round(w * this.ratio));
      canvas.height = Math.max(1, Math.round(h * this.ratio));
    }
    const count = this.over.width * this.over.height;
    this.ids = new Uint32Array(count);
    this.frame = this.over.getContext("2d").createImageData(this.over.width, this.over.height);
    this.pixels = new Uint32Array(this.frame.data.buffer);
    this.redraw();
  }

  // ------------------------------------------------------------------ drawing

  redraw(what = "both") {
    const waiting = this.dirty.base || this.dirty.over;
    if (what !== "over") this.dirty.base = true;
    if (what !== "base") this.dirty.over = true;
    if (!waiting) requestAnimationFrame(() => this.draw());
  }

  draw() {
    const begun = performance.now();
    if (this.dirty.base) for (const canvas of this.bases) this.drawBase(canvas);
    if (this.dirty.over) this.drawOver();
    this.dirty.base = this.dirty.over = false;
    this.milliseconds = performance.now() - begun;
  }

  drawBase(canvas) {
    if (canvas === this.bases[0] && !this.split) return;
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.mips.length) return;
    // The smallest one that still has a pixel for each of the screen's.
    const wanted = this.width * this.scale * this.ratio;
    const bitmap = this.mips.findLast((mip) => mip.width >= wanted) ?? this.mips[0];
    context.imageSmoothingEnabled = this.scale < 3;
    const k = this.scale * this.ratio;
    context.setTransform(1, 0, 0, 1, this.x * this.ratio, this.y * this.ratio);
    context.drawImage(bitmap, 0, 0, this.width * k, this.height * k);
  }

  drawOver() {
    const context = this.over.getContext("2d");
    if (this.labels && this.style !== "none") {
      this.lookUp();
      this.colour();
      context.putImageData(this.frame, 0, 0);
    } else {
      context.clearRect(0, 0, this.over.width, this.over.height);
    }
    if (this.path) this.drawPath(context);
  }

  // The cell below each pixel of the screen.
  lookUp() {
    const { width: w, height: h } = this.over;
    const k = this.scale * this.ratio;
    const [ox, oy] = [this.x * this.ratio, this.y * this.ratio];
    const columns = new Int32Array(w);
    for (let x = 0; x < w; x++) columns[x] = Math.floor((x + 0.5 - ox) / k);
    let first = 0;
    while (first < w && columns[first] < 0) first++;
    let last = w;
    while (last > first && columns[last - 1] >= this.width) last--;
    const { ids, labels, shown } = this;
    ids.fill(0);
    for (let y = 0; y < h; y++) {
      const row = Math.floor((y + 0.5 - oy) / k);
      if (row < 0 || row >= this.height) continue;
      const [from, to] = [row * this.width, y * w];
      for (let x = first; x < last; x++) {
        const id = labels[from + columns[x]];
        if (id !== 0 && shown[id] === 1) ids[to + x] = id;
      }
    }
  }

  colour() {
    const { width: w, height: h } = this.over;
    const { ids, pixels, marked, hovered } = this;
    const colours = this.light ? DARK : LIGHT;
    const one = this.style === "one";
    const lines = new Uint32Array(8).map((_, i) => packed(colours[one ? 0 : i], 255));
    const tints = new Uint32Array(8).map((_, i) => packed(colours[one ? 0 : i], 70));
    const chosen = packed(this.light ? "#000000" : "#ffffff", 255);
    const inside = packed(this.light ? "#ffffff" : "#000000", 255); // a second line: the cell may be as bright
    const chosenTint = packed(this.light ? "#000000" : "#ffffff", 70);
    const filled = this.style === "filled";
    const wide = this.diameter * this.scale >= WIDE ? 2 : 1;
    const thick = Math.max(1, Math.round(wide * this.ratio));
    // Whether another cell, or none, is so many pixels away.
    const atEdge = (x, y, t) => {
      const k = y * w + x;
      const id = ids[k];
      return (
        (x >= t && ids[k - t] !== id) ||
        (x + t < w && ids[k + t] !== id) ||
        (y >= t && ids[k - t * w] !== id) ||
        (y + t < h && ids[k + t * w] !== id)
      );
    };
    pixels.fill(0);
    for (let y = 0; y < h; y++) {
      for (let x = 0, k = y * w; x < w; x++, k++) {
        const id = ids[k];
        if (id === 0) continue;
        const isMarked = marked[id] === 1;
        if (!isMarked && atEdge(x, y, thick)) pixels[k] = lines[id & 7];
        else if (isMarked) pixels[k] = atEdge(x, y, thick + 1) ? chosen : atEdge(x, y, 2 * thick + 1) ? inside : chosenTint;
        else if (filled || id === hovered) pixels[k] = tints[id & 7];
      }
    }
  }

  drawPath(context) {
    const k = this.scale * this.ratio;
    context.setTransform(k, 0, 0, k, this.x * this.ratio, this.y * this.ratio);
    context.beginPath();
    this.path.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (this.tool === "draw" || this.tool === "redraw") context.closePath();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.lineJoin = "round";
    for (const [colour, width] of [["#000000", 4], ["#ffffff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * this.ratio;
      context.stroke();
    }
  }

  // ------------------------------------------------------------------ gestures

  listen() {
    for (const pane of [this.left, this.main]) {
      pane.addEventListener("pointerdown", (event) => this.down(event, pane));
      pane.addEventListener("pointermove", (event) => this.move(event, pane));
      pane.addEventListener("pointerup", (event) => this.up(event, pane));
      pane.addEventListener("pointercancel", (event) => this.cancel(event));
      pane.addEventListener("pointerleave", () => {
        this.pointed = null;
        this.events.hover(0, 0, 0);
      });
      pane.addEventListener("auxclick", (event) => event.preventDefault());
      pane.addEventListener(
        "wheel",
        (event) => {
          event.preventDefault();
          const lines = event.deltaMode === 1 ? 16 : 1;
          const factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016));
          this.zoom(factor, this.place(event, pane));
        },
        { passive: false },
      );
    }
  }

  place(event, pane) {
    const box = pane.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  toImage([px, py]) {
    return [(px - this.x) / this.scale, (py - this.y) / this.scale];
  }

  down(event, pane) {
    if (!this.width) return;
    pane.setPointerCapture(event.pointerId);
    const at = this.place(event, pane);
    this.pointers.set(event.pointerId, at);
    this.start = at;
    this.wandered = false;
    const pans = event.button !== 0 || this.panning || pane === this.left;
    this.drags = pans || this.tool === "select" || this.tool === "delete" ? "pan" : "path";
    if (this.pointers.size > 1) this.path = null;
    else if (this.drags === "path") this.path = [this.toImage(at)];
  }

  move(event, pane) {
    if (!this.width) return;
    const at = this.place(event, pane);
    const before = this.pointers.get(event.pointerId);
    this.pointed = { at, x: event.clientX, y: event.clientY };
    if (!before) return this.hover();
    if (Math.hypot(at[0] - this.start[0], at[1] - this.start[1]) > CLICK_REACH) this.wandered = true;
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, at);
    else if (this.path) {
      for (const step of event.getCoalescedEvents?.() ?? [event]) {
        this.path.push(this.toImage(this.place(step, pane)));
      }
      this.redraw("over");
      this.events.gesture(this.tool, this.path, false);
    } else if (this.wandered) this.pan(at[0] - before[0], at[1] - before[1]);
    this.pointers.set(event.pointerId, at);
  }

  pinch(moving, before, at) {
    const [[, other]] = [...this.pointers].filter(([id]) => id !== moving);
    const old = Math.hypot(before[0] - other[0], before[1] - other[1]);
    const now = Math.hypot(at[0] - other[0], at[1] - other[1]);
    this.wandered = true;
    this.zoom(now / Math.max(old, 1), other);
  }

  up(event, pane) {
    if (!this.pointers.delete(event.pointerId)) return;
    const at = this.toImage(this.place(event, pane));
    const path = this.path;
    this.path = null;
    this.redraw("over");
    if (!this.wandered && event.button === 0) this.events.click(this.cellAt(...at), event);
    else if (path && this.wandered) this.events.gesture(this.tool, path, true);
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.path = null;
    this.redraw("over");
  }

  abandonPath() {
    const had = this.path !== null;
    this.path = null;
    this.redraw("over");
    return had;
  }
}
