// Small helpers for elements, numbers and words.

export const $ = (id) => document.getElementById(id);

// Make an element: h("p", {class: "note", onclick: f}, "text", child).
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return value.toExponential(2);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

export function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

export function bytes(size) {
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6]]) {
    if (size >= factor) return `${Number((size / factor).toPrecision(3)).toLocaleString("en")} ${unit}`;
  }
  return `${Math.ceil(size / 1e3)} kB`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const NAMES = {
  id: "Number",
  area: "Area",
  perimeter: "Perimeter",
  confidence: "Confidence",
  centroid_x: "Centre x",
  centroid_y: "Centre y",
};

export function columnName(column) {
  if (NAMES[column]) return NAMES[column];
  const words = column.replace(/_/g, " ").trim();
  return capital(words);
}

// Columns that say where a cell is rather than what it is like.
export const isPlace = (column) =>
  column === "id" || column.startsWith("bbox") || column.startsWith("centroid") || column.endsWith("_id");

export function debounce(wait, action) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), wait);
  };
}

// Draw a part of the page anew; the button that has the keyboard keeps it.
export function keepFocus(root, redraw) {
  const name = (button) => button.ariaLabel || button.textContent;
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const wanted = focused && name(focused);
  redraw();
  if (!focused || focused.isConnected) return;
  [...root.querySelectorAll("button")].find((button) => name(button) === wanted)?.focus();
}

// Ask before something is gone for good.
export function sure(question, action) {
  $("sure-text").textContent = question;
  const dialog = $("sure-dialog");
  dialog.onclose = () => dialog.returnValue === "yes" && action();
  dialog.returnValue = "";
  dialog.showModal();
}

let fading = 0;

// Say something that matters now; errors stay until they are closed.
export function say(text, kind = "info", action = null) {
  const box = $("toast");
  clearTimeout(fading);
  box.replaceChildren(h("span", {}, text));
  if (action) box.append(h("button", { class: "quiet", onclick: () => (hide(), action.run()) }, action.label));
  box.append(h("button", { class: "quiet", "aria-label": "Close this message", onclick: hide }, "✕"));
  box.className = kind;
  box.hidden = false;
  if (kind !== "error") fading = setTimeout(hide, action ? 9000 : 5000);
}

export function hide() {
  $("toast").hidden = true;
}

export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
