// Heatmaps: a panel a method, and beside it what is published and how they differ.

const NARROW = 900, LEAST_TOUCHED = 20;  // pixels: of a narrow window as in page.css, of a cell in it
const MARGIN = { left: 34, top: 4, right: 8, bottom: 40 };

// Which panels are shown: {m, kind}.
function panelList(study, state) {
  const methods = methodsShown(study, state);
  const kinds = showsPublished(study, state) ? ["ours", "published", "difference"] : ["ours"];
  return methods.flatMap((m) => kinds.map((kind) => ({ m, kind })));
}

function methodsShown(study, state) {
  return study.methods.map((_, m) => m).filter((m) => state.method === null || state.method === m);
}

function showsPublished(study, state) {
  return state.beside && study.hasPublished(state.metric);
}

function panelValue(study, state, kind, m, d, w) {
  const ours = study.at(m, d, w, state.metric, state.moment, state.seed);
  if (kind === "ours") return { ...ours, ours };
  const published = study.publishedValue(m, d, w, state.metric);
  const value = kind === "published" ? published : ours.value - published;
  const state_ = Number.isNaN(published) ? "unpublished" : Number.isNaN(value) ? ours.state : "whole";
  return { value, state: state_, ours };
}

// The colour scale of the metric, over all methods of the study, so that panels can be compared.
function scaleOf(study, state) {
  const { metric, moment, seed } = state;
  if (metric.column.endsWith("_acc")) return { low: study.chance, high: 1, kind: "fraction", below: true };
  if (metric.kind === "fraction") return { low: 0, high: 1, kind: "fraction" };
  const values = [];
  eachPlace(study, (m, d, w) => {
    const { value } = study.at(m, d, w, metric, moment, seed);
    if (!Number.isNaN(value) && (metric.kind !== "positive" || value > 0)) values.push(value);
  });
  values.sort((one, other) => one - other);
  if (metric.kind === "difference") {
    const high = Math.max(0.05, Math.abs(values[0] || 0), Math.abs(values.at(-1) || 0));
    return { low: -high, high, kind: "difference" };
  }
  if (!values.length) return { low: 0.1, high: 1, kind: metric.kind, log: true };
  // a loss may be a million times the others': colours leave out a fiftieth at either end
  const cut = Math.floor(values.length / 50), [low, high] = [values[cut], values[values.length - 1 - cut]];
  const scale = { low, high, kind: metric.kind, log: true, below: values[0] < low, above: values.at(-1) > high };
  return low === high ? { ...scale, low: low / 2, high: high * 2 } : scale;
}

function eachPlace(study, visit) {
  const [methods, depths, widths] = study.shape;
  for (let m = 0; m < methods; m++) for (let d = 0; d < depths; d++) for (let w = 0; w < widths; w++) visit(m, d, w);
}

function colourOf(scale, value) {
  if (scale.kind === "difference") return diverging(value / scale.high);
  if (scale.log) return rocket((Math.log(Math.max(value, scale.low)) - Math.log(scale.low)) / Math.log(scale.high / scale.low));
  return rocket((value - scale.low) / (scale.high - scale.low));
}

const DIFFERENCES = { low: -0.5, high: 0.5, kind: "difference", below: true, above: true };

