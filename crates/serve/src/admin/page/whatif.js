// What if: the opened decision made again with other weights or under another plan. The server's core decides; here
// is only what was asked and what it said.

import { byId, el, many, number, send } from "./dom.js";
import { profileCard } from "./matrix.js";

// Time without another change before the question goes out.
const SETTLED = 120;
// Height of the opened decision's head, which stays in sight.
const HEAD = 76;
const OWN = "a configuration of mine";
const FILE = "pointsman-config.yaml";

let node = null;
let of = null;
let asked = fresh();
let answer = null;
let timer = null;
let entering = false;
let round = 0;

function fresh() { return { plan: "", config: "", weights: {} }; }

/** The part of an opened decision; the same as before while that decision stays open. */
export function section(one, receipt) {
  if (node && of?.key === one.key) return node;
  clearTimeout(timer);
  round += 1;
  of = { key: one.key, id: one.id, size: receipt.pool.size, truncated: receipt.truncated };
  asked = fresh();
  answer = null;
  node = el("section", { id: "whatif", "aria-label": "What if" },
    el("div", { class: "wi-head" },
      el("h3", {}, "What if"),
      el("p", { class: "muted small" }, "Other weights or another profile, decided again by the router itself with the readings and the seed of then. Nothing in force changes.")),
    el("button", { id: "whatif-open", "aria-expanded": "false", title: "Try other weights (w)", onclick: begin }, "Try other weights"),
    el("div", { id: "whatif-body", hidden: true },
      el("div", { id: "whatif-form" }),
      el("p", { id: "whatif-verdict", class: "verdict", role: "status" }),
      el("div", { id: "whatif-tables" }),
      el("div", { id: "whatif-export", hidden: true })));
  return node;
}

/** Opens the form of the decision that is open, or goes back to it. */
export function begin() {
  if (!node?.isConnected) return;
  const closed = byId("whatif-body").hidden;
  byId("whatif-body").hidden = false;
  byId("whatif-open").setAttribute("aria-expanded", "true");
  byId("whatif-open").hidden = true;
  entering = true;
  if (closed) question();
  else enter();
  // The panel scrolls on a desk, the page on a phone.
  const panel = node.parentElement;
  const below = node.getBoundingClientRect().top - panel.getBoundingClientRect().top;
  if (panel.scrollHeight > panel.clientHeight) panel.scrollTop += below - HEAD;
  else node.scrollIntoView({ block: "start" });
}

/** The focus goes into the form, once there is one. */
function enter() {
  if (!entering) return;
  entering = false;
  byId("whatif-plan")?.focus({ preventScroll: true });
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(question, SETTLED);
}

async function question() {
  const mine = ++round;
  const body = { id: of.id, key: of.key, weights: asked.weights };
  if (asked.plan === OWN) body.config = asked.config;
  else if (asked.plan) body.profile = asked.plan;
  node.setAttribute("aria-busy", "true");
  let problem = null;
  try {
    const found = await send("/debug/whatif", body);
    if (mine !== round) return;
    answer = found;
  } catch (error) {
    problem = error;
  }
  if (mine !== round || !node.isConnected) return;
  node.setAttribute("aria-busy", "false");
  if (problem) refused(problem);
  else shown();
}

function refused(error) {
  const text = error.status === 404 ? "This decision has left the memory for receipts: newer decisions took its place." : error.message;
  byId("whatif-verdict").className = "verdict bad";
  byId("whatif-verdict").replaceChildren(text);
  byId("whatif-tables").replaceChildren();
  byId("whatif-export").hidden = true;
}

function shown() {
  form();
  verdict();
  const marks = new Map();
  if (answer.changed && answer.was) marks.set(answer.was, "picked then");
  byId("whatif-tables").replaceChildren(...answer.profiles.map((profile) =>
    profileCard(profile, of, { attribute: "data-whatif", marks, title: "Decided again: profile" })), notes());
  exported();
  enter();
}

function verdict() {
  const { was, pick, changed, refused: why } = answer;
  const said = byId("whatif-verdict");
  said.className = `verdict ${pick === null ? "bad" : changed ? "changed" : "same"}`;
  const name = (text, part) => el("strong", { "data-c": part }, text);
  if (pick === null) said.replaceChildren("Nobody would be picked", was ? ", where it was " : "", ...(was ? [name(was, "was")] : []), why ? `: ${why}` : ".");
  else if (!changed) said.replaceChildren("The pick stays ", name(pick, "pick"), ".");
  else said.replaceChildren("The pick changes", ...(was ? [` from `, name(was, "was")] : []), " to ", name(pick, "pick"), ".");
}

function notes() {
  const { recorded, unknown, among, pool } = answer;
  const lines = [
    among !== undefined && `Among the ${number(among)} that the record kept of ${many(pool, "endpoint")}, with the scores they had; one that was left out may do better.`,
    recorded.length > 0 && among === undefined && `${recorded.join(", ")}: as recorded, since a record does not hold what they look at.`,
    unknown.length > 0 && `${unknown.join(", ")}: without effect, since the record knows nothing of them.`,
  ].filter(Boolean);
  return el("ul", { class: "notes muted small" }, lines.map((line) => el("li", {}, line)));
}

