// The explorer: one example, its sources shaded by one method or by two beside each other.

const FIRST_RANKS = 10, BADGES = 5, CLEAR = 0.1, NUM_TOKENS = 6;
const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const page = read("page-data");
const isRun = page.charts.length > 0;

// What is shown. part: of the response, null for all of it. pinned, shown: sources, held and
// pointed at; shownIn: the panel that was pointed at. matches: sources that hold the words sought.
const state = { example: null, part: null, pinned: null, shown: null, shownIn: 0, matches: [], isAll: false };

const element = (tag, className, text = "") => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
};
const signed = (value, digits) => (value > 0 ? "+" : "") + number(value, digits);
const inUnit = (value, unit) => signed(value) + (unit ? ` ${unit}` : "");
const titleOf = ({ name, label }) => (label === name ? name : `${label} (${name})`);

// Shades: 0 to 1, with the square root, so that a quarter of the largest score is half as dark.
const strengthOf = (score, { largest, floor }) =>
  score === null || largest === 0 || Math.abs(score) <= floor ? 0 : Math.sqrt(Math.min(Math.abs(score) / largest, 1));

const shade = (node, score, scale) => {
  const strength = strengthOf(score, scale);
  node.style.setProperty("--strength", strength.toFixed(3));
  node.classList.toggle("positive", strength > 0 && score > 0);
  node.classList.toggle("negative", strength > 0 && score < 0);
  node.classList.toggle("clear", strength >= CLEAR);
};

// ---- Panels: the context, shaded by one method ----

const panels = ["a", "b"].map((name) => {
  const root = byId(`panel-${name}`);
  const inside = (selector) => root.querySelector(selector);
  return { root, picker: byId(name === "a" ? "method" : "other"), context: inside(".context"), title: inside("h3"),
    measures: inside(".measures"), scope: inside(".scope"), numbers: [...inside(".numbers").children], nodes: [], method: null };
});
const visible = () => panels.filter((panel) => panel.method !== null);
const resultOf = (panel) => state.example.results[panel.method];
const hasParts = (panel) => resultOf(panel).part_scores !== null;

// Scores and ranks of the chosen part of the response, or of all of it where the method has no more.
const valuesOf = (method) => {
  const result = state.example.results[method];
  if (state.part === null || result.part_scores === null) return result;
  return { scores: result.part_scores[state.part], ranks: result.part_ranks[state.part] };
};

const fillContext = (panel) => {
  const { sources, after, gold } = state.example;
  const pieces = [];
  panel.nodes = sources.map((source, id) => {
    const node = element("span", "source", source.text);
    node.dataset.source = id;
    node.setAttribute("role", "button");
    node.tabIndex = id === 0 ? 0 : -1;
    node.classList.toggle("gold", gold.includes(id));
    if (source.before) pieces.push(element("span", "between", source.before));
    pieces.push(node);
    return node;
  });
  pieces.push(element("span", "between", after));
  panel.entry = 0;
  panel.context.replaceChildren(...pieces);
  panel.context.scrollTop = 0;
};

const scoreWords = (panel, id) => {
  const { scores, ranks } = panel.values;
  const score = scores[id] === null ? "pruned, no score" : `score ${inUnit(scores[id], resultOf(panel).unit)}`;
  return `${score}; rank ${ranks[id]} of ${ranks.length}`;
};

