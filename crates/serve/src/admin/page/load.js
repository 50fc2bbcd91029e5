// Load by endpoint: a heat grid of all of them on one canvas, and a table of those at the top.

import { age, bar, byId, el, many, named, number, say, setBar } from "./dom.js";

// Rows in the document at most; the grid shows the rest.
const TOP = 50;
// Pools up to this size need no grid.
const SMALL = 12;

const percent = (value) => `${number(Math.round(value * 1000) / 10)} %`;
const share = (value) => (value === null || value === undefined ? "–" : percent(value));
const METRICS = [
  { name: "inFlight", head: "In flight", shown: number },
  { name: "waiting", head: "Queue", shown: number },
  { name: "running", head: "Running", shown: number },
  { name: "kvUsage", head: "KV use", shown: percent, top: 1 },
  { name: "hitPredicted", head: "Hit, predicted", shown: share, top: 1 },
  { name: "hitActual", head: "Hit, actual", shown: share, top: 1 },
  { name: "rate", head: "Picks/s", shown: (value) => number(Math.round(value * 10) / 10) },
  { name: "ageMs", head: "Age", shown: age },
];

let names = [];
let data = null;
let picksBefore = null;
let wanted = "";
let sorted = { name: "inFlight", down: true };
let visible = false;
let matching = [];
let layout = null;
let onPick = () => {};

const canvas = byId("heat");

/** Names in the order of the rows. */
export function rename(list) { names = list; picksBefore = null; }

export function take(answer, seconds) {
  const endpoints = answer.endpoints;
  const known = picksBefore && picksBefore.length === endpoints.picks.length && seconds;
  // A second's picks are few; a slow mean is easier on the eye.
  const rate = endpoints.picks.map((n, row) => {
    const now = known ? Math.max(0, n - picksBefore[row]) / seconds : 0;
    return known && data?.rate ? 0.6 * now + 0.4 * (data.rate[row] ?? 0) : now;
  });
  picksBefore = endpoints.picks;
  data = { ...endpoints, rate, words: answer.scrapeWords, staleAfter: answer.plan.staleAfterMs };
  if (visible) draw();
}

export function shown(on) {
  visible = on;
  if (on && data) draw();
}

export function filter(text) {
  wanted = text.trim().toLowerCase();
  draw();
}

export function repaint() { if (visible && data) heat(); }

export function listen(pick) {
  onPick = pick;
  const select = byId("load-metric");
  METRICS.forEach(({ name, head }) => select.append(el("option", { value: name }, head)));
  select.addEventListener("change", draw);
  byId("load-head").append(
    el("th", { scope: "col", "aria-sort": "none" }, sorter("name", "Endpoint")),
    ...METRICS.map(({ name, head }) => el("th", { scope: "col", class: "num", "aria-sort": "none" }, sorter(name, head))));
  canvas.addEventListener("pointermove", (event) => {
    const row = under(event);
    canvas.title = row === null ? "" : describe(row);
  });
  canvas.addEventListener("click", (event) => {
    const row = under(event);
    if (row !== null) onPick(names[row]);
  });
  new ResizeObserver(repaint).observe(byId("heat-card"));
}

function sorter(name, head) {
  return el("button", { class: "sort", "data-sort": name, onclick: () => {
    sorted = { name, down: sorted.name === name ? !sorted.down : name !== "name" };
    draw();
  } }, head);
}

function draw() {
  if (!data) return;
  matching = [];
  for (let row = 0; row < names.length; row += 1) if (!wanted || names[row].toLowerCase().includes(wanted)) matching.push(row);
  table();
  heat();
  const most = Math.min(TOP, matching.length);
  say(byId("load-note"), matching.length > most ? `${number(most)} of ${many(matching.length, "endpoint")} listed` : many(matching.length, "endpoint"));
}

const value = (name, row) => (name === "ageMs" ? data.ageMs[row] ?? Infinity : data[name][row] ?? 0);