/** The controls; those that are there stay, so that the focus and what is typed do. */
function form() {
  const place = byId("whatif-form");
  if (place.dataset.plan !== asked.plan) {
    place.dataset.plan = asked.plan;
    const focused = document.activeElement?.id;
    place.replaceChildren(plans(), ...(asked.plan === OWN ? [configuration()] : []), el("div", { class: "wi-weights" }));
    if (focused) byId(focused)?.focus({ preventScroll: true });
  }
  const scales = place.lastElementChild;
  const shape = JSON.stringify(answer.weights.map(({ profile, scorers }) => [profile, scorers.map(({ name }) => name)]));
  if (scales.dataset.shape !== shape) {
    scales.dataset.shape = shape;
    scales.replaceChildren(...answer.weights.map(weights));
  } else {
    for (const { profile, scorers } of answer.weights) for (const { name, weight } of scorers) settle(profile, name, weight);
  }
}

function plans() {
  const option = (value, text) => el("option", { value, selected: asked.plan === value }, text);
  return el("label", { class: "wi-plan" }, "Decided by ",
    el("select", { id: "whatif-plan", onchange: (event) => { asked = { ...fresh(), plan: event.target.value, config: asked.config || answer.config }; question(); } },
      option("", "the plan of then"), answer.knownProfiles.map((name) => option(name, `profile ${name}`)), option(OWN, OWN)));
}

function configuration() {
  return el("label", { class: "wi-own" }, "Configuration ",
    el("textarea", { id: "whatif-own", rows: "10", spellcheck: "false", oninput: (event) => { asked.config = event.target.value; asked.weights = {}; later(); } }, asked.config));
}

const controls = (profile, name) => [...byId("whatif-form").querySelectorAll("input")].filter((one) => one.dataset.profile === profile && one.dataset.scorer === name);

/** Shows a weight where nobody is typing it. */
function settle(profile, name, weight) {
  for (const one of controls(profile, name)) {
    if (document.activeElement === one) continue;
    if (one.type === "range" && weight > Number(one.max)) one.max = String(Math.ceil(weight));
    one.value = String(weight);
  }
}

function changed(event) {
  const { profile, scorer } = event.target.dataset;
  const weight = event.target.valueAsNumber;
  event.target.toggleAttribute("aria-invalid", !Number.isFinite(weight));
  if (!Number.isFinite(weight)) return;
  asked.weights = { ...asked.weights, [profile]: { ...asked.weights[profile], [scorer]: weight } };
  settle(profile, scorer, weight);
  later();
}

function weights({ profile, scorers }) {
  return el("fieldset", {}, el("legend", {}, "Weights of ", el("span", { class: "mono" }, profile)),
    scorers.length === 0 && el("p", { class: "muted" }, "This profile scores nobody."),
    scorers.map(({ name, weight }) => {
      const input = (type, rest) => el("input", { type, value: weight, "data-profile": profile, "data-scorer": name, "aria-label": `Weight of ${name} in profile ${profile}`, oninput: changed, ...rest });
      return el("div", { class: "wi-weight" }, el("span", { class: "wi-name" }, name),
        input("range", { min: "0", max: String(Math.max(10, Math.ceil(weight * 2))), step: "0.1" }),
        input("number", { step: "any", inputmode: "decimal" }));
    }));
}

/** The configuration that decided, to take away. */
function exported() {
  const place = byId("whatif-export");
  place.hidden = false;
  if (!place.firstChild) {
    place.append(
      el("div", { class: "wi-take" },
        el("button", { id: "whatif-reset", onclick: reset }, "As it was"),
        el("button", { id: "whatif-copy", onclick: copy }, "Copy configuration"),
        el("button", { id: "whatif-save", onclick: save }, "Save configuration"),
        el("span", { id: "whatif-said", class: "muted small", role: "status" })),
      el("details", {}, el("summary", {}, "Configuration, for ", el("code", {}, "--config-file")), el("textarea", { id: "whatif-config", rows: "14", readonly: true, spellcheck: "false", "aria-label": "Configuration" })));
  }
  byId("whatif-config").value = answer.config;
  byId("whatif-said").replaceChildren();
}

function reset() {
  asked = fresh();
  // Also what is being typed.
  delete byId("whatif-form").dataset.plan;
  question();
}

async function copy() {
  let done = false;
  try {
    await navigator.clipboard.writeText(answer.config);
    done = true;
  } catch { /* not allowed here: the text is selected instead */ }
  if (!done) {
    byId("whatif-config").closest("details").open = true;
    byId("whatif-config").focus();
    byId("whatif-config").select();
  }
  byId("whatif-said").replaceChildren(done ? "Copied." : "Selected; copy it with your keys.");
}

function save() {
  const url = URL.createObjectURL(new Blob([answer.config], { type: "application/yaml" }));
  const link = el("a", { href: url, download: FILE });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  byId("whatif-said").replaceChildren(`Saved as ${FILE}.`);
}
