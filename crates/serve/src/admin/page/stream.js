// The stream of decisions: what is kept, what is shown, which row is under the cursor.

import { byId, clock, el, many, millis, named, number, say } from "./dom.js";

// Decisions kept to filter in, and rows in the document: both bounded whatever the traffic.
const KEPT = 1000;
const SHOWN = 120;
// More new rows than this at once are a flood, and none of them is lit.
const LIT = 12;

const body = byId("stream");
const kept = [];
const byKey = new Map();
let rows = new Map();
let held = false;
let waiting = 0;
let leftOut = 0;
let words = [];
let cursor = null;
let opened = null;
let onOpen = () => {};

export function listen(open) {
  onOpen = open;
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(row);
  });
  body.addEventListener("focusin", (event) => {
    const row = event.target.closest("tr");
    if (row) moveCursor(row.dataset.key);
  });
}

/** Forgets everything: another run of the server has other keys. */
export function clear() {
  kept.length = 0;
  byKey.clear();
  waiting = leftOut = 0;
  render();
}

/** Takes what an answer brought. */
export function take(answer) {
  for (const ended of answer.ended) {
    const known = byKey.get(ended.key);
    if (known) Object.assign(known, ended);
    const row = rows.get(ended.key);
    if (row && known) row.replaceChildren(...cells(known));
  }
  const fresh = answer.decisions.filter((one) => !byKey.has(one.key));
  fresh.forEach((one) => byKey.set(one.key, one));
  kept.unshift(...fresh);
  for (const gone of kept.splice(KEPT)) if (gone.key !== opened) byKey.delete(gone.key);
  leftOut = Math.max(0, answer.happened - answer.decisions.length);
  if (held) waiting += answer.happened;
  else render(fresh.length <= LIT ? new Set(fresh.map((one) => one.key)) : new Set());
  note();
}

/** Keys of what is shown and has not ended. */
export const pending = () => [...rows.keys()].filter((key) => byKey.get(key) && !byKey.get(key).outcome).slice(0, 100);

/** Holds the rows where they are, or lets them move again. */
export function hold(still) {
  if (held === still) return;
  held = still;
  if (!held) { waiting = 0; render(); }
  note();
}

export function filter(text) {
  words = text.toLowerCase().split(/\s+/).filter(Boolean);
  render();
  note();
}

/** Marks the row of the opened decision. */
export function markOpened(key) {
  opened = key;
  for (const [known, row] of rows) row.setAttribute("aria-selected", String(known === key));
}

/** Moves the cursor by so many rows; the row gets the focus. */
export function step(by) {
  const all = [...body.rows];
  if (all.length === 0) return null;
  const at = all.findIndex((row) => row.dataset.key === cursor);
  const row = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + by))];
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  return byKey.get(row.dataset.key);
}

/** Opens what is under the cursor. */
export function openCurrent() {
  const row = rows.get(cursor) ?? body.rows[0];
  if (row) choose(row);
}

/** Gives the focus back to the row under the cursor. */
export function focusRow() {
  (rows.get(cursor) ?? body.rows[0])?.focus({ preventScroll: true });
}

function choose(row) {
  moveCursor(row.dataset.key);
  const one = byKey.get(row.dataset.key);
  if (one) onOpen(one);
}

function moveCursor(key) {
  rows.get(cursor)?.setAttribute("tabindex", "-1");
  cursor = key;
  rows.get(cursor)?.setAttribute("tabindex", "0");
}

function matches(one) {
  if (words.length === 0) return true;
  const text = `${one.id} ${one.model} ${one.picks.join(" ")} ${one.outcome?.served ?? ""} ${one.outcome?.status ?? ""} ${one.outcome?.kind ?? ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function render(fresh = new Set()) {
  const wanted = kept.filter(matches).slice(0, SHOWN);
  const next = new Map();
  for (const one of wanted) next.set(one.key, rows.get(one.key) ?? build(one, fresh.has(one.key)));
  const focused = document.activeElement?.closest?.("#stream tr");
  for (const [key, row] of rows) if (!next.has(key)) row.remove();
  let place = body.firstChild;
  for (const row of next.values()) {
    if (row === place) place = place.nextSibling;
    else body.insertBefore(row, place);
  }
  rows = next;
  if (!rows.has(cursor)) moveCursor(wanted[0]?.key ?? null);
  if (focused && !focused.isConnected) body.lastElementChild?.focus({ preventScroll: true });
  byId("stream-empty").hidden = rows.size > 0;
  if (rows.size === 0) {
    say(byId("stream-empty"), kept.length ? "No decision matches the filter." : "No decision yet. Send a request to the gateway and it shows here.");
  }
}

function build(one, fresh) {
  const row = el("tr", { tabindex: one.key === cursor ? "0" : "-1", "aria-selected": String(one.key === opened), class: fresh ? "fresh" : null }, cells(one));
  row.dataset.key = one.key;
  return row;
}

function cells(one) {
  const end = one.outcome;
  const picked = one.picks.length
    ? one.picks.map((pick, n) => [n > 0 && el("span", { class: "then" }, " + "), named(pick)]).flat()
    : [el("span", { class: "muted" }, "nobody")];
  return [
    el("td", { class: "time" }, clock(one.atMs)),
    el("td", { class: "c-id mono", title: one.id }, one.id),
    el("td", { class: "c-model", title: one.model }, one.model.slice(one.model.lastIndexOf("/") + 1) || "–"),
    el("td", { class: "c-pick" }, picked),
    el("td", { class: "c-why" }, why(one)),
    el("td", { class: "c-status" }, status(one)),
    el("td", { class: "num c-first" }, millis(end?.firstByteMs)),
    el("td", { class: "num c-total" }, millis(end?.totalMs)),
  ];
}

/** In a few words, why this one. */
function why(one) {
  const removed = Object.values(one.removed).reduce((sum, n) => sum + n, 0);
  const parts = [];
  if (one.picks.length === 0) parts.push(removed > 0 ? "all removed" : "not decided");
  else if (one.scored === 1) parts.push("only one left");
  else if (one.best > 1) parts.push(`tie of ${one.best}`);
  else parts.push(`best of ${number(one.truncated ? one.pool : one.scored)}`);
  if (removed > 0) parts.push(`${removed} removed`);
  return parts.join(", ");
}

/** How it stands, in a word and a colour. */
export function status(one) {
  const end = one.outcome;
  if (!end) return el("span", { class: "chip wait", title: "under way" }, "open");
  const good = end.kind === "served" && end.status < 400;
  const text = end.kind === "served" ? String(end.status) : end.status ? `${end.kind} ${end.status}` : end.kind;
  const retried = end.failedAttempts > 0 ? `, ${many(end.failedAttempts, "retry", "retries")}` : "";
  return el("span", { class: `chip ${good ? (retried ? "soft" : "good") : "bad"}`, title: end.reason ?? null }, text + retried);
}

function note() {
  const text = held && waiting > 0
    ? `held, ${many(waiting, "newer decision")}`
    : leftOut > 0 ? `${many(leftOut, "more")} this second, the newest are shown` : `${many(kept.length, "decision")} kept`;
  say(byId("stream-note"), text);
}