function table() {
  const direction = sorted.down ? -1 : 1;
  const order = sorted.name === "name"
    ? (a, b) => direction * names[a].localeCompare(names[b], "en", { numeric: true })
    : (a, b) => { const [x, y] = [value(sorted.name, a), value(sorted.name, b)]; return x === y ? a - b : x < y ? -direction : direction; };
  const rows = [...matching].sort(order).slice(0, TOP);
  const tops = Object.fromEntries(METRICS.map(({ name, top }) => [name, top ?? Math.max(1, ...data[name].filter(Number.isFinite))]));
  const body = byId("load-rows");
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  while (body.rows.length < rows.length) body.append(blank());
  rows.forEach((row, at) => fill(body.rows[at], row, tops));
  for (const head of byId("load-head").cells) {
    const name = head.firstChild.dataset.sort;
    head.setAttribute("aria-sort", name !== sorted.name ? "none" : sorted.down ? "descending" : "ascending");
  }
}

function blank() {
  return el("tr", {}, el("th", { scope: "row" }), METRICS.map(({ name }) =>
    el("td", { class: "num", "data-c": name }, el("span", { class: "v" }), name === "ageMs" ? null : bar(0))));
}

function fill(tr, row, tops) {
  if (tr.dataset.endpoint !== names[row]) {
    tr.dataset.endpoint = names[row];
    tr.cells[0].replaceChildren(named(names[row]));
  }
  METRICS.forEach(({ name, shown: text }, at) => {
    const cell = tr.cells[at + 1];
    if (name === "ageMs") {
      const old = data.ageMs[row] === null || data.ageMs[row] > data.staleAfter;
      const word = data.words[data.scrape[row]];
      say(cell.firstChild, old && word !== "fresh" && word !== "never" ? `${text(data.ageMs[row])}, ${word}` : text(data.ageMs[row]));
      cell.classList.toggle("old", old);
      return;
    }
    say(cell.firstChild, text(data[name][row]));
    setBar(cell.lastChild, data[name][row] / tops[name]);
  });
}

function describe(row) {
  return [names[row], ...METRICS.map(({ name, head, shown: text }) => `${head.toLowerCase()} ${text(data[name][row])}`)].join("\n");
}

/** The colours of the page, resolved for the canvas. */
function colour(name) {
  const probe = el("i", { class: `probe ${name}` });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function heat() {
  byId("heat-card").hidden = byId("load-metric").parentElement.hidden = names.length <= SMALL;
  if (names.length <= SMALL || !visible) return;
  const metric = METRICS.find(({ name }) => name === byId("load-metric").value);
  const width = byId("heat-card").clientWidth - 32;
  const gap = 2;
  const cell = names.length > 400 ? 14 : names.length > 100 ? 20 : 28;
  const across = Math.max(1, Math.floor((width + gap) / (cell + gap)));
  const height = Math.ceil(names.length / across) * (cell + gap) - gap;
  const sharp = window.devicePixelRatio || 1;
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  layout = { cell: cell + gap, across };
  const paint = canvas.getContext("2d");
  paint.scale(sharp, sharp);
  const numbers = data[metric.name];
  const top = metric.top ?? Math.max(1, ...numbers.filter(Number.isFinite));
  const [empty, full, old] = ["heat-empty", "heat-full", "heat-old"].map(colour);
  const chosen = new Set(matching);
  for (let row = 0; row < names.length; row += 1) {
    const [x, y] = [(row % across) * (cell + gap), Math.floor(row / across) * (cell + gap)];
    const dim = chosen.has(row) ? 1 : 0.2;
    paint.globalAlpha = dim;
    paint.fillStyle = empty;
    paint.beginPath();
    paint.roundRect(x, y, cell, cell, 3);
    paint.fill();
    const never = metric.name === "ageMs" && numbers[row] === null;
    const share = Math.min(1, (numbers[row] ?? 0) / top);
    if (!never && share <= 0) continue;
    paint.globalAlpha = dim * (never ? 0.35 : 0.15 + 0.85 * share);
    paint.fillStyle = never || (metric.name === "ageMs" && numbers[row] > data.staleAfter) ? old : full;
    paint.fill();
  }
  paint.globalAlpha = 1;
  const text = `${many(names.length, "endpoint")} in the order of the pool, coloured by ${metric.head}: none to ${metric.shown(top)}. Point at one to read it; a click filters.`;
  say(byId("heat-caption"), text);
  canvas.setAttribute("aria-label", text);
}

function under(event) {
  if (!layout) return null;
  const box = canvas.getBoundingClientRect();
  const across = Math.floor((event.clientX - box.left) / layout.cell);
  const row = Math.floor((event.clientY - box.top) / layout.cell) * layout.across + across;
  return across >= 0 && across < layout.across && row >= 0 && row < names.length ? row : null;
}
