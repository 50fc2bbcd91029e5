// A decision as a matrix: candidates by filters, readings with their ages, scores by weight, total, tie and pick.

import { age, bar, el, many, named, number, score } from "./dom.js";

// Candidates in the document before somebody asks for all, and from how many on one can search among them.
const ROWS = 100;
const SEARCHED = 12;
const READINGS = { inFlight: "in flight", waiting: "queue", running: "running", kvUsage: "KV use", prefixBlocks: "prefix blocks" };
// Readings that are counted here, so they have no age.
const COUNTED = ["inFlight", "prefixBlocks"];
const PASSES = { passed: "✓", removed: "✗", unseen: "–" };

/** One profile's card. `pool` says `{ size, truncated }`; `marks` are names of endpoints with a word for each. */
export function profileCard(profile, pool, { attribute = "data-profile", marks = new Map(), title = "Profile" } = {}) {
  const count = profile.candidates.length + profile.filtered.length;
  return el("section", { class: "profile" },
    el("h3", {}, `${title} `, el("span", { class: "mono" }, profile.name), profile.picker?.name && el("small", {}, ` ${profile.picker.name}`)),
    sentence(profile, pool),
    ...table(profile, count, attribute, marks),
    ending(profile, pool));
}

/** The decision in a sentence. */
function sentence(profile, pool) {
  const total = profile.candidates.length + profile.filtered.length;
  const of = many(pool.truncated ? pool.size : total, "candidate");
  const parts = [];
  if (profile.picked.length === 0) parts.push(`Nobody was picked of ${of}.`);
  else {
    const best = profile.candidates.find((one) => one.endpoint === profile.picked[0]);
    parts.push(el("strong", { "data-c": "picked" }, profile.picked.join(", ")), ` was picked of ${of}`, best ? `, with a total of ${score(best.total)}.` : ".");
  }
  const by = new Map();
  profile.filtered.forEach((gone) => by.set(gone.by, (by.get(gone.by) ?? 0) + 1));
  for (const [name, n] of by) parts.push(" ", el("em", {}, name), ` removed ${n}.`);
  if (profile.tie.length > 1) {
    parts.push(` ${pool.truncated ? "At least " : ""}${number(profile.tie.length)} shared the best total`, profile.draw.value === null ? "." : "; chance decided.");
  }
  return el("p", { class: "sentence" }, parts);
}

/** What chance did, and what was left out. */
function ending(profile, pool) {
  const { tie, draw } = profile;
  return el("p", { class: "muted small" },
    tie.length > 1 ? el("span", { "data-c": "tie" }, `Tie: ${tie.length > 8 ? many(tie.length, "endpoint") : tie.join(", ")}. `) : null,
    el("span", { "data-c": "draw" }, draw.value === null ? `No draw; seed ${draw.seed}.` : `Drew ${draw.value} with seed ${draw.seed}.`),
    pool.truncated && ` The pool has ${number(pool.size)}; the best ${profile.candidates.length} were kept.`);
}

function table(profile, count, attribute, marks) {
  const shape = shaped(profile, marks);
  const picked = new Set(profile.picked);
  const sorted = [...profile.candidates].sort((a, b) => picked.has(b.endpoint) - picked.has(a.endpoint) || b.total - a.total);
  const all = [...sorted, ...profile.filtered];
  const body = el("tbody", {});
  let limit = ROWS;
  let wanted = "";
  const fill = () => {
    const found = wanted ? all.filter((one) => one.endpoint.toLowerCase().includes(wanted)) : all;
    body.replaceChildren(...found.slice(0, limit).map((one) => (one.by === undefined ? candidate(one, shape) : removed(one, shape))));
    if (more) more.hidden = found.length <= limit;
  };
  const more = count > ROWS && el("button", { class: "more", onclick: () => { limit = count; fill(); } }, `Show all ${count}`);
  const search = count > SEARCHED && el("input", {
    type: "search", class: "find", autocomplete: "off", spellcheck: "false", placeholder: "Find a candidate", "aria-label": `Find a candidate of ${profile.name}`,
    oninput: (event) => { wanted = event.target.value.trim().toLowerCase(); fill(); },
  });
  fill();
  return [
    search,
    el("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": `Decision table of ${profile.name}` },
      el("table", { class: "table", [attribute]: profile.name }, el("thead", {}, heading(shape)), body)),
    more,
  ];
}