const showPanel = (panel) => {
  const result = resultOf(panel), floor = result.noise_floor ?? 0;
  panel.values = valuesOf(panel.method);
  const { scores, ranks } = panel.values;
  panel.scale = { largest: scores.reduce((most, score) => Math.max(most, Math.abs(score ?? 0)), 0), floor };
  panel.title.textContent = titleOf(page.methods[panel.method]);
  const measures = Object.entries(result.measures).map(([name, value]) => `${name} ${number(value)}`);
  const reference = panel.method === page.reference ? ["The exact scores that all methods are compared with."] : [];
  panel.measures.textContent = [...result.notes, ...reference, measures.join(" · ")].filter(Boolean).join("\n");
  const shares = panel.scale.largest === 0 ? [0, 0, 0, 0, 0] : [-1, -0.25, 0, 0.25, 1];
  panel.numbers.forEach((item, index) => { item.textContent = signed(shares[index] * panel.scale.largest, 2); });
  panel.scope.textContent = [
    `Scores${result.unit ? ` in ${result.unit}` : ""}`,
    state.part === null ? "of the whole response" : hasParts(panel) ? "of the chosen part" : "of the whole response: this method has none of its parts",
    floor > 0 ? `; up to ±${number(floor, 2)} they are noise and stay unshaded` : "",
  ].join(" ").replace(" ;", ";");
  panel.nodes.forEach((node, id) => {
    shade(node, scores[id], panel.scale);
    node.classList.toggle("pruned", scores[id] === null);
    if (ranks[id] <= BADGES && scores[id]) node.dataset.badge = ranks[id]; else delete node.dataset.badge;
    node.setAttribute("aria-description", scoreWords(panel, id));
  });
};

// ---- The response, its parts and its tokens ----

const choosePart = (part) => {
  state.part = part;
  showMethods();
};

const fillResponse = () => {
  const { pieces, parts } = state.example;
  const groups = [];
  for (const { text, tokens, part } of pieces) {
    if (!groups.length || groups.at(-1).part !== part) groups.push({ part, nodes: [] });
    const node = element("span", "token", text);
    node.dataset.tokens = tokens.join(" ");
    groups.at(-1).nodes.push(node);
  }
  byId("response").replaceChildren(...groups.map(({ part, nodes }) => {
    const node = element("span", part < 0 ? "" : "part");
    if (part >= 0) node.dataset.part = part;
    node.append(...nodes);
    return node;
  }));
  const named = parts.map((text, index) => new Option(`${index + 1}. ${text.trim()}`.slice(0, 80), index));
  byId("part").replaceChildren(new Option("the whole response", ""), ...named);
};

const showParts = () => {
  const canChoose = visible().some(hasParts);
  byId("part-field").hidden = !canChoose;
  byId("part").value = state.part ?? "";
  byId("part-note").textContent = canChoose ? "Choose a sentence of the response to see what it rests on." : page.part_note;
  for (const node of byId("response").querySelectorAll(".part")) {
    if (!canChoose) { for (const name of ["role", "tabindex", "aria-pressed"]) node.removeAttribute(name); continue; }
    node.setAttribute("role", "button");
    node.tabIndex = 0;
    node.setAttribute("aria-pressed", Number(node.dataset.part) === state.part);
  }
};

// The result whose scores by token are shown: of the panel that was pointed at, if it has some.
const resultByToken = () => {
  const candidates = [panels[state.shownIn], ...visible()].filter((panel) => panel.method !== null);
  return candidates.map(resultOf).find((result) => result.token_scores);
};
const tokenScoresOf = (id) => (id === null ? null : resultByToken()?.token_scores[id] ?? null);

// The largest of all sources: shades of tokens can be compared from source to source.
const largestTokenScores = new Map();
const largestTokenScore = (result) => {
  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (!largestTokenScores.has(result)) largestTokenScores.set(result, largest(result.token_scores.map((row) => largest(row ?? []))));
  return largestTokenScores.get(result);
};

const shadeTokens = (id) => {
  const scores = tokenScoresOf(id);
  const largest = scores ? largestTokenScore(resultByToken()) : 0;
  for (const node of byId("response").querySelectorAll(".token")) {
    const own = node.dataset.tokens === "" || !scores ? null : node.dataset.tokens.split(" ").reduce((sum, token) => sum + scores[token], 0);
    shade(node, own, { largest, floor: 0 });
  }
};

// ---- What is known about the source that is pointed at ----

const tokenName = (text) => (text === "" ? "end of the response" : text.trim() || "white space");

