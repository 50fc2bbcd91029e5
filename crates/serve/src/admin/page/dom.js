// Elements and numbers. Whatever comes from outside becomes text, never markup.

/** An element; children are nodes or text, `null` and `false` are left out. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets text only where it changed, so that nothing is laid out for nothing. */
export function say(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** A name whose namespace and rank step back; narrow lists leave them out, the title never. */
export function named(name) {
  const [, space, own, rank] = /^(.*\/)?(.*?)(-rank-\d+)?$/s.exec(name);
  return el("span", { class: "name", title: name },
    space && el("span", { class: "ns" }, space), own, rank && el("span", { class: "rank" }, rank));
}

/** A small bar, `share` from 0 to 1. */
export function bar(share, kind = "") {
  const fill = el("i");
  const node = el("span", { class: `meter ${kind}`, "aria-hidden": "true" }, fill);
  setBar(node, share);
  return node;
}

export function setBar(node, share) {
  const part = Number.isFinite(share) ? Math.max(0, Math.min(1, share)) : 0;
  node.firstChild.style.transform = `scaleX(${part.toFixed(3)})`;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A number as short as it can be without lying. */
export function number(value) {
  if (typeof value === "string") return value;
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return whole.format(value);
  const size = Math.abs(value);
  if (size >= 1000) return whole.format(value);
  return String(Number(value.toFixed(size >= 100 ? 1 : size >= 1 ? 2 : 4)));
}

/** A score: always three places, so that columns can be compared by eye. */
export const score = (value) => (Number.isFinite(value) ? value.toFixed(3) : "–");

/** A span of milliseconds. */
export function millis(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 100_000) return `${whole.format(ms / 1000)} s`;
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return `${(ms * 1000).toFixed(0)} µs`;
}

/** The age of a reading. */
export function age(ms) {
  if (ms === null || ms === undefined) return "never";
  return ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

const two = (n) => String(n).padStart(2, "0");

/** A moment of today, in the reader's zone. */
export function clock(ms) {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

export const many = (n, one, more = `${one}s`) => `${number(n)} ${n === 1 ? one : more}`;

/** JSON whose large whole numbers stay as they were written. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const large = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return large && context?.source ? context.source : value;
  });
}

/** Asks this page's own server; an error says what it answered. */
export const ask = (path) => answered(path, { cache: "no-store" });

/** Hands it JSON. */
export const send = (path, body) => answered(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function answered(path, options) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(10_000) });
  const text = await response.text();
  if (!response.ok) {
    let said = text;
    try { said = JSON.parse(text).error.message; } catch { /* not JSON: the text itself */ }
    throw Object.assign(new Error(said), { status: response.status });
  }
  return parse(text);
}