/** Which columns there are, and who is marked. */
function shaped(profile, marks) {
  const order = Object.keys(READINGS);
  return {
    filters: (profile.filters ?? []).map(({ name }) => name),
    readings: columns(profile, "readings").sort((a, b) => order.indexOf(a) - order.indexOf(b)),
    scorers: profile.scorers?.length ? profile.scorers : columns(profile, "scores").map((name) => ({ name, weight: null })),
    terms: columns(profile, "terms"),
    best: Math.max(...profile.candidates.map((one) => one.total), 0),
    picked: new Set(profile.picked),
    tied: new Set(profile.tie),
    marks,
  };
}

/** The names that some row has under `part`. */
function columns(profile, part) {
  const names = new Set();
  for (const row of [...profile.candidates, ...profile.filtered]) Object.keys(row[part] ?? {}).forEach((name) => names.add(name));
  return [...names];
}

const weighs = (weight) => weight !== null && weight !== undefined;

function heading({ filters, readings, scorers, terms }) {
  return el("tr", {},
    el("th", { scope: "col" }, "Endpoint"),
    filters.map((name) => el("th", { scope: "col", class: "filter", title: `filter ${name}` }, name)),
    readings.map((name) => el("th", { scope: "col", class: "num" }, READINGS[name] ?? name)),
    scorers.map(({ name, weight }) => el("th", { scope: "col", class: "num score", title: name }, name.replace(/-scorer$/, ""), " ", weighs(weight) ? el("small", {}, `×${number(weight)}`) : null)),
    terms.map((name) => el("th", { scope: "col", class: "num" }, name)),
    el("th", { scope: "col", class: "num total" }, "Total"));
}

function endpoint(row, mark) {
  const labels = Object.entries(row.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return el("th", { scope: "row", "data-c": "endpoint", title: [row.address, ...labels].filter(Boolean).join("\n") || null }, named(row.endpoint), mark);
}

/** Which filters let it pass; whoever was out before the first one has met none of them. */
function passage(by, filters) {
  const at = by === undefined ? filters.length : filters.indexOf(by);
  return filters.map((name, n) => {
    const state = n < at ? "passed" : n === at ? "removed" : "unseen";
    return el("td", { class: `filter ${state}`, "data-c": `filter:${name}` }, el("span", { role: "img", "aria-label": state === "unseen" ? "not reached" : state }, PASSES[state]));
  });
}

function reading(row, name) {
  const one = row.readings?.[name];
  if (!one) return el("td", { class: "num muted", "data-c": `reading:${name}` }, "–");
  const old = !COUNTED.includes(name);
  return el("td", { class: "num", "data-c": `reading:${name}` }, el("span", { class: "v" }, number(one.value)), old && el("small", { class: "age" }, one.ageMs === null ? "never" : age(one.ageMs)));
}

function candidate(one, shape) {
  const is = shape.picked.has(one.endpoint);
  const said = shape.marks.get(one.endpoint);
  const chips = [
    is ? el("span", { class: "chip good" }, "picked") : shape.tied.has(one.endpoint) ? el("span", { class: "chip soft" }, "tied") : null,
    said && el("span", { class: "chip soft" }, said),
  ];
  const scores = shape.scorers.map(({ name, weight }) => {
    const raw = one.scores[name];
    return el("td", { class: "num score", "data-c": `score:${name}` }, el("span", { class: "v" }, score(weighs(weight) ? raw * weight : raw)), weighs(weight) && weight !== 1 && el("small", { class: "raw" }, `${score(raw)} raw`));
  });
  const row = el("tr", { class: is ? "picked" : null },
    endpoint(one, chips),
    passage(undefined, shape.filters),
    shape.readings.map((name) => reading(one, name)), scores,
    shape.terms.map((name) => el("td", { class: "num", "data-c": `term:${name}` }, number(one.terms?.[name]))),
    el("td", { class: "num total", "data-c": "total" }, el("span", { class: "v" }, score(one.total)), bar(shape.best > 0 ? one.total / shape.best : 0, is ? "strong" : "")));
  row.dataset.endpoint = one.endpoint;
  return row;
}

function removed(gone, shape) {
  const said = shape.marks.get(gone.endpoint);
  const row = el("tr", { class: "gone" },
    endpoint(gone, said && el("span", { class: "chip soft" }, said)),
    passage(gone.by, shape.filters),
    shape.readings.map((name) => reading(gone, name)),
    el("td", { class: "num", colspan: shape.scorers.length + shape.terms.length + 1, "data-c": "by" }, "removed by ", el("em", {}, gone.by)));
  row.dataset.endpoint = gone.endpoint;
  return row;
}
