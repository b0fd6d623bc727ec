// The search page: no markup is ever made of a document's text, only text nodes.
const $ = (id) => document.getElementById(id);
const SNIPPET = 320;
const WITHOUT_DEPTH = 100;
const FUSIONS = ["", "rrf", "weighted-sum", "comb-sum", "comb-mnz", "borda"];
let info = null;
let turn = 0;

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.includes("-") || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const content = await answer.json().catch(() => ({}));
  if (answer.status === 401) {
    $("key-line").hidden = false;
    $("key").focus();
  }
  if (!answer.ok) {
    const error = content.error || { message: answer.statusText };
    throw new Error(error.hint ? `${error.message} (${error.hint})` : error.message);
  }
  return content;
}

const place = () => `v1/collections/${encodeURIComponent($("collection").value)}`;

// Controls, made of what the collection declares.

function field(label, input) {
  return element("label", {}, label, input);
}

function makeFilters() {
  const inputs = Object.entries(info.fields).map(([name, kind]) => {
    const data = { "data-field": name, "data-kind": kind };
    if (kind === "boolean") {
      const select = element("select", { ...data, "data-part": "eq" });
      for (const value of ["", "true", "false"]) select.append(element("option", { value, textContent: value || "any" }));
      return field(name, select);
    }
    if (kind === "keyword") return field(name, element("input", { ...data, "data-part": "in", placeholder: "any of, by commas" }));
    const type = kind === "number" ? "number" : "date";
    const ends = ["gte", "lte"].map((part) =>
      element("input", { ...data, type, step: "any", "data-part": part, "aria-label": `${name} ${part === "gte" ? "from" : "to"}` }));
    return element("label", {}, `${name} from, to`, element("span", {}, ...ends));
  });
  const legend = element("legend", { textContent: inputs.length ? "Filters" : "No fields were declared to filter by" });
  $("filters").replaceChildren(legend, ...inputs);
}

function makeConfig(box, title) {
  const legs = Object.keys(info.legs).map((leg) =>
    element("label", { class: "check" }, element("input", { type: "checkbox", name: "leg", value: leg, checked: info.searched.includes(leg) }), leg));
  const fusion = element("select", { name: "fusion" });
  for (const value of FUSIONS) fusion.append(element("option", { value, textContent: value || "as configured" }));
  const reranker = element("select", { name: "reranker" });
  const configured = info.reranker ? `as configured (${info.reranker})` : "none (as configured)";
  reranker.append(element("option", { value: "", textContent: configured }));
  for (const value of [...info.rerankers, "none"]) reranker.append(element("option", { value, textContent: value }));
  const k = element("input", { type: "number", name: "k", min: 1, max: 100, value: 10 });
  box.replaceChildren(element("legend", { textContent: title }), field("hits", k), ...legs, field("fusion", fusion), field("reranker", reranker));
}

function readFilter() {
  const filter = {};
  for (const input of $("filters").querySelectorAll("[data-field]")) {
    const value = input.value.trim();
    if (!value) continue;
    const { field: name, kind, part } = input.dataset;
    if (part === "eq") filter[name] = value === "true";
    else if (part === "in") filter[name] = value.split(",").map((word) => word.trim()).filter(Boolean);
    else filter[name] = { ...filter[name], [part]: kind === "number" ? Number(value) : value };
  }
  return Object.keys(filter).length ? filter : undefined;
}

function readConfig(box) {
  const legs = [...box.querySelectorAll("[name=leg]")].filter((input) => input.checked).map((input) => input.value);
  const standard = legs.join() === info.searched.join();
  return {
    k: Number(box.querySelector("[name=k]").value) || 10,
    legs: standard ? undefined : legs,
    fusion: box.querySelector("[name=fusion]").value || undefined,
    reranker: box.querySelector("[name=reranker]").value || undefined,
  };
}

// Hits, and why they are there.

function marked(snippet) {
  // Places count characters, not UTF-16 units.
  const letters = Array.from(snippet.text);
  const parts = [snippet.cut.before ? "…" : ""];
  let reached = 0;
  for (const [start, end] of snippet.spans) {
    parts.push(letters.slice(reached, start).join(""));
    parts.push(element("mark", { textContent: letters.slice(start, end).join("") }));
    reached = end;
  }
  return [...parts, letters.slice(reached).join(""), snippet.cut.after ? "…" : ""];
}

const colour = (leg) => `c${Math.max(0, Object.keys(info.legs).indexOf(leg)) % 5}`;
const round = (number) => (number === null ? "–" : Number(number).toPrecision(4));

