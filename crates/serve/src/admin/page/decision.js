// One decision, opened: the table as it was, and what came of it.

import { age, ask, bar, byId, clock, el, many, millis, named, number, score } from "./dom.js";
import { status } from "./stream.js";

// Candidates in the document before somebody asks for all.
const ROWS = 100;
const READINGS = { inFlight: "in flight", waiting: "queue", running: "running", kvUsage: "KV use", prefixBlocks: "prefix blocks" };

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
  panel.replaceChildren(head, ...(receipt ? told(receipt) : [el("p", { class: "empty" }, problem)]));
  panel.dataset.key = one.key;
  panel.setAttribute("aria-busy", "false");
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
    el("button", { class: "close", "aria-label": "Close the decision", title: "Close (Esc)", onclick: () => onClose() }, "×"));
}

function told(receipt) {
  return [
    ...receipt.profiles.map((profile) => profileCard(profile, receipt)),
    times(receipt),
    attempts(receipt),
    expected(receipt),
    facts(receipt),
  ].filter(Boolean);
}

/** The decision in a sentence. */
function sentence(profile, receipt) {
  const scored = profile.candidates.length;
  const total = scored + profile.filtered.length;
  const pool = receipt.truncated ? receipt.pool.size : total;
  const parts = [];
  if (profile.picked.length === 0) parts.push(`Nobody was picked of ${many(pool, "candidate")}.`);
  else {
    const best = profile.candidates.find((one) => one.endpoint === profile.picked[0]);
    parts.push(el("strong", { "data-c": "picked" }, profile.picked.join(", ")), ` was picked of ${many(pool, "candidate")}`, best ? `, with a total of ${score(best.total)}.` : ".");
  }
  const by = new Map();
  profile.filtered.forEach((gone) => by.set(gone.by, (by.get(gone.by) ?? 0) + 1));
  for (const [name, n] of by) parts.push(" ", el("em", {}, name), ` removed ${n}.`);
  if (profile.tie.length > 1) {
    parts.push(` ${number(profile.tie.length)} shared the best total`, profile.draw.value === null ? "." : "; chance decided.");
  }
  return el("p", { class: "sentence" }, parts);
}

function profileCard(profile, receipt) {
  const readings = columns(profile, "readings").sort((a, b) => Object.keys(READINGS).indexOf(a) - Object.keys(READINGS).indexOf(b));
  const scorers = profile.scorers?.length ? profile.scorers : columns(profile, "scores").map((name) => ({ name, weight: null }));
  const terms = columns(profile, "terms");
  const picked = new Set(profile.picked);
  const tied = new Set(profile.tie);
  const best = Math.max(...profile.candidates.map((one) => one.total), 0);
  const sorted = [...profile.candidates].sort((a, b) => picked.has(b.endpoint) - picked.has(a.endpoint) || b.total - a.total);
  const shape = { readings, scorers, terms, best, picked, tied };
  const body = el("tbody", {});
  const fill = (limit) => {
    const rows = [...sorted.map((one) => candidate(one, shape)), ...profile.filtered.map((gone) => removed(gone, shape))];
    body.replaceChildren(...rows.slice(0, limit));
    return rows.length;
  };
  const count = sorted.length + profile.filtered.length;
  fill(ROWS);
  const weight = (scorer) => (scorer.weight === null || scorer.weight === undefined ? null : el("small", {}, `×${number(scorer.weight)}`));
  const head = el("tr", {},
    el("th", { scope: "col" }, "Endpoint"),
    readings.map((name) => el("th", { scope: "col", class: "num" }, READINGS[name] ?? name)),
    scorers.map((scorer) => el("th", { scope: "col", class: "num score", title: scorer.name }, scorer.name.replace(/-scorer$/, ""), " ", weight(scorer))),
    terms.map((name) => el("th", { scope: "col", class: "num" }, name)),
    el("th", { scope: "col", class: "num total" }, "Total"));
  return el("section", { class: "profile" },
    el("h3", {}, "Profile ", el("span", { class: "mono" }, profile.name), profile.picker?.name && el("small", {}, ` ${profile.picker.name}`)),
    sentence(profile, receipt),
    el("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": `Decision table of ${profile.name}` },
      el("table", { class: "table", "data-profile": profile.name }, el("thead", {}, head), body)),
    count > ROWS && el("button", { class: "more", onclick: (event) => { fill(count); event.target.remove(); } }, `Show all ${count}`),
    el("p", { class: "muted small" },
      profile.tie.length > 1 ? el("span", { "data-c": "tie" }, `Tie: ${profile.tie.length > 8 ? many(profile.tie.length, "endpoint") : profile.tie.join(", ")}. `) : null,
      el("span", { "data-c": "draw" }, profile.draw.value === null ? `No draw; seed ${profile.draw.seed}.` : `Drew ${profile.draw.value} with seed ${profile.draw.seed}.`),
      receipt.truncated && ` The pool has ${number(receipt.pool.size)}; the best ${profile.candidates.length} were kept.`));
}