const tokenList = (id) => {
  const scores = tokenScoresOf(id);
  if (!scores) return [];
  const order = scores.map((_, token) => token).sort((a, b) => Math.abs(scores[b]) - Math.abs(scores[a])).slice(0, NUM_TOKENS);
  const list = element("ul", "tokens");
  for (const token of order) {
    const item = element("li", "", tokenName(state.example.tokens[token]));
    item.append(element("b", "", signed(scores[token], 3)));
    list.append(item);
  }
  return [element("p", "", "Without it the response's tokens lose, in nats:"), list];
};

const placeOf = (id) => {
  const { document, paragraph } = state.example.sources[id];
  const gold = state.example.gold.includes(id) ? "★ annotated evidence" : "";
  return [`Source ${id + 1} of ${state.example.sources.length}`, document, `paragraph ${paragraph + 1}`, gold].filter(Boolean).join(" · ");
};

const showDetail = () => {
  const id = state.shown ?? state.pinned;
  for (const panel of visible()) {
    for (const node of panel.context.querySelectorAll(".shown, .pinned")) node.classList.remove("shown", "pinned");
    if (state.shown !== null) panel.nodes[state.shown].classList.add("shown");
    if (state.pinned !== null) panel.nodes[state.pinned].classList.add("pinned");
  }
  shadeTokens(id);
  if (id === null) {
    byId("detail").replaceChildren(element("p", "", "Point at a source, tap it or move to it with the arrow keys: here stand its score, its rank and, where the method has them, what the response's tokens lose without it."));
    return;
  }
  const lines = visible().map((panel) => {
    const line = element("p", "", `${titleOf(page.methods[panel.method])}: `);
    line.append(element("strong", "", scoreWords(panel, id)));
    return line;
  });
  byId("detail").replaceChildren(element("p", "", placeOf(id)), ...lines, ...tokenList(id));
};

const pin = (id) => {
  state.pinned = state.pinned === id ? null : id;
  showDetail();
};

const goTo = (id) => {
  state.pinned = id;
  state.shown = null;
  for (const panel of visible()) panel.nodes[id].scrollIntoView({ block: "nearest" });
  showDetail();
};

// ---- Sources by rank ----

const showRanking = () => {
  const [main, beside] = panels, exact = page.reference;
  const second = beside.method ?? (exact !== null && exact !== main.method && state.example.results[exact] ? exact : null);
  const other = second === null ? null : valuesOf(second);
  const name = second === exact ? "Exact" : "Beside:";
  [...byId("ranking").querySelectorAll("th.second")].forEach((head, index) => {
    head.hidden = !other;
    head.textContent = `${name} ${index ? "score" : "rank"}`;
  });
  const { scores, ranks } = main.values;
  const order = ranks.map((_, id) => id).sort((a, b) => ranks[a] - ranks[b] || a - b);
  const rows = order.slice(0, state.isAll ? order.length : FIRST_RANKS).map((id) => {
    const row = element("tr");
    row.insertCell().textContent = ranks[id];
    const cell = row.insertCell();
    cell.textContent = scores[id] === null ? "pruned" : signed(scores[id]);
    shade(cell, scores[id], main.scale);
    const button = element("button", "", state.example.sources[id].text);
    button.type = "button";
    button.dataset.source = id;
    const long = row.insertCell();
    long.className = state.example.gold.includes(id) ? "long gold" : "long";
    long.append(button);
    if (other) for (const value of [other.ranks[id], other.scores[id] === null ? "pruned" : signed(other.scores[id])]) row.insertCell().textContent = value;
    return row;
  });
  byId("ranking").tBodies[0].replaceChildren(...rows);
  byId("all").hidden = order.length <= FIRST_RANKS;
  byId("all").textContent = state.isAll ? `Show the first ${FIRST_RANKS} only` : `Show all ${order.length}`;
};

// ---- Search ----