function why(explanation) {
  const entries = Object.entries(explanation.legs);
  const bar = element("div", { class: "bar", "aria-hidden": "true" });
  for (const [leg, part] of entries) {
    const piece = element("span", { class: colour(leg) });
    piece.style.width = `${100 * Math.max(0, part.share)}%`;
    bar.append(piece);
  }
  const list = element("ul", { class: "legs small" });
  for (const [leg, part] of entries) {
    const terms = (part.terms || []).map((term) => `${term.term} ${term.weight.toFixed(2)}`).join(", ");
    const rank = part.rank === null ? "not found" : `rank ${part.rank}`;
    list.append(element("li", { "data-leg": leg }, element("span", { class: `key ${colour(leg)}`, "aria-hidden": "true" }),
      `${leg}: ${Math.round(100 * part.share)}% of the score, ${rank}, score ${round(part.score)}`,
      terms ? `; matched ${terms}` : ""));
  }
  if (explanation.reranker) {
    const { first_stage: before, reranker: after } = explanation;
    list.append(element("li", { textContent: `reranker: from rank ${before.rank} to ${after.rank}, score ${round(after.score)}` }));
  }
  return [bar, list];
}

function metadata(hit, passage) {
  const line = element("p", { class: "small" }, element("bdi", { class: "id", textContent: hit.doc_id }), ` · score ${round(hit.score)}`);
  if (passage.start !== undefined) line.append(` · characters ${passage.start} to ${passage.end}`);
  for (const [name, value] of Object.entries(hit.metadata)) {
    if (value === null || typeof value === "object" && !Array.isArray(value)) continue;
    const text = Array.isArray(value) ? value.join(", ") : String(value);
    line.append(" · ", element("bdi", { textContent: `${name}: ` }));
    if (/^https?:\/\//i.test(text)) line.append(element("a", { href: text, rel: "noreferrer noopener", target: "_blank", textContent: text }));
    else line.append(element("bdi", { textContent: text.slice(0, 200) }));
  }
  return line;
}

function judging(query, hit) {
  if (!info.judging) return null;
  const buttons = [["Relevant", 1], ["Not relevant", 0]].map(([label, grade]) => {
    const button = element("button", { type: "button", textContent: label, "aria-pressed": "false" });
    button.addEventListener("click", async () => {
      try {
        await call("POST", "v1/judgements", { collection: $("collection").value, query, doc_id: hit.doc_id, grade });
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        $("status").textContent = `Judged ${hit.doc_id}: ${label.toLowerCase()}`;
      } catch (error) {
        $("status").textContent = error.message;
      }
    });
    return button;
  });
  return element("div", { class: "judge" }, ...buttons);
}

function moved(hit, others) {
  if (!others) return null;
  const other = others.get(hit.doc_id);
  if (other === undefined) return element("span", { class: "up", textContent: " new here" });
  if (other === hit.rank) return element("span", { textContent: " same rank" });
  const better = hit.rank < other;
  return element("span", { class: better ? "up" : "down", textContent: ` ${better ? "▲" : "▼"} ${Math.abs(hit.rank - other)} (rank ${other})` });
}

function shownHit(query, hit, others) {
  const passage = hit.passages ? hit.passages[0] : hit;
  const title = element("h3", { dir: "auto" }, `${hit.rank}. `, element("bdi", { textContent: hit.title || hit.doc_id }));
  const moves = moved(hit, others);
  if (moves) title.append(element("span", { class: "small" }, moves));
  const item = element("li", { class: "hit", tabIndex: -1, "data-id": hit.doc_id }, title, metadata(hit, passage),
    element("p", { dir: "auto", class: "text" }, ...marked(hit.snippet)));
  if (passage.explanation) item.append(...why(passage.explanation));
  const judge = judging(query, hit);
  if (judge) item.append(judge);
  return item;
}

function timings(answer) {
  const entries = Object.entries(answer.timings).filter(([stage]) => stage !== "total");
  const sum = entries.reduce((total, [, took]) => total + took, 0) || 1;
  const bar = element("div", { class: "bar", role: "img", "aria-label": "time of each stage" });
  entries.forEach(([stage, took], number) => {
    const piece = element("span", { class: `c${number % 5}`, title: `${stage} ${took.toFixed(1)} ms` });
    piece.style.width = `${(100 * took) / sum}%`;
    bar.append(piece);
  });
  const words = entries.map(([stage, took]) => `${stage} ${took.toFixed(1)}`).join(", ");
  return [bar, element("p", { class: "small timings", textContent: `${answer.timings.total.toFixed(1)} ms: ${words}${answer.cached ? " (cached)" : ""}` })];
}

function column(name, query, answer, others) {
  const list = element("ol", {}, ...answer.hits.map((hit) => shownHit(query, hit, others)));
  const column = element("section", { "aria-label": name }, element("h2", { textContent: name }), ...timings(answer), list);
  for (const [leg, reason] of Object.entries(answer.failures)) {
    column.insertBefore(element("p", { class: "warning", textContent: `without ${leg}: ${reason}` }), list);
  }
  return column;
}

async function addRanksWithout(section, body, answer, mine) {
  const names = body.legs || info.searched;
  if (names.length < 2) return;
  for (const leg of names) {
    const rest = { ...body, legs: names.filter((name) => name !== leg), k: WITHOUT_DEPTH, explain: false, snippet: undefined };
    if (rest.legs.length < 2) delete rest.fusion;
    const found = await call("POST", `${place()}/search`, rest).catch(() => null);
    if (mine !== turn || !found) return;
    const ranks = new Map(found.hits.map((hit) => [hit.doc_id, hit.rank]));
    for (const item of section.querySelectorAll(".hit")) {
      const line = [...item.querySelectorAll("[data-leg]")].find((each) => each.dataset.leg === leg);
      if (!line) continue;
      const rank = ranks.get(item.dataset.id);
      line.append(`; without it ${rank ? `rank ${rank}` : `not among the first ${WITHOUT_DEPTH}`}`);
    }
  }
  section.dataset.complete = "true";
}

async function search() {
  const query = $("query").value.trim();
  if (!query || !info) return;
  const mine = ++turn;
  const url = new URL(location.href);
  url.search = new URLSearchParams({ collection: $("collection").value, q: query }).toString();
  history.replaceState(null, "", url);
  $("status").textContent = "Searching…";
  const common = { query, filter: readFilter(), explain: true, snippet: SNIPPET, text: false };
  const boxes = $("compare").checked ? ["config-a", "config-b"] : ["config-a"];
  try {
    const bodies = boxes.map((box) => ({ ...common, ...readConfig($(box)) }));
    const answers = await Promise.all(bodies.map((body) => call("POST", `${place()}/search`, body)));
    if (mine !== turn) return;
    const ranks = answers.map((answer) => new Map(answer.hits.map((hit) => [hit.doc_id, hit.rank])));
    const names = boxes.length > 1 ? ["Configuration A", "Configuration B"] : ["Results"];
    const sections = answers.map((answer, at) => column(names[at], query, answer, boxes.length > 1 ? ranks[1 - at] : null));
    $("results").replaceChildren(...sections);
    const count = answers[0].hits.length;
    let words = count ? `${count} hit${count > 1 ? "s" : ""}` : "Nothing found: try other words or fewer filters";
    if (boxes.length > 1) words += `; ${[...ranks[0].keys()].filter((id) => ranks[1].has(id)).length} in both`;
    if (answers.some((answer) => answer.degraded)) words += "; a leg is missing";
    $("status").textContent = words;
    for (const [at, section] of sections.entries()) await addRanksWithout(section, bodies[at], answers[at], mine);
  } catch (error) {
    if (mine === turn) {
      $("results").replaceChildren();
      $("status").textContent = error.message;
    }
  }
}

async function choose() {
  info = await call("GET", `${place()}/info`);
  makeFilters();
  makeConfig($("config-a"), "Configuration A");
  makeConfig($("config-b"), "Configuration B");
}

async function start() {
  try {
    const { collections } = await call("GET", "v1/collections");
    const wanted = new URLSearchParams(location.search);
    $("collection").replaceChildren(...collections.map(({ name, documents }) =>
      element("option", { value: name, textContent: `${name} (${documents})` })));
    if (!collections.length) return void ($("status").textContent = "This service has no collection.");
    if (collections.some(({ name }) => name === wanted.get("collection"))) $("collection").value = wanted.get("collection");
    await choose();
    $("query").value = wanted.get("q") || "";
    $("status").textContent = "";
    document.body.dataset.ready = "true";
    await search();
  } catch (error) {
    $("status").textContent = error.message;
  }
}

function move(step) {
  const hits = [...document.querySelectorAll(".hit")];
  const at = hits.indexOf(document.activeElement.closest?.(".hit"));
  const next = hits[Math.min(hits.length - 1, Math.max(0, at + step))];
  document.querySelector(".hit.current")?.classList.remove("current");
  next?.classList.add("current");
  next?.focus();
}

$("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("compare").addEventListener("change", () => { $("config-b").hidden = !$("compare").checked; });
$("collection").addEventListener("change", async () => { await choose(); await search(); });
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value); start(); });
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { event.preventDefault(); $("query").focus(); }
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
});
start();
