// What must not stay unnoticed, said loudly: each warning names what is seen, its usual cause and where to look.

import { byId, el, many, number } from "./dom.js";

// A warning stays for so many seconds after its last sign, so that it can be read.
const STAYS = 20;

const signs = new Map();
let before = null;
let quiet = 0;
let past = 0;
let shown = "";

function sign(name, seconds, add) {
  const known = signs.get(name);
  const still = known && known.until > seconds;
  signs.set(name, { until: seconds + STAYS, count: (still ? known.count : 0) + add });
}

function standing(name, seconds) {
  const known = signs.get(name);
  return known && known.until > seconds ? known.count : 0;
}

/** Looks at an answer; the latest counts are compared with those before. */
export function look(answer) {
  const now = performance.now() / 1000;
  const counts = answer.counts;
  const same = before && before.run === answer.run;
  const delta = (name) => (same ? counts[name] - before.counts[name] : 0);

  const [decided, bypassed] = [delta("decisions"), delta("bypassed")];
  if (decided > 0) quiet = past = 0;
  else if (bypassed > 0) { quiet += 1; past += bypassed; }
  for (const name of ["droppedLines", "lostReceipts", "rejected", "broken", "failedAttempts"]) {
    if (delta(name) > 0) sign(name, now, delta(name));
  }
  for (const one of [...answer.decisions, ...answer.ended]) {
    const served = one.outcome?.served;
    if (served && !one.picks.includes(served) && one.outcome.failedAttempts === 0) sign("astray", now, 1);
  }
  for (const one of answer.decisions) {
    for (const [by, n] of Object.entries(one.removed)) sign(`filter:${by}`, now, n);
  }
  before = answer;
  show(list(answer, now));
}

/** The server does not answer. */
export function silent(error) {
  show([{ loud: true, title: "The server does not answer", text: `${error}. What is shown is old; the page goes on asking.` }]);
}

function list(answer, now) {
  const all = [];
  const add = (loud, title, text) => all.push({ loud, title, text });
  if (quiet >= 3 && past >= 3) {
    add(true, "The picker is idle while traffic flows", `${many(past, "request")} went past it and none through it. A route leads to a Service where it should lead to the InferencePool.`);
  }
  if (!answer.plan.usesPicker) {
    add(true, "No route leads to the picker", "Whatever is sent, nobody will be picked by load. Let a route name the InferencePool.");
  }
  const astray = standing("astray", now);
  if (astray > 0) {
    add(true, "What served is not what was picked", `${many(astray, "request")} just now, without a failed attempt in between.`);
  }
  const lines = standing("droppedLines", now);
  if (lines > 0) add(true, "Log lines are dropped", `${number(lines)} just now, ${number(answer.counts.droppedLines)} since the start: the rate limit, or a terminal or disk that is too slow.`);
  const lost = standing("lostReceipts", now);
  if (lost > 0) add(true, "Decisions are not recorded", `${many(lost, "receipt")} larger than the whole memory for receipts; raise receipts.memory.`);
  stale(answer, add);
  for (const [name] of signs) {
    const n = name.startsWith("filter:") ? standing(name, now) : 0;
    if (n > 0) add(false, `${name.slice(7)} removes candidates`, `${many(n, "candidate")} in the decisions seen lately; open one to see which.`);
  }
  const rejected = standing("rejected", now);
  if (rejected > 0) add(true, "Requests are refused", `${number(rejected)} just now; the status and reason stand in the stream.`);
  const broken = standing("broken", now);
  if (broken > 0) add(true, "Answers break off", `${number(broken)} just now, after their first byte.`);
  const failed = standing("failedAttempts", now);
  if (failed > 0) add(false, "Endpoints fail", `${many(failed, "attempt")} failed just now and went to another endpoint where one was left.`);
  return all;
}

function stale(answer, add) {
  const { ageMs, scrape } = answer.endpoints;
  const limit = answer.plan.staleAfterMs;
  const old = ageMs.filter((ms) => ms !== null && ms > limit).length;
  const never = ageMs.filter((ms) => ms === null).length;
  if (old + never === 0) return;
  const uses = answer.plan.readsScraped;
  const states = [...new Set(scrape)].map((n) => answer.scrapeWords[n]).filter((word) => word !== "fresh" && word !== "never");
  const causes = states.length ? ` Last scrape: ${states.join(", ")}.` : "";
  const of = `of ${many(ageMs.length, "endpoint")}`;
  const what = [old > 0 && `${number(old)} ${of} older than ${limit / 1000} s`, never > 0 && `${number(never)} ${of} never read`].filter(Boolean).join(", ");
  add(uses && old > 0, "Readings are stale", `${what}.${causes} ${uses ? `Policy: ${answer.plan.stalePolicy}.` : "The plan in force does not look at them."}`);
}

function show(all) {
  const wanted = JSON.stringify(all);
  if (wanted === shown) return;
  shown = wanted;
  byId("warnings").replaceChildren(...all.map(({ loud, title, text }) =>
    el("div", { class: `warning ${loud ? "loud" : "calm"}` }, el("strong", {}, title), " ", el("span", {}, text))));
}
