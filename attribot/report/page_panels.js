// What is shown, and the panels: the context, shaded by one method, or two beside each other.

const CLEAR = 0.1, PLACES = ["1st", "2nd", "3rd", "4th", "5th"];
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
// What a source does to the response's likelihood has a sign; other scores are higher or lower.
const isLikelihood = (unit) => page.likelihood_units.includes(unit);
const signed = (value, digits) => (value > 0 ? "+" : "") + number(value, digits);
const scoreText = (value, unit, digits) => (isLikelihood(unit) ? signed : number)(value, digits);
const titleOf = ({ name, label }) => (label === name ? name : `${label} (${name})`);
const numberOf = (id) => `[${id + 1}]`;

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

const panels = ["a", "b"].map((name) => {
  const root = byId(`panel-${name}`);
  const inside = (selector) => root.querySelector(selector);
  return { root, picker: byId(name === "a" ? "method" : "other"), context: inside(".context"), title: inside("h3"), bar: inside(".bar"),
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

// A document stands in a block of its own, which text from right to left turns around.
const documentBlock = (name) => {
  const block = element("div", "document");
  block.dir = "auto";
  if (name) {
    const heading = element("h4", "", name);
    heading.dir = "auto";
    block.append(heading);
  }
  return block;
};

const fillContext = (panel) => {
  const { sources, after, gold } = state.example;
  const blocks = [];
  panel.nodes = sources.map((source, id) => {
    let before = source.before;
    if (source.closing !== undefined) {
      if (blocks.length) {
        // The heading stands in the place of blank lines, not above them.
        before = before.trimStart();
        blocks.at(-1).append(element("span", "between", source.closing + source.before.slice(0, source.before.length - before.length)));
      }
      blocks.push(documentBlock(source.document));
    }
    const node = element("span", "source", source.text), mark = element("span", "number", numberOf(id));
    node.dataset.source = mark.dataset.source = id;
    node.setAttribute("role", "button");
    node.tabIndex = id === 0 ? 0 : -1;
    node.classList.toggle("gold", gold.includes(id));
    mark.setAttribute("aria-hidden", "true");
    if (before) blocks.at(-1).append(element("span", "between", before));
    blocks.at(-1).append(mark, node);
    return node;
  });
  blocks.at(-1).append(element("span", "between", after));
  panel.entry = 0;
  panel.context.replaceChildren(...blocks);
  panel.context.scrollTop = 0;
};

const scoreWords = (panel, id) => {
  const { scores, ranks } = panel.values, { unit } = resultOf(panel);
  const score = scores[id] === null ? "pruned, no score" : `score ${scoreText(scores[id], unit)}${unit && ` ${unit}`}`;
  return `${score}; rank ${ranks[id]} of ${ranks.length}`;
};

// isHalf: 0 is the least that the scores can be, as far as they show, and not the middle.
const scaleOf = ({ unit, noise_floor, scores, part_scores }, shown) => ({
  largest: shown.reduce((most, score) => Math.max(most, Math.abs(score ?? 0)), 0),
  floor: noise_floor ?? 0,
  isHalf: !isLikelihood(unit) && [scores, ...(part_scores ?? [])].every((row) => row.every((score) => score === null || score >= 0)),
});

const showPanel = (panel) => {
  const result = resultOf(panel);
  panel.values = valuesOf(panel.method);
  const { scores, ranks } = panel.values;
  const scale = panel.scale = scaleOf(result, scores);
  panel.title.textContent = titleOf(page.methods[panel.method]);
  const measures = Object.entries(result.measures).map(([name, value]) => `${name} ${number(value)}`);
  const reference = panel.method === page.reference ? ["The exact scores that all methods are compared with."] : [];
  panel.measures.textContent = [...result.notes, ...reference, measures.join(" · ")].filter(Boolean).join("\n");
  const roots = scale.isHalf ? [0, 0.25, 0.5, 0.75, 1] : [-1, -0.5, 0, 0.5, 1];
  panel.bar.classList.toggle("half", scale.isHalf);
  panel.numbers.forEach((item, index) => { item.textContent = scoreText(roots[index] * Math.abs(roots[index]) * scale.largest, result.unit, 2); });
  panel.scope.textContent = [
    `Scores${result.unit ? ` in ${result.unit}` : ""}`,
    state.part === null ? "of the whole response" : hasParts(panel) ? "of the chosen part" : "of the whole response: this method has none of its parts",
    scale.floor > 0 ? `; up to ±${number(scale.floor, 2)} they are noise and stay unshaded` : "",
  ].join(" ").replace(" ;", ";");
  panel.nodes.forEach((node, id) => {
    shade(node, scores[id], scale);
    node.classList.toggle("pruned", scores[id] === null);
    if (ranks[id] <= PLACES.length && scores[id] > scale.floor) node.dataset.badge = PLACES[ranks[id] - 1]; else delete node.dataset.badge;
    node.setAttribute("aria-description", `source ${id + 1}; ${scoreWords(panel, id)}`);
  });
};

// What the two colours say, method by method where two stand beside each other and differ.
const showKey = () => {
  const fill = (id, shown, likelihood, other) => {
    const meanings = shown.map((panel) => (isLikelihood(resultOf(panel).unit) ? likelihood : other));
    const isOne = new Set(meanings).size === 1;
    byId(id).textContent = isOne ? meanings[0] : meanings.map((meaning, index) => `${meaning} (${page.methods[shown[index].method].name})`).join(", ");
    byId(id).parentElement.hidden = shown.length === 0;
  };
  fill("key-positive", visible(), "makes the response more likely", "higher score");
  fill("key-negative", visible().filter((panel) => !panel.scale.isHalf), "makes it less likely", "score below zero");
};