/** The names that some row has under `part`. */
function columns(profile, part) {
  const names = new Set();
  for (const row of [...profile.candidates, ...profile.filtered]) Object.keys(row[part] ?? {}).forEach((name) => names.add(name));
  return [...names];
}

function endpoint(row, mark) {
  const labels = Object.entries(row.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return el("th", { scope: "row", "data-c": "endpoint", title: [row.address, ...labels].filter(Boolean).join("\n") || null }, named(row.endpoint), mark);
}

function reading(row, name) {
  const one = row.readings?.[name];
  if (!one) return el("td", { class: "num muted", "data-c": `reading:${name}` }, "–");
  const old = name !== "inFlight" && name !== "prefixBlocks";
  return el("td", { class: "num", "data-c": `reading:${name}` }, el("span", { class: "v" }, number(one.value)), old && el("small", { class: "age" }, one.ageMs === null ? "never" : age(one.ageMs)));
}

function candidate(one, shape) {
  const is = shape.picked.has(one.endpoint);
  const mark = is ? el("span", { class: "chip good" }, "picked") : shape.tied.has(one.endpoint) ? el("span", { class: "chip soft" }, "tied") : null;
  const scores = shape.scorers.map(({ name, weight }) => {
    const raw = one.scores[name];
    const weighs = weight !== null && weight !== undefined;
    return el("td", { class: "num score", "data-c": `score:${name}` }, el("span", { class: "v" }, score(weighs ? raw * weight : raw)), weighs && weight !== 1 && el("small", { class: "raw" }, `${score(raw)} raw`));
  });
  const row = el("tr", { class: is ? "picked" : null },
    endpoint(one, mark),
    shape.readings.map((name) => reading(one, name)), scores,
    shape.terms.map((name) => el("td", { class: "num", "data-c": `term:${name}` }, number(one.terms?.[name]))),
    el("td", { class: "num total", "data-c": "total" }, el("span", { class: "v" }, score(one.total)), bar(shape.best > 0 ? one.total / shape.best : 0, is ? "strong" : "")));
  row.dataset.endpoint = one.endpoint;
  return row;
}

function removed(gone, shape) {
  const row = el("tr", { class: "gone" },
    endpoint(gone, null),
    shape.readings.map((name) => reading(gone, name)),
    el("td", { class: "num", colspan: shape.scorers.length + shape.terms.length + 1, "data-c": "by" }, "removed by ", el("em", {}, gone.by)));
  row.dataset.endpoint = gone.endpoint;
  return row;
}

/** Where the time went, on one line of time. */
function times(receipt) {
  const t = receipt.timesMs;
  const first = t.firstByte ?? t.total;
  if (t.total === undefined || t.total === null) return el("section", {}, el("h3", {}, "Time"), el("p", { class: "muted" }, `Decided in ${millis(t.pick)}; the answer is under way.`));
  const parts = [["queue", t.queue, "a"], ["pick", t.pick, "b"], ["to the first byte", Math.max(0, first - t.queue - t.pick), "c"], ["answer", Math.max(0, t.total - first), "d"]];
  const line = el("div", { class: "line", "aria-hidden": "true" }, parts.map(([, ms, kind]) => {
    const piece = el("i", { class: kind });
    piece.style.flexGrow = String(ms / Math.max(t.total, 1e-6));
    return piece;
  }));
  return el("section", {}, el("h3", {}, "Time ", el("small", {}, millis(t.total))), line,
    el("ul", { class: "legend" }, parts.map(([name, ms, kind]) => el("li", {}, el("i", { class: kind }), `${name} `, el("b", { class: "num" }, millis(ms))))));
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