function drawPanels(study, state, box) {
  const list = panelList(study, state);
  const room = box.clientWidth || 900;
  const beside = showsPublished(study, state);
  const widest = MARGIN.left + MARGIN.right + study.depths.length * (list.length === 1 ? 44 : 30);
  const most = Math.max(1, Math.floor((room + 16) / (Math.min(widest, beside ? 300 : 420) + 16)));
  const columns = beside ? (room >= 760 ? 3 : 1) : Math.min(list.length, most, 4);
  const scale = scaleOf(study, state);
  const inner = (room - 16 * (columns - 1)) / columns - MARGIN.left - MARGIN.right - 2;
  const narrow = window.innerWidth <= NARROW;  // fingers: the panel scrolls in its box rather than having tiny cells
  const least = narrow ? { x: LEAST_TOUCHED, y: LEAST_TOUCHED } : { x: study.depths.length > 60 ? 8 : 12, y: study.widths.length > 40 ? 8 : 17 };
  const size = {
    x: clamp(inner / study.depths.length, least.x, list.length === 1 ? 46 : 34),
    y: clamp(inner / study.depths.length, least.y, list.length === 1 ? 32 : 24),
  };
  box.style.setProperty("--columns", columns);
  box.replaceChildren(...list.map(({ m, kind }) => panel(study, state, m, kind, kind === "difference" ? DIFFERENCES : scale, size)));
  return scale;
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

function panelTitle(study, state, m, kind) {
  if (!showsPublished(study, state)) {
    const all = methodsShown(study, state), alike = all.every((m_) => study.seedCount([m_]) === study.seedCount(all));
    return state.seed !== null || alike ? study.methods[m].title : `${study.methods[m].title} · ${oursInWords(study, state, [m])}`;
  }
  const words = { ours: `ours, ${oursInWords(study, state, [m])}`, published: "published, authors, one seed, best epoch", difference: "ours minus published" };
  return `${study.methods[m].title} · ${words[kind]}`;
}

function oursInWords(study, state, methods) {
  if (state.seed !== null) return `seed ${study.seeds[state.seed]}`;
  const count = study.seedCount(methods);
  return `mean of ${count} seed${count === "1" ? "" : "s"}`;
}

function panel(study, state, m, kind, scale, size) {
  const depths = study.depths.length, widths = study.widths.length;
  const wide = MARGIN.left + depths * size.x + MARGIN.right, high = MARGIN.top + widths * size.y + MARGIN.bottom;
  const title = panelTitle(study, state, m, kind);
  const grid = draw("g", { role: "grid", "aria-label": `${title}: ${state.metric.title}, depth by width`, "aria-colcount": depths, "aria-rowcount": widths });
  const numbered = size.x >= 34 && scale.kind !== "positive";
  for (let w = widths - 1; w >= 0; w--) {
    const line = draw("g", { role: "row" });
    for (let d = 0; d < depths; d++) {
      const at = panelValue(study, state, kind, m, d, w);
      const x = MARGIN.left + d * size.x, y = MARGIN.top + (widths - 1 - w) * size.y;
      const known = !Number.isNaN(at.value);
      const fillOf = known ? colourOf(scale, at.value) : at.state === "lost" ? "url(#hatch-lost)" : "url(#hatch-missing)";
      const words = known ? shown(at.value, scale.kind) : stateInWords(at.state);
      const rect = draw("rect", {
        role: "gridcell", tabindex: "-1", x: x.toFixed(2), y: y.toFixed(2), width: size.x.toFixed(2), height: size.y.toFixed(2),
        fill: fillOf, "data-m": m, "data-d": d, "data-w": w, "data-value": known ? words : at.state,
        "aria-label": `depth ${study.depths[d]}, width ${study.widths[w]}: ${words}`,
      });
      line.append(rect);
      if (known && kind === "ours" && at.state === "partly" && state.metric !== SHARE) {
        line.append(draw("path", { d: `M${x + size.x - Math.min(7, size.x / 2)} ${y}h${Math.min(7, size.x / 2)}v${Math.min(7, size.x / 2)}z`, class: "partly" }));
      }
      if (known && numbered) {
        const text = scale.kind === "difference" ? shown(at.value, "difference").slice(0, -2) : at.value.toFixed(2);
        line.append(draw("text", { x: x + size.x / 2, y: y + size.y / 2 + 3.5, class: "number", fill: isDark(fillOf) ? "#fff" : "#111", "aria-hidden": "true" }, text));
      }
    }
    grid.append(line);
  }
  grid.querySelector("rect").setAttribute("tabindex", "0");
  const picture = draw("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, class: "heatmap", "data-kind": kind, "data-m": m },
    grid, axes(study, size), state.border && kind === "ours" && depths > 1 ? borderLine(study, state, m, size) : null,
    ...(kind === "ours" ? outlines(study, state.outlined, m, size) : []),
    draw("rect", { class: "focus", visibility: "hidden", width: size.x, height: size.y }));
  return make("figure", { class: "panel" }, make("figcaption", {}, title), make("div", { class: "scroll" }, picture));
}

function stateInWords(state) {
  return { missing: "not in the store", unpublished: "no published value", lost: "every seed diverged or failed" }[state] || "no value";
}

function axes(study, size) {
  const depths = study.depths.length, widths = study.widths.length, bottom = MARGIN.top + widths * size.y;
  const group = draw("g", { class: "axes", "aria-hidden": "true" });
  const everyDepth = Math.ceil(13 / size.x), everyWidth = Math.ceil(11 / size.y);
  const turned = Math.max(...study.depths.map((depth) => String(depth).length)) * 6.4 > size.x * everyDepth - 2;
  study.depths.forEach((depth, d) => {
    if (d % everyDepth) return;
    const x = MARGIN.left + (d + 0.5) * size.x;
    group.append(draw("text", turned
      ? { x, y: bottom + 6, transform: `rotate(-90 ${x} ${bottom + 6})`, "text-anchor": "end", dy: "0.35em" }
      : { x, y: bottom + 13, "text-anchor": "middle" }, String(depth)));
  });
  study.widths.forEach((width, w) => {
    if (w % everyWidth) return;
    group.append(draw("text", { x: MARGIN.left - 5, y: MARGIN.top + (widths - 0.5 - w) * size.y, dy: "0.35em", "text-anchor": "end" }, String(width)));
  });
  const middle = MARGIN.top + widths * size.y / 2;
  group.append(
    draw("text", { x: MARGIN.left + depths * size.x / 2, y: bottom + (turned ? 37 : 29), "text-anchor": "middle", class: "axis" }, "depth"),
    draw("text", { x: 9, y: middle, transform: `rotate(-90 9 ${middle})`, "text-anchor": "middle", class: "axis" }, "width"),
    draw("rect", { x: MARGIN.left, y: MARGIN.top, width: depths * size.x, height: widths * size.y, class: "frame" }));
  return group;
}

// The frontier as steps: what lies left of the line trains.
function borderLine(study, state, m, size) {
  const widths = study.widths.length;
  let path = "", before = null;
  study.border(m, state.moment, state.border).forEach((depth, w) => {
    const low = MARGIN.top + (widths - w) * size.y;
    if (depth === null) { before = null; return; }
    const x = MARGIN.left + (depth + 1) * size.x;
    path += `${before === null ? "M" : "L"}${x} ${low}L${x} ${low - size.y}`;
    before = depth;
  });
  return draw("g", { class: "border", "aria-hidden": "true" }, draw("path", { d: path, class: "casing" }), draw("path", { d: path }));
}

// Around the places of this method that a statement is about: a rectangle for each run of depths and of widths.
function outlines(study, parts, m, size) {
  const widths = study.widths.length;
  return parts.filter((part) => part.methods.includes(m)).flatMap((part) => runs(part.depths).flatMap(([d, depths]) => runs(part.widths).map(([w, high]) =>
    draw("rect", { class: "outline", x: MARGIN.left + d * size.x, y: MARGIN.top + (widths - w - high) * size.y, width: depths * size.x, height: high * size.y }))));
}

// Ascending numbers as runs: the first of each, and how many.
function runs(numbers) {
  const found = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && last[0] + last[1] === number) last[1]++;
    else found.push([number, 1]);
  }
  return found;
}

