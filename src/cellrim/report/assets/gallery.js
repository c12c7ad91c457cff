"use strict";
const cards = JSON.parse(document.getElementById("cards").textContent);
const byId = (id) => document.getElementById(id);
const gallery = byId("gallery"), large = byId("large");
let shown = [], current = -1, well = null;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const data = (text) => "data:image/webp;base64," + text;

// Very long pictures get a frame of a form that a gallery can hold, and room around them.
const form = (picture) => Math.min(4, Math.max(0.5, picture.width / picture.height));

function pictures(card) {
  const { picture } = card;
  if (!picture) {
    return [make("div", { className: "blank", textContent: card.error ? "failed" : "no picture" })];
  }
  const layers = Object.entries(picture.layers);
  return layers.map(([caption, layer]) => {
    const frame = make("span", { className: "frame" });
    frame.style.aspectRatio = form(picture);
    frame.append(make("img", { src: data(picture.image), alt: "" }));
    frame.append(make("img", { src: data(layer), alt: "", className: "layer" }));
    const figure = make("span", { className: "figure" }, frame);
    if (layers.length > 1) figure.append(make("small", { textContent: caption }));
    return figure;
  });
}

// Pictures are decoded only where somebody looks.
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    target.querySelector(".pictures").replaceChildren(...pictures(shown[target.dataset.index]));
  }
}, { rootMargin: "600px" });

function tile(card, index) {
  const holder = make("span", { className: "pictures" });
  const { picture } = card;
  const count = picture ? Object.keys(picture.layers).length : 1;
  holder.style.aspectRatio = picture ? form(picture) * count : "4/3";
  const button = make("button", { type: "button", className: "card" }, holder);
  button.dataset.index = index;
  const text = make("span", { className: "text" }, make("b", { textContent: card.name }));
  if (card.caption) text.append(make("span", { textContent: card.caption }));
  for (const flag of card.flags) text.append(make("i", { className: "flag", textContent: flag }));
  if (card.error) text.append(make("i", { className: "flag error", textContent: "failed" }));
  button.append(text);
  button.addEventListener("click", () => open(index));
  watcher.observe(button);
  return make("li", {}, button);
}

function wanted(card) {
  const part = byId("find").value.trim().toLowerCase();
  if (part && !card.name.toLowerCase().includes(part)) return false;
  if (byId("flagged").checked && !card.flags.length && !card.error) return false;
  return !well || (card.plate === well.plate && card.well === well.well);
}

function sorted(list) {
  const name = byId("order").value;
  if (!name) return list;
  if (name === "name") return [...list].sort((a, b) => a.name.localeCompare(b.name));
  const value = (card) => card.order[name] ?? -Infinity;
  return [...list].sort((a, b) => value(b) - value(a));
}

function refresh() {
  watcher.disconnect();
  shown = sorted(cards.filter(wanted));
  gallery.replaceChildren(...shown.map(tile));
  const where = well ? " in well " + [well.plate, well.well].filter(Boolean).join(" ") : "";
  byId("shown").textContent = shown.length + " of " + cards.length + " images" + where;
  if (well) {
    const all = make("button", { type: "button", textContent: "show all wells" });
    all.addEventListener("click", () => pick(null));
    byId("shown").append(" ", all);
  }
}

function pick(element) {
  well = element ? { plate: element.dataset.plate, well: element.dataset.well } : null;
  for (const other of document.querySelectorAll(".pick")) {
    other.classList.toggle("picked", !!well && other.dataset.well === well.well
      && other.dataset.plate === well.plate);
  }
  refresh();
}

function open(index) {
  current = index;
  const card = shown[index];
  byId("large-name").textContent = card.name;
  const body = [make("div", { className: "pictures" }, ...pictures(card))];
  if (card.error) body.push(make("p", { className: "note error", textContent: card.error }));
  for (const text of card.sentences) body.push(make("p", { className: "note", textContent: text }));
  const rows = Object.entries(card.facts).map(([label, text]) => make("tr", {},
    make("th", { scope: "row", textContent: label }), make("td", { textContent: text })));
  body.push(make("table", { className: "facts" }, ...rows));
  const links = Object.entries(card.links).map(([text, href]) =>
    make("a", { href, textContent: text }));
  if (links.length) body.push(make("p", { className: "links" }, ...links));
  byId("large-body").replaceChildren(...body);
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === shown.length - 1;
  if (!large.open) large.showModal();
}

function step(by) {
  if (shown[current + by]) open(current + by);
}

function outline(on) {
  byId("outlined").checked = on;
  document.body.classList.toggle("plain", !on);
}

const orders = [...new Set(cards.flatMap((card) => Object.keys(card.order)))];
byId("order").append(make("option", { value: "", textContent: "worst first" }),
  make("option", { value: "name", textContent: "name" }),
  ...orders.map((name) => make("option", { value: name, textContent: name })));
byId("flagged-label").hidden = !cards.some((card) => card.flags.length || card.error);
byId("find").addEventListener("input", refresh);
byId("order").addEventListener("change", refresh);
byId("flagged").addEventListener("change", refresh);
byId("outlined").addEventListener("change", (event) => outline(event.target.checked));
const resize = () => document.body.style.setProperty("--card", byId("size").value + "px");
byId("size").addEventListener("input", resize);
resize();
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
});
large.addEventListener("close", () => {
  gallery.querySelector('[data-index="' + current + '"]')?.focus();
});
large.addEventListener("click", (event) => event.target === large && large.close());
for (const element of document.querySelectorAll(".pick")) {
  element.addEventListener("click", () => pick(element));
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    pick(element);
  });
}
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-show]")) {
      const on = other === button;
      other.setAttribute("aria-pressed", on);
      byId(other.dataset.show).hidden = !on;
    }
  });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox") return;
  if (event.key === "o") outline(!byId("outlined").checked);
  if (large.open && event.key === "ArrowLeft") step(-1);
  if (large.open && event.key === "ArrowRight") step(1);
});
refresh();