const search = () => {
  const words = byId("search").value.trim().toLowerCase();
  const isMatch = ({ text, document }) => text.toLowerCase().includes(words) || document.toLowerCase().includes(words);
  state.matches = words ? state.example.sources.flatMap((source, id) => (isMatch(source) ? [id] : [])) : [];
  const matches = new Set(state.matches);
  for (const panel of visible()) panel.nodes.forEach((node, id) => node.classList.toggle("found", matches.has(id)));
  byId("found").textContent = words ? `${matches.size} of ${state.example.sources.length}` : "";
};

const goToMatch = (step) => {
  const { matches, pinned } = state;
  if (!matches.length) return;
  const at = matches.indexOf(pinned), next = at < 0 ? (step > 0 ? 0 : -1) : at + step;
  const found = (next + matches.length) % matches.length;
  goTo(matches[found]);
  byId("found").textContent = `${found + 1} of ${matches.length} found`;
};

// ---- Choosing an example and methods ----

const showMethods = () => {
  const chosen = panels.map(({ picker }) => (picker.value === "" ? null : Number(picker.value)));
  panels.forEach((panel, index) => {
    panel.method = chosen[index];
    panel.root.hidden = panel.method === null;
    if (panel.method === null) return;
    if (panel.example !== state.example) fillContext(panel);
    panel.example = state.example;
  });
  byId("view").classList.toggle("two", panels[1].method !== null);
  for (const panel of visible()) showPanel(panel);
  showParts();
  showRanking();
  search();
  showDetail();
};

const fillPickers = () => {
  const [main, beside] = panels.map(({ picker }) => picker);
  const wanted = [main.value, beside.value];
  const present = page.methods.flatMap((method, index) => (state.example.results[index] ? [[titleOf(method), String(index)]] : []));
  const options = () => present.map(([title, value]) => new Option(title, value));
  main.replaceChildren(...options());
  beside.replaceChildren(new Option("no other method", ""), ...options());
  const has = (value) => present.some(([, index]) => index === value);
  const fallback = has(String(page.reference)) ? String(page.reference) : present[0][1];
  main.value = has(wanted[0]) ? wanted[0] : fallback;
  beside.value = has(wanted[1]) ? wanted[1] : "";
  main.parentElement.hidden = page.methods.length < 2;
  beside.parentElement.hidden = page.methods.length < 2;
};

const showExample = () => {
  Object.assign(state, { example: read(`example-${byId("example").value}`), part: null, pinned: null, shown: null, shownIn: 0, isAll: false });
  byId("query").textContent = state.example.query || "–";
  byId("answer").textContent = state.example.answer ?? "";
  byId("answer-field").hidden = state.example.answer === null;
  byId("gold-key").hidden = state.example.gold.length === 0;
  fillResponse();
  fillPickers();
  showMethods();
};

const stepExample = (by) => {
  const picker = byId("example");
  picker.selectedIndex = (picker.selectedIndex + by + picker.length) % picker.length;
  showExample();
};

const openMethod = (name) => {
  const index = page.methods.findIndex((method) => method.name === name);
  if (state.example.results[index]) {
    panels[0].picker.value = index;
    showMethods();
  }
  byId("explorer").scrollIntoView();
  panels[0].picker.focus({ preventScroll: true });
};

// ---- Events ----

const sourceAt = (event) => {
  const node = event.target.closest("[data-source]");
  return node ? Number(node.dataset.source) : null;
};

// One source of a panel is in the order of the tab key: the one that had the focus last.
const enter = (panel, id) => {
  panel.nodes[panel.entry].tabIndex = -1;
  panel.entry = id;
  panel.nodes[id].tabIndex = 0;
};

const show = (panel, id) => {
  if (state.shown === id && state.shownIn === panels.indexOf(panel)) return;
  state.shown = id;
  if (id !== null) state.shownIn = panels.indexOf(panel);
  showDetail();
};

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const nextSource = (panel, key, id) => {
  const last = panel.nodes.length - 1;
  if (key in STEPS) return Math.min(Math.max(id + STEPS[key], 0), last);
  if (key === "Home" || key === "End") return key === "Home" ? 0 : last;
  if (key !== "PageDown" && key !== "PageUp") return null;
  const { ranks } = panel.values;
  const order = ranks.map((_, source) => source).sort((a, b) => ranks[a] - ranks[b] || a - b);
  return order[Math.min(Math.max(order.indexOf(id) + (key === "PageDown" ? 1 : -1), 0), last)];
};

