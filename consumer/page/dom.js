// Makes elements and texts. Everything from the server becomes text through here: text nodes and attributes, never HTML.

const SVG = "http://www.w3.org/2000/svg";

// An element: `h("p", {class: "faint"}, "text", child)`. Attributes that are null or false are left out.
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Brings `parent`'s children in line with `items`, keeping the elements (and the focus) of those that stay.
export function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = document.activeElement;
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    old.delete(name);
    if (!element) {
      element = make(item);
      element.dataset.key = name;
    }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  old.forEach((element) => element.remove());
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

// Fills `element` by `make` when `of`, what it shows, is not what it showed before; details that are open stay open.
export function replaced(element, of, make) {
  const text = JSON.stringify(of);
  if (element.dataset.was === text) return;
  element.dataset.was = text;
  const open = [...element.querySelectorAll("details")].map((details) => details.open);
  element.replaceChildren(...make());
  element.querySelectorAll("details").forEach((details, n) => { details.open = open[n] ?? details.open; });
}

// Seconds between the two clocks: the database's and this browser's.
let offset = 0;

export function setClock(iso) {
  if (iso) offset = Date.parse(iso) - Date.now();
}

export const now = () => Date.now() + offset;
export const since = (iso) => Math.max(0, now() - Date.parse(iso));

// Milliseconds in words: "40 ms", "0.4 s", "41 s", "3 min 20 s", "2 h 5 min", "4 d".
export function span(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 99.5) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return joined(Math.floor(whole / 60), "min", whole < 600 ? whole % 60 : 0, "s");
  if (whole < 86400) return joined(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return joined(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

const joined = (a, unit, b, smaller) => (b ? `${a} ${unit} ${b} ${smaller}` : `${a} ${unit}`);

// How long ago, in whole seconds and larger, so that it does not flicker.
export function ago(iso) {
  const ms = since(iso);
  return ms < 9950 ? `${Math.floor(ms / 1000)} s` : span(ms);
}

// A time that ticks: `words` says it from the time that passed.
export function ticking(iso, words = (text) => text) {
  const element = h("time", { datetime: iso, title: new Date(iso).toLocaleString() }, words(ago(iso)));
  element.tick = () => setText(element, words(ago(iso)));
  element.dataset.ticks = "";
  return element;
}

export function tick() {
  for (const element of document.querySelectorAll("[data-ticks]")) element.tick?.();
}

export const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false });
export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
export const capped = (n, most = 1000) => (n >= most ? `${most}+` : String(n));

const STATES = {
  processing: ["busy", "in work"],
  pending: ["wait", "waiting"],
  completed: ["ok", "completed"],
  failed: ["bad", "failed"],
  cancelled: ["off", "cancelled"],
};

// A job's state: the class of its pill, and its name.
export function stateOf(job) {
  if (job.status === "processing" && job.cancel_requested) return ["busy", "cancelling"];
  return STATES[job.status] ?? ["off", job.status];
}

// Names of the database as words: "workflow_generation" is "workflow generation".
export const words = (name) => String(name ?? "").replaceAll("_", " ");
