// The live page: asks once a second while somebody looks, and hands out what comes.

import { ask, byId, number, say } from "./dom.js";
import * as stream from "./stream.js";
import * as decision from "./decision.js";
import * as load from "./load.js";
import * as plan from "./plan.js";
import * as whatif from "./whatif.js";
import * as warnings from "./warnings.js";

const EVERY = 1000;
const VIEWS = ["decisions", "load", "plan"];

let cursor = null;
let pool = null;
let last = null;
let paused = false;
let asking = false;
let view = "decisions";

async function poll() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const query = new URLSearchParams();
    if (cursor !== null) query.set("since", cursor);
    if (pool !== null) query.set("pool", pool);
    const pending = stream.pending();
    if (pending.length) query.set("pending", pending.join(","));
    take(await ask(`/debug/live?${query}`));
  } catch (error) {
    warnings.silent(error.message);
  } finally {
    asking = false;
  }
}

function take(answer) {
  const now = performance.now();
  if (answer.restarted) { stream.clear(); last = null; }
  cursor = answer.cursor;
  if (answer.pool.names) { pool = answer.pool.generation; load.rename(answer.pool.names); }
  const seconds = last ? (now - last.at) / 1000 : null;
  stream.take(answer);
  load.take(answer, seconds);
  plan.noticed(answer.plan.generation);
  warnings.look(answer);
  if (seconds) say(byId("pulse-rate"), number(Math.round((answer.counts.decisions - last.decisions) / seconds)));
  say(byId("pulse-flight"), number(answer.counts.inFlight));
  say(byId("pulse-pool"), number(answer.pool.size));
  say(byId("pulse-served"), number(answer.counts.served));
  last = { at: now, decisions: answer.counts.decisions };
}

function switchTo(name) {
  view = name;
  for (const one of VIEWS) {
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    byId(`view-${one}`).hidden = one !== name;
  }
  load.shown(name === "load");
  plan.shown(name === "plan");
}

function pause(on) {
  paused = on;
  byId("pause").setAttribute("aria-pressed", String(on));
  say(byId("pause"), on ? "Resume" : "Pause");
  stream.hold(paused || decision.isOpen());
}

function close() {
  decision.close();
  stream.markOpened(null);
  stream.hold(paused);
  stream.focusRow();
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  try {
    if (name) localStorage.setItem("theme", name); else localStorage.removeItem("theme");
  } catch { /* a browser that keeps nothing still shows it */ }
  say(byId("theme"), name ? (name === "dark" ? "Dark" : "Light") : "Auto");
  load.repaint();
}

function nextTheme() {
  const now = document.documentElement.dataset.theme;
  theme(now === undefined ? "light" : now === "light" ? "dark" : null);
}

const field = () => (view === "load" ? byId("load-filter") : byId("filter"));

function step(by) {
  const one = stream.step(by);
  if (one && decision.isOpen()) open(one, false);
}

function open(one, focus = true) {
  stream.markOpened(one.key);
  stream.hold(true);
  decision.open(one, focus);
}

const KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  p: () => pause(!paused),
  "/": () => field().focus(),
  "?": () => byId("help").showModal(),
  t: nextTheme,
  w: () => { if (view === "decisions") whatif.begin(); },
  1: () => switchTo("decisions"), 2: () => switchTo("load"), 3: () => switchTo("plan"),
};

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const target = event.target;
  const typing = target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) target.blur();
    else if (view === "decisions" && decision.isOpen()) close();
    return;
  }
  if (typing) return;
  const moves = ["j", "k", "ArrowDown", "ArrowUp"].includes(event.key);
  if (moves && (view !== "decisions" || target.closest("[role=tablist]"))) return;
  if (event.key.startsWith("Arrow") && target.closest("#decision")) return;
  if (event.key === "Enter") {
    if (view !== "decisions" || target.closest("button, a, summary, #decision")) return;
    event.preventDefault();
    stream.openCurrent();
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function tabs(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const at = (VIEWS.indexOf(view) + by + VIEWS.length) % VIEWS.length;
  switchTo(VIEWS[at]);
  byId(`tab-${VIEWS[at]}`).focus();
}

stream.listen((one) => open(one));
decision.listen(close);
load.listen((name) => { byId("load-filter").value = name; load.filter(name); });
byId("filter").addEventListener("input", (event) => stream.filter(event.target.value));
byId("load-filter").addEventListener("input", (event) => load.filter(event.target.value));
byId("pause").addEventListener("click", () => pause(!paused));
byId("theme").addEventListener("click", nextTheme);
byId("help-open").addEventListener("click", () => byId("help").showModal());
VIEWS.forEach((name) => byId(`tab-${name}`).addEventListener("click", () => switchTo(name)));
document.querySelector("[role=tablist]").addEventListener("keydown", tabs);
document.addEventListener("keydown", key);
document.addEventListener("visibilitychange", poll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load.repaint);
let stored = null;
try { stored = localStorage.getItem("theme"); } catch { /* nothing kept */ }
theme(stored);
poll();
setInterval(poll, EVERY);