function drawLegend(study, state, scale, box) {
  const parts = [colourBar(scale, scale.kind === "difference" ? state.metric.title : `${state.metric.title}`)];
  if (showsPublished(study, state)) parts.push(colourBar(DIFFERENCES, "ours minus published"));
  const swatch = (content, words) => make("span", { class: "swatch" },
    draw("svg", { width: 18, height: 14, "aria-hidden": "true" }, content), words);
  const patch = (fillOf) => draw("rect", { width: 18, height: 14, fill: fillOf, class: "patch" });
  parts.push(make("span", { class: "swatches" },
    state.border && study.depths.length > 1 ? swatch([draw("path", { d: "M3 12H9V3H15", class: "casing" }), draw("path", { d: "M3 12H9V3H15" })].map((line) => (line.classList.add("border-sample"), line)), state.border === "grid" ? "frontier: at every depth left of it half of the seeds or more train" : "frontier: left of it, from the first depth that trains, half of the seeds or more train") : null,
    swatch(patch("url(#hatch-missing)"), showsPublished(study, state) ? "missing or not published" : "missing"),
    swatch(patch("url(#hatch-lost)"), "all seeds diverged or failed"),
    state.metric === SHARE ? null : swatch([patch("transparent"), draw("path", { d: "M11 0h7v7z", class: "partly" })], "some diverged or failed: mean of the others")));
  box.replaceChildren(...parts);
}

function colourBar(scale, title) {
  const steps = 64, wide = 208, edge = 24, bar = draw("svg", { width: wide + 2 * edge, height: 30, class: "bar", role: "img", "aria-label": `${title}: colours from ${shown(scale.low, scale.kind)} to ${shown(scale.high, scale.kind)}` });
  const valueAt = (share) => scale.log ? scale.low * (scale.high / scale.low) ** share : scale.low + (scale.high - scale.low) * share;
  for (let i = 0; i < steps; i++) {
    bar.append(draw("rect", { x: edge + i * wide / steps, y: 0, width: wide / steps + 0.5, height: 12, fill: colourOf(scale, valueAt((i + 0.5) / steps)) }));
  }
  bar.append(draw("rect", { x: edge, y: 0, width: wide, height: 12, class: "frame" }));
  for (const share of [0, 0.5, 1]) {
    const value = valueAt(share);
    const words = scale.kind === "positive" ? shown(value) : (scale.kind === "difference" && value > 0 ? "+" : "") + String(Number(value.toFixed(2))).replace("-", "−");
    bar.append(draw("text", { x: edge + share * wide, y: 25, "text-anchor": "middle" }, (share === 0 && scale.below ? "≤ " : share === 1 && scale.above ? "≥ " : "") + words));
  }
  return make("span", { class: "scale" }, make("span", {}, title), bar);
}

function hatches() {
  const hatch = (id, ground, path) => draw("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    draw("rect", { width: 6, height: 6, class: ground }), draw("path", { d: path, class: "hatch" }));
  return draw("svg", { width: 0, height: 0, class: "quiet", "aria-hidden": "true" }, draw("defs", {},
    hatch("hatch-missing", "ground-missing", "M-1 7L7 -1M-1 1L1 -1M5 7L7 5"),
    hatch("hatch-lost", "ground-lost", "M0 0L6 6M6 0L0 6")));
}
