// The explorer: sources by rank, search, choosing what is shown, and what the hand does.

const FIRST_RANKS = 10;

const pin = (id) => {
  state.pinned = state.pinned === id ? null : id;
  showDetail();
};

const goTo = (id) => {
  state.pinned = id;
  state.shown = null;
  showDetail();
  // The first panel comes last: where they stand below each other it is the one to see.
  for (const panel of visible().reverse()) panel.nodes[id].scrollIntoView({ block: "center" });
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
  const { scores, ranks } = main.values, { sources, results, gold } = state.example;
  const textOf = (values, method, id) => (values.scores[id] === null ? "pruned" : scoreText(values.scores[id], results[method].unit));
  const hasNames = sources.some(({ document }) => document);
  byId("ranking").querySelector("th.name").hidden = !hasNames;
  const order = ranks.map((_, id) => id).sort((a, b) => ranks[a] - ranks[b] || a - b);
  const rows = order.slice(0, state.isAll ? order.length : FIRST_RANKS).map((id) => {
    const row = element("tr");
    const cell = (text, className = "") => row.appendChild(element("td", className, text));
    cell(ranks[id]);
    shade(cell(textOf(main.values, main.method, id)), scores[id], main.scale);
    cell(numberOf(id));
    if (hasNames) cell(sources[id].document, "name");
    const button = element("button", "", sources[id].text);
    button.type = "button";
    button.dataset.source = id;
    const text = cell("", gold.includes(id) ? "long gold" : "long");
    text.dataset.document = sources[id].document;
    text.append(button);
    if (other) for (const value of [other.ranks[id], textOf(other, second, id)]) cell(value);
    return row;
  });
  byId("ranking").tBodies[0].replaceChildren(...rows);
  byId("all").hidden = order.length <= FIRST_RANKS;
  byId("all").textContent = state.isAll ? `Show the first ${FIRST_RANKS} only` : `Show all ${order.length}`;
};

// ---- Search ----

const search = () => {
  const words = byId("search").value.trim().toLowerCase();
  const isMatch = ({ text, document }, id) => words === numberOf(id) || [text, document].some((one) => one.toLowerCase().includes(words));
  state.matches = words ? state.example.sources.flatMap((source, id) => (isMatch(source, id) ? [id] : [])) : [];
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
  showKey();
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
  // What was pointed at stays until another source is, so that nothing blinks between two.
  panel.context.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse" && sourceAt(event) !== null) show(panel, sourceAt(event)); });
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
  if (event.key !== "/" || event.target === byId("search")) return;
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
