// The curve: every method's faithfulness against what it saves, as SVG.

const SYMBOLS = { exact: "M0-6 6 0 0 6-6 0Z", trick: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z", baseline: "M0-6 6 5-6 5Z" };
const KINDS = { exact: "exact leave-one-out", trick: "cheaper than exact", baseline: "baseline" };

const svg = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

// Making a format costs more than using it a hundred times.
const formats = {};
const formatOf = (digits) => (formats[digits] ??= new Intl.NumberFormat("en", { maximumSignificantDigits: digits }));

// A minus sign and not a hyphen; few digits; an exponent for what is tiny only.
const number = (value, digits = 4) => {
  if (value === null || value === undefined) return "–";
  const isTiny = value !== 0 && Math.abs(value) < 1e-4;
  const text = isTiny ? value.toExponential(1) : formatOf(digits).format(value);
  return text.replaceAll("-", "−");
};

const roundSteps = (low, high, count) => {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(9)));
};

// Pixels of both axes. On the left of x stands what costs most.
const scalesOf = (chart, width, height) => {
  const box = { left: 44, right: width - 14, top: 26, bottom: height - 44 };
  const [low, high] = chart.x_limits.map(Math.log);
  const x = (value) => {
    const share = (Math.log(value) - low) / (high - low);
    return box.left + (chart.is_x_cost ? 1 - share : share) * (box.right - box.left);
  };
  const lows = chart.points.map((point) => point.y_low), highs = chart.points.map((point) => point.y_high);
  const margin = 0.06 * (Math.max(...highs) - Math.min(...lows) || 1);
  const bottom = Math.min(...lows) - margin, top = Math.max(...highs) + margin;
  const y = (value) => box.bottom - ((value - bottom) / (top - bottom)) * (box.bottom - box.top);
  return { box, x, y, yTicks: roundSteps(bottom, top, height / 60) };
};

const axes = (chart, { box, x, y, yTicks }) => {
  const parts = [];
  const word = (text, at) => svg("text", { class: "axis", ...at }, text);
  if (chart.x_free !== null) {
    const ends = chart.x_strip.map(x);
    parts.push(svg("rect", { class: "strip", x: Math.min(...ends), width: Math.abs(ends[0] - ends[1]), y: box.top, height: box.bottom - box.top }));
    parts.push(word("no model", { x: x(chart.x_free), y: box.bottom + 18, "text-anchor": "middle" }));
  }
  for (const tick of yTicks) {
    parts.push(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
    parts.push(word(number(tick), { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end" }));
  }
  let free = chart.x_free === null ? box.right : x(chart.x_free) - 34;
  for (const tick of [...chart.x_ticks].sort((first, second) => x(second) - x(first))) {
    parts.push(svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }));
    if (x(tick) + 14 > free) continue;
    free = x(tick) - 20;
    parts.push(word(number(tick) + chart.x_suffix, { x: x(tick), y: box.bottom + 18, "text-anchor": "middle" }));
  }
  parts.push(word("mAP of the reference's outlier sources", { x: box.left, y: 14 }));
  parts.push(word(`${chart.x_title} → better`, { x: box.right, y: box.bottom + 38, "text-anchor": "end" }));
  return parts;
};

const intervals = (chart, { x, y }) => chart.points.flatMap((point) => {
  const line = (x1, x2, y1, y2) => svg("line", { class: `interval ${point.kind}`, x1, x2, y1, y2 });
  const across = x(point.x_drawn);
  const upright = line(across, across, y(point.y_low), y(point.y_high));
  return point.is_free ? [upright] : [upright, line(x(point.x_low), x(point.x_high), y(point.y), y(point.y))];
});

const front = (chart, { x, y }) => {
  const points = chart.points.filter((point) => point.is_front).map((point) => [x(point.x_drawn), y(point.y)]);
  points.sort(([first], [second]) => first - second);
  const path = points.map(([across, down], index) => (index ? `V${down}H${across}` : `M${across} ${down}`)).join("");
  return svg("path", { class: "front", d: path });
};

const wording = (chart, point) => {
  const between = (low, high, suffix = "") => (low === high ? "" : ` [${number(low)}${suffix}, ${number(high)}${suffix}]`);
  const cost = point.is_free ? "no model ran" : `${chart.x_title} ${number(point.x)}${chart.x_suffix}${between(point.x_low, point.x_high, chart.x_suffix)}`;
  return `${point.label}: mAP ${number(point.y)}${between(point.y_low, point.y_high)}; ${cost}`;
};

// The first of eight places around each point where its label covers nothing; else it has none.
const placeLabels = (root, nodes, box) => {
  const taken = nodes.map(({ at: [x, y] }) => [x - 8, y - 8, x + 8, y + 8]);
  const isFree = ([left, up, right, down]) => left >= box.left && right <= box.right && up >= box.top && down <= box.bottom &&
    taken.every((other) => right < other[0] || left > other[2] || down < other[1] || up > other[3]);
  const ordered = [...nodes].sort((a, b) => b.point.is_front - a.point.is_front);
  for (const { at: [x, y], point } of ordered) {
    const text = svg("text", { class: "label", "aria-hidden": "true" }, point.label);
    root.append(text);
    const width = text.getComputedTextLength();
    const places = [[11, 4], [-11 - width, 4], [-width / 2, -12], [-width / 2, 20], [9, -8], [9, 16], [-9 - width, -8], [-9 - width, 16]];
    const boxes = places.map(([across, down]) => [x + across, y + down - 10, x + across + width, y + down + 3]);
    const found = boxes.findIndex(isFree);
    if (found < 0) { text.remove(); continue; }
    taken.push(boxes[found]);
    text.setAttribute("x", boxes[found][0]);
    text.setAttribute("y", boxes[found][3] - 3);
  }
};

// open(name): what choosing a point does. say(text): what pointing at one does.
const drawCurve = (container, chart, open, say) => {
  const width = Math.max(container.clientWidth, 260), height = width < 600 ? 340 : 440;
  const scales = scalesOf(chart, width, height);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": `mAP against ${chart.x_title}, one point per method` });
  root.append(...axes(chart, scales), front(chart, scales), ...intervals(chart, scales));
  const nodes = chart.points.map((point) => ({ point, at: [scales.x(point.x_drawn), scales.y(point.y)] }));
  for (const { point, at } of nodes) {
    const words = wording(chart, point);
    const node = svg("g", { class: `point ${point.kind}`, transform: `translate(${at})`, role: "button", tabindex: "0", "aria-label": `${words}. Open its examples`, "data-method": point.method },
      svg("circle", { class: "hit", r: 12 }), svg("path", { class: "mark", d: SYMBOLS[point.kind] }));
    for (const kind of ["pointerenter", "focus"]) node.addEventListener(kind, () => say(words));
    node.addEventListener("click", () => open(point.method));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open(point.method);
    });
    root.append(node);
  }
  container.replaceChildren(root);
  placeLabels(root, nodes, scales.box);
};

const legendOf = (chart) => Object.keys(KINDS).filter((kind) => chart.points.some((point) => point.kind === kind)).map((kind) => {
  const item = document.createElement("li");
  item.className = kind;
  item.append(svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, svg("path", { class: "mark", d: SYMBOLS[kind] })), KINDS[kind]);
  return item;
});