const onContextKey = (panel, event) => {
  const id = sourceAt(event);
  if (id === null || event.ctrlKey || event.metaKey || event.altKey) return;
  const next = nextSource(panel, event.key, id);
  if (next !== null) panel.nodes[next].focus();
  else if (event.key === "Enter" || event.key === " ") pin(id);
  else return;
  event.preventDefault();
};

for (const panel of panels) {
  panel.picker.addEventListener("change", showMethods);
  panel.context.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") show(panel, sourceAt(event)); });
  panel.context.addEventListener("pointerleave", () => show(panel, null));
  panel.context.addEventListener("focusin", (event) => {
    const id = sourceAt(event);
    if (id !== null) enter(panel, id);
    show(panel, id);
  });
  panel.context.addEventListener("focusout", () => show(panel, null));
  panel.context.addEventListener("keydown", (event) => onContextKey(panel, event));
  panel.context.addEventListener("click", (event) => {
    const id = sourceAt(event);
    if (id === null) return;
    state.shownIn = panels.indexOf(panel);
    pin(id);
  });
  // The same text in two panels scrolls together.
  panel.context.addEventListener("scroll", () => {
    for (const other of visible()) if (Math.abs(other.context.scrollTop - panel.context.scrollTop) > 1) other.context.scrollTop = panel.context.scrollTop;
  }, { passive: true });
}

const onPart = (event) => {
  const node = event.target.closest('.part[role="button"]');
  if (!node || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  const part = Number(node.dataset.part);
  choosePart(part === state.part ? null : part);
};
byId("response").addEventListener("click", onPart);
byId("response").addEventListener("keydown", onPart);
byId("part").addEventListener("change", () => choosePart(byId("part").value === "" ? null : Number(byId("part").value)));
byId("example").addEventListener("change", showExample);
byId("previous").addEventListener("click", () => stepExample(-1));
byId("next").addEventListener("click", () => stepExample(1));
byId("all").addEventListener("click", () => { state.isAll = !state.isAll; showRanking(); });
byId("ranking").addEventListener("click", (event) => { const id = sourceAt(event); if (id !== null) goTo(id); });
byId("search").addEventListener("input", search);
byId("search").addEventListener("keydown", (event) => { if (event.key === "Enter") goToMatch(event.shiftKey ? -1 : 1); });
byId("theme").addEventListener("change", () => { document.documentElement.dataset.theme = byId("theme").value; });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.pinned !== null) pin(state.pinned);
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  byId("search").focus();
});

byId("example").replaceChildren(...page.examples.map(({ id, query }, index) => new Option(`${index + 1}. ${query || id}`.slice(0, 90), index)));
byId("example").closest(".step").hidden = page.examples.length < 2;
showExample();

if (isRun) {
  const draw = () => {
    const chart = page.charts[document.querySelector("#unit input:checked").value];
    if (!chart.points.length) { byId("curve").replaceChildren(); byId("missing").textContent = chart.missing; return; }
    drawCurve(byId("curve"), chart, openMethod, (words) => { byId("curve-detail").textContent = words; });
    byId("curve-detail").textContent = "Point at a method for its numbers; choose it to open it in the examples below.";
    byId("curve-legend").replaceChildren(...legendOf(chart));
    byId("missing").textContent = chart.missing;
  };
  byId("unit").addEventListener("change", draw);
  let drawnWidth = 0;
  new ResizeObserver(() => {
    if (byId("curve").clientWidth === drawnWidth) return;
    drawnWidth = byId("curve").clientWidth;
    draw();
  }).observe(byId("curve"));
}
