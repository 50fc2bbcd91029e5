// One decision, opened: the table as it was, and what came of it.

import { ask, byId, clock, el, many, millis, named, number } from "./dom.js";
import { profileCard } from "./matrix.js";
import { status } from "./stream.js";
import * as whatif from "./whatif.js";

const panel = byId("decision");
let key = null;
let again = null;
let onClose = () => {};

export function listen(close) { onClose = close; }

export const isOpen = () => key !== null;

export function close() {
  key = null;
  clearTimeout(again);
  panel.hidden = true;
  panel.replaceChildren();
  delete panel.dataset.key;
  byId("split").classList.remove("open");
}

/** Opens a line of the stream; a decision under way is asked for again until it has ended. */
export async function open(one, focus) {
  key = one.key;
  clearTimeout(again);
  panel.hidden = false;
  panel.setAttribute("aria-busy", "true");
  byId("split").classList.add("open");
  let receipt = null;
  let problem = null;
  try {
    receipt = await ask(`/debug/decisions/${encodeURIComponent(one.id).replaceAll("%3A", ":")}?key=${one.key}`);
  } catch (error) {
    problem = error.status === 404 ? "It has left the memory for receipts: newer decisions took its place." : error.message;
  }
  if (key !== one.key) return;
  const head = heading(one, receipt);
  const focused = document.activeElement;
  panel.replaceChildren(head, ...(receipt ? told(one, receipt) : [el("p", { class: "empty" }, problem)]));
  panel.dataset.key = one.key;
  panel.setAttribute("aria-busy", "false");
  // What was typed into goes on being typed into when the rest is written anew.
  if (!focus && focused !== document.activeElement && panel.contains(focused)) focused.focus({ preventScroll: true });
  if (focus) { panel.focus({ preventScroll: true }); panel.scrollTop = 0; }
  if (receipt && !receipt.outcome) lookAgain(one);
}

function lookAgain(one) {
  again = setTimeout(() => {
    if (key !== one.key) return;
    if (document.hidden) lookAgain(one);
    else open(one, false);
  }, 1000);
}

function heading(one, receipt) {
  const end = receipt?.outcome && {
    kind: receipt.outcome.kind, status: receipt.outcome.status, reason: receipt.outcome.reason,
    failedAttempts: receipt.attempts.filter((attempt) => attempt.cause).length,
  };
  return el("header", { class: "d-head" },
    el("div", { class: "d-title" },
      el("h2", { class: "mono", "data-c": "id" }, one.id),
      el("p", { class: "muted" }, clock(one.atMs), " · ", el("span", { "data-c": "model" }, one.model || "no model"), receipt && ` · prompt ${number(receipt.promptBytes)} bytes`)),
    status({ outcome: end ?? one.outcome }),
    receipt?.profiles.length > 0 && el("button", { class: "wi-jump", title: "Try other weights (w)", onclick: whatif.begin }, "What if"),
    el("button", { class: "close", "aria-label": "Close the decision", title: "Close (Esc)", onclick: () => onClose() }, "×"));
}

function told(one, receipt) {
  return [
    ...receipt.profiles.map((profile) => profileCard(profile, { size: receipt.pool.size, truncated: receipt.truncated })),
    receipt.profiles.length > 0 && whatif.section(one, receipt),
    times(receipt),
    attempts(receipt),
    expected(receipt),
    facts(receipt),
  ].filter(Boolean);
}

/** The request's way in time: what came after what, and how long each took. */
function times(receipt) {
  const t = receipt.timesMs;
  if (t.total === undefined || t.total === null) return el("section", {}, el("h3", {}, "Time"), el("p", { class: "muted" }, `Decided in ${millis(t.pick)}; the answer is under way.`));
  const first = t.firstByte ?? t.total;
  const failed = receipt.attempts.filter((one) => one.cause).reduce((sum, one) => sum + one.ms, 0);
  const computed = t.prefill !== undefined;
  const parts = [["queue", t.queue, "a"], ["pick", t.pick, "b"]];
  if (failed > 0) parts.push(["failed attempts", failed, "f"]);
  if (computed) parts.push(["prefill", t.prefill, "c"]);
  const before = parts.reduce((sum, [, ms]) => sum + ms, 0);
  parts.push([computed ? "transfer, first token" : "prefill, first token", Math.max(0, first - before), computed ? "e" : "c"]);
  parts.push(["decode", Math.max(0, t.total - first), "d"]);
  let at = 0;
  const rows = parts.map(([name, ms, kind]) => {
    const piece = el("i", { class: kind });
    piece.style.marginLeft = `${Math.min(99, (100 * at) / Math.max(t.total, 1e-6))}%`;
    piece.style.width = `${Math.min(100, (100 * ms) / Math.max(t.total, 1e-6))}%`;
    at += ms;
    return el("li", { "data-part": name }, el("span", { class: "part" }, name), el("span", { class: "track", "aria-hidden": "true" }, piece), el("b", { class: "num" }, millis(ms)));
  });
  return el("section", {}, el("h3", {}, "Way in time ", el("small", {}, millis(t.total))), el("ol", { class: "way" }, rows));
}

function attempts(receipt) {
  if (receipt.attempts.length === 0) return null;
  const rows = receipt.attempts.map((one) => el("li", { class: one.cause ? "bad" : null },
    named(one.endpoint), ` ${one.cause ? `failed (${one.cause})` : receipt.outcome ? "answered" : "asked"} after ${millis(one.ms)}`));
  const astray = receipt.served && !receipt.profiles.some((profile) => profile.picked.includes(receipt.served));
  return el("section", {}, el("h3", {}, "Attempts"), el("ol", { class: "attempts" }, rows),
    astray && el("p", { class: "warning loud" }, `Served by ${receipt.served}, which was not the pick.`));
}

function expected(receipt) {
  const { prediction } = receipt;
  if (!prediction) return null;
  const names = [...new Set([...Object.keys(prediction.predicted), ...Object.keys(prediction.actual)])];
  return el("section", {}, el("h3", {}, "Expected, and what came"),
    el("div", { class: "scroll-x" }, el("table", { class: "table" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Term"), el("th", { scope: "col", class: "num" }, "expected"), el("th", { scope: "col", class: "num" }, "came"))),
      el("tbody", {}, names.map((name) => el("tr", {}, el("th", { scope: "row" }, name),
        el("td", { class: "num" }, number(prediction.predicted[name])), el("td", { class: "num" }, number(prediction.actual[name]))))))));
}

function facts(receipt) {
  const { usage, pd, plan, pool, outcome } = receipt;
  const rows = [
    usage && ["Tokens", `${number(usage.promptTokens)} in, ${number(usage.completionTokens)} out${usage.cachedTokens === undefined ? "" : `, ${number(usage.cachedTokens)} from the cache`}`],
    pd && ["Prefill and decode", `${pd.decision}: ${pd.reason}`],
    outcome?.reason && ["Reason", outcome.reason],
    receipt.served && ["Served by", receipt.served],
    ["Plan", `generation ${plan.generation}, ${plan.source}`],
    ["Pool", `generation ${pool.generation}, ${many(pool.size, "endpoint")}`],
    ["Door", receipt.door],
    ["Replay", receipt.replayable ? "can be replayed under another plan" : "kept in part, cannot be replayed"],
  ].filter(Boolean);
  return el("section", {}, el("h3", {}, "Facts"),
    el("dl", { class: "facts" }, rows.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)))),
    el("p", { class: "muted small" }, "The same in a terminal: ", el("code", {}, `pointsman explain ${receipt.requestId}`)));
}
