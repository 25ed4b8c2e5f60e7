// The response, its parts and its tokens, and what is known about the source that is pointed at.

const NUM_TOKENS = 6;

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

const tokensOfPart = () => (state.part === null ? [...state.example.tokens.keys()] : state.example.part_tokens[state.part]);

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
  const shown = new Set(scores ? tokensOfPart().map(String) : []);
  for (const node of byId("response").querySelectorAll(".token")) {
    const tokens = node.dataset.tokens.split(" ").filter((token) => shown.has(token));
    shade(node, tokens.length ? tokens.reduce((sum, token) => sum + scores[token], 0) : null, { largest, floor: 0 });
  }
};

// ---- What is known about the source that is pointed at ----

const tokenName = (text) => (text === "" ? "end of the response" : text.trim() || "white space");

const tokenList = (id) => {
  const scores = tokenScoresOf(id);
  if (!scores) return [];
  const order = [...tokensOfPart()].sort((a, b) => Math.abs(scores[b]) - Math.abs(scores[a])).slice(0, NUM_TOKENS);
  const list = element("ul", "tokens");
  for (const token of order) {
    const item = element("li", "", tokenName(state.example.tokens[token]));
    item.append(element("b", "", signed(scores[token], 3)));
    list.append(item);
  }
  const whose = state.part === null ? "the response's tokens" : "this part's tokens";
  return [element("p", "", `Without it ${whose} lose, in nats:`), list];
};

const placeOf = (id) => {
  const { document, paragraph } = state.example.sources[id];
  const gold = state.example.gold.includes(id) ? " · ★ annotated evidence" : "";
  const place = element("p", "", `Source ${id + 1} of ${state.example.sources.length} · `);
  if (document) place.append(element("bdi", "", document), " · ");
  place.append(`paragraph ${paragraph + 1}${gold}`);
  return place;
};

const showDetail = () => {
  const id = state.shown ?? state.pinned;
  for (const panel of visible()) {
    for (const node of panel.context.querySelectorAll(".shown, .pinned")) node.classList.remove("shown", "pinned");
    if (state.shown !== null) panel.nodes[state.shown].classList.add("shown");
    if (state.pinned !== null) panel.nodes[state.pinned].classList.add("pinned");
  }
  shadeTokens(id);
  byId("detail").classList.toggle("chosen", id !== null);
  if (id === null) {
    byId("detail").replaceChildren(element("p", "", "Point at a source, tap it or move to it with the arrow keys: here stand its score, its rank and, where the method has them, what the response's tokens lose without it."));
    return;
  }
  const lines = visible().map((panel) => {
    const line = element("p", "", `${titleOf(page.methods[panel.method])}: `);
    line.append(element("strong", "", scoreWords(panel, id)));
    return line;
  });
  byId("detail").replaceChildren(placeOf(id), ...lines, ...tokenList(id));
};

