// The plan in force: what runs in which order, with which weights, and where it comes from.

import { ask, bar, byId, el, number } from "./dom.js";

// While it is looked at, what became of reloads is asked for again this often.
const EVERY = 5000;

let generation = null;
let have = null;
let visible = false;

/** The generation in force, as every answer says it. */
export function noticed(now) {
  generation = now;
  if (visible && have !== generation) refresh();
}

export function shown(on) {
  visible = on;
  if (on) refresh();
}

setInterval(() => { if (visible && !document.hidden) refresh(); }, EVERY);

async function refresh() {
  try {
    const plan = await ask("/debug/plan");
    have = plan.generation;
    byId("plan").replaceChildren(...told(plan));
  } catch (error) {
    byId("plan").replaceChildren(el("p", { class: "empty" }, error.message));
  }
}

function told(plan) {
  return [
    el("div", { class: "cards" }, plan.profiles.map(profileCard), source(plan), beside(plan), settings(plan)),
  ];
}

const plugin = ({ name, type }) => el("span", { class: "plugin" }, el("b", {}, name), name !== type && el("small", {}, type));

function profileCard(profile) {
  const most = Math.max(...profile.scorers.map(({ weight }) => Math.abs(weight)), 1e-9);
  const step = (title, items) => el("li", {}, el("h4", {}, title), items);
  return el("section", { class: "card pad" },
    el("h3", {}, "Profile ", el("span", { class: "mono" }, profile.name)),
    el("ol", { class: "steps" },
      step("Filters, in this order", profile.filters.length ? profile.filters.map(plugin) : el("p", { class: "muted" }, "none: every endpoint is a candidate")),
      step("Scorers, by weight", profile.scorers.length ? profile.scorers.map((scorer) => el("div", { class: "weight" }, plugin(scorer), bar(Math.abs(scorer.weight) / most, "strong"), el("b", { class: "num" }, `×${number(scorer.weight)}`))) : el("p", { class: "muted" }, "none")),
      step("Picker", plugin(profile.picker))));
}

const facts = (rows) => el("dl", { class: "facts" }, rows.filter(Boolean).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));

function source(plan) {
  const reloads = plan.reloads && typeof plan.reloads === "object" ? Object.entries(plan.reloads) : [];
  return el("section", { class: "card pad" }, el("h3", {}, "Where it comes from"), facts([
    ["Source", plan.source],
    ["Generation", number(plan.generation)],
    ["Reads as", `${plan.compat}: ${plan.compatReason}`],
    ["Hash", el("span", { class: "mono" }, plan.hash)],
    ["Routes", plan.usesPicker ? "lead to the picker" : "do not lead to the picker"],
    ...reloads.filter(([, value]) => value !== null).map(([name, value]) => [`Reloads: ${name}`, typeof value === "object" ? JSON.stringify(value) : String(value)]),
  ]));
}

function beside(plan) {
  return el("section", { class: "card pad" }, el("h3", {}, "Around the profiles"), facts([
    ["Profile handler", plugin(plan.profileHandler)],
    ["Producers", plan.producers.length ? plan.producers.map(plugin) : "none"],
    ["Parsers", plan.parsers.join(", ") || "none"],
    ["Metrics", plan.metrics ? `${[`${plan.metrics.scheme} ${plan.metrics.path}`, ...plan.metrics.engines].join(", ")}` : "not scraped"],
    ["Discovery", plan.discovery ? `${plan.discovery.path}${plan.discovery.watch ? ", watched" : ""}` : "given at the start"],
    ["Added by itself", plan.added?.length ? plan.added.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(", ") : "nothing"],
  ]));
}

function settings(plan) {
  const { staleness, retries, timeouts, limits, receipts } = plan.settings;
  const seconds = (ms) => (ms === null || ms === undefined ? "none" : `${number(ms / 1000)} s`);
  return el("section", { class: "card pad" }, el("h3", {}, "Settings"), facts([
    ["Stale readings", `older than ${seconds(staleness.maxAgeMs)}: ${staleness.policy}`],
    ["Retries", [`at most ${number(retries.max)}`, retries.budget !== null && `budget ${number(retries.budget)}`, retries.onStatus && "also on 408, 429 and 5xx"].filter(Boolean).join(", ")],
    ["First byte within", seconds(timeouts.firstByteMs)],
    ["Answer idle for", seconds(timeouts.answerIdleMs)],
    ["Largest body", limits.maxBody ? `${number(limits.maxBody / 1048576)} MiB` : "as the flag says"],
    ["Receipts in memory", `${number(receipts.memory / 1048576)} MiB`],
  ]));
}
