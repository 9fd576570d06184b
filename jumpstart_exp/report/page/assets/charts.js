// The frontier and the scatter of accuracy against parameters.

function methodKey(study, shownMethods) {
  return make("div", { class: "keys-of-methods" }, shownMethods.map((m) => inColour(make("span", {},
    draw("svg", { width: 16, height: 14, viewBox: "-8 -7 16 14", "aria-hidden": "true" }, draw("path", { d: markPath(study.methods[m].marker, 4.5) })), study.methods[m].title), study.methods[m])));
}

function drawFrontier(study, state, box, note, ratios) {
  const moment = study.fitMoment(state.moment), start = state.border || "first", all = study.frontiers[start][moment];
  const methods = study.methods.map((_, m) => m).filter((m) => state.method === null || state.method === m);
  if (study.depths.length < 2) {
    tell(note, `This study has one depth, ${study.depths[0]}: there is no frontier in it.`);
    box.replaceChildren();
    ratios.replaceChildren();
    return;
  }
  tell(note,
    `The deepest network of each width before the first depth at which fewer than half of the seeds train, counted from `
      + `${start === "grid" ? "the shallowest depth of the grid" : "the first depth at which half do"}.`,
    `They train with a training ${study.score} of ${Number(study.threshold.toPrecision(4))} or more, ${moment} epoch.`,
    study.isFew(state.method) ? "Dots: each seed's own; they are too few for an interval." : "Bars: 95 % interval over resampled seeds; of few seeds there is none, and dots are each seed's own.",
    "An arrow: the grid, or what is trained, ends there, and the frontier may lie deeper.",
    `Hollow at depth 0: none, for ${start === "grid" ? "the shallowest depth fails already" : "no depth trains"}; a question mark: the depth at which it would begin is not trained.`);
  const wide = Math.max(320, Math.min(box.clientWidth || 700, 820)), high = 300, left = 44, right = 14, top = 12, bottom = 40;
  const widths = study.widths, deepest = Math.max(...study.depths);
  const x = (index) => left + (wide - left - right) * (index + 0.5) / widths.length;
  const y = (depth) => high - bottom - (high - bottom - top) * depth / (deepest * 1.06);
  const picture = draw("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": "Frontier: depth over width; the table below has its numbers" });
  for (const tick of roundTicks(deepest)) {
    picture.append(draw("path", { d: `M${left} ${y(tick)}H${wide - right}`, class: "rule" }), draw("text", { x: left - 6, y: y(tick), dy: "0.35em", "text-anchor": "end" }, String(tick)));
  }
  const every = Math.ceil(widths.length * 26 / (wide - left - right));
  widths.forEach((width, index) => { if (index % every === 0) picture.append(draw("text", { x: x(index), y: high - bottom + 15, "text-anchor": "middle" }, String(width))); });
  picture.append(draw("text", { x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle", class: "axis" }, "width"),
    draw("text", { x: 11, y: (high - bottom) / 2, transform: `rotate(-90 11 ${(high - bottom) / 2})`, "text-anchor": "middle", class: "axis" }, "depth"));
  const step = Math.min(9, (wide - left - right) / widths.length / (methods.length + 1));
  methods.forEach((m, order) => {
    const shift = (order - (methods.length - 1) / 2) * step;
    const points = all[m].map((point) => ({ ...point, x: x(widths.indexOf(point.width)) + shift, y: y(point.depth || 0) }));
    const own = inColour(draw("g", {}, draw("path", { d: trendPath(points), class: "trend", "data-m": m })), study.methods[m]);
    picture.append(own);
    for (const point of points) {
      const words = draw("title", {}, `${study.methods[m].title}, width ${point.width}: ${frontierText(point)}`);
      if (isUntrained(point)) {
        own.append(draw("text", { x: point.x, y: point.y - 4, "text-anchor": "middle", class: "unknown", "data-m": m, "data-width": point.width }, "?", words));
        continue;
      }
      if (point.low !== null) own.append(draw("path", { d: `M${point.x} ${y(point.low)}V${y(point.high)}`, class: "whisker" }));
      else if (point.each.length > 1) {
        for (const depth of point.each) own.append(draw("circle", { cx: point.x, cy: y(depth), r: 1.8, class: "seed", "data-m": m }));
      }
      if (point.open) own.append(draw("path", { d: `M${point.x} ${point.y - 5}v-9m-3.5 4l3.5 -4l3.5 4`, class: "whisker" }));
      own.append(draw("path", { d: markPath(study.methods[m].marker, 4.5), transform: `translate(${point.x} ${point.y})`,
        class: point.depth === null ? "mark hollow" : "mark", "data-m": m, "data-width": point.width }, words));
    }
  });
  box.replaceChildren(methodKey(study, methods), make("div", { class: "scroll" }, picture));
  const rows = widths.map((width) => [String(width), ...methods.map((m) => {
    const point = all[m].find((each) => each.width === width);
    return point ? frontierText(point) : "–";
  })]);
  const counts = methods.flatMap((m) => all[m].map((point) => [study.methods[m].label, point.width, point.depth, point.low, point.high, point.open, !isUntrained(point), point.seeds]));
  const parts = [table(["width", ...methods.map((m) => study.methods[m].title)], rows, `Frontier, ${moment} epoch`, {
    name: `${study.slug}_frontier_${start}_${moment}`, columns: ["method", "width", "depth", "low", "high", "is_at_least", "is_trained", "seeds"], lines: counts })];
  const resamples = study.contents.head.resamples;
  const ratiosShown = Object.keys(COUNTED).flatMap((from) => study.ratios[from][moment].filter((each) => methods.includes(each.method)).map((each) => ({ from, ...each })));
  const spread = study.isFew(state.method) ? "each seed's own" : "95 % interval, or each seed's own";
  if (ratiosShown.length) {
    parts.push(table(["method", "counted", "times deeper than ReLU", spread, "fewest seeds", "widths", "left out", "at least, at widths", "at most, at widths"],
      ratiosShown.map((each) => [study.methods[each.method].title, COUNTED[each.from], ...ratioTexts(each, resamples)]),
      `How many times deeper, ${moment} epoch: geometric mean over the widths at which both train, at depths that both have`, {
        name: `${study.slug}_ratios_${moment}`, columns: ["method", "counted_from", "ratio", "low", "high", "distinct_resamples", "resamples_without", "seeds", "widths", "left_out", "at_least", "at_most"],
        lines: ratiosShown.map((each) => [study.methods[each.method].label, each.from, each.ratio, each.low, each.high, each.distinct, each.without, each.seeds, each.widths, each.left_out, each.at_least, each.at_most]) }),
    make("p", { class: "note" }, "At least: the method's frontier is there the deepest depth of the grid, or the deepest that is trained; at most: ReLU's is."));
  }
  ratios.replaceChildren(...parts);
}

const COUNTED = { grid: "by the definition: from the grid's shallowest depth", first: "from the first depth that trains" };

function ratioTexts(each, resamples) {
  if (each.ratio === null) return ["no width with both", "–", "–", "none", "all", "–", "–"];
  const range = each.low !== null ? `[${each.low.toFixed(2)}, ${each.high.toFixed(2)}]`
    : each.each.length > 1 ? seedsText(each.each.map((ratio) => ratio.toFixed(2))) : "–";
  const listed = (widths, otherwise) => widths.join(", ") || otherwise;
  const bound = each.at_least.length && !each.at_most.length ? "at least " : each.at_most.length && !each.at_least.length ? "at most " : "";
  return [bound + each.ratio.toFixed(2), range + (each.distinct ? `, ${plural(each.distinct, "distinct ratio")} in ${resamples} resamples` : "") + (each.without ? `, without ${each.without} that have no width` : ""), String(each.seeds),
    listed(each.widths, "none"), listed(each.left_out, "none"), listed(each.at_least, "–"), listed(each.at_most, "–")];
}

// Nothing is known of this width: the depth at which its frontier would begin is missing from the store.
function isUntrained(point) {
  return point.depth === null && point.cut;
}

// A line through the frontier, broken where there is none.
function trendPath(points) {
  let path = "", open = false;
  for (const point of points) {
    if (point.depth !== null) path += `${open ? "L" : "M"}${point.x} ${point.y}`;
    open = point.depth !== null;
  }
  return path;
}

function frontierText(point) {
  if (isUntrained(point)) return "not trained";
  const depth = point.depth === null ? "none" : `${point.open ? "≥ " : ""}${point.depth}`;
  if (point.low !== null) return `${depth} [${point.low}, ${point.high}]`;
  return point.each.length > 1 ? `${depth} (${seedsText(point.each.map((each) => each || "none"))})` : depth;
}

// What each seed has by itself, the lowest first; of many the ends.
function seedsText(texts) {
  const sorted = [...texts].sort((one, other) => (Number(one) || 0) - (Number(other) || 0));
  return `seeds ${sorted.length < 10 ? sorted.join(", ") : `${sorted[0]} to ${sorted.at(-1)}`}`;
}

function drawScatter(study, state, box, note, actions) {
  const metric = state.metric.column === "train_acc" ? state.metric : actions.metric("val_acc");
  const moment = study.fitMoment(state.moment), points = [];
  eachPlace(study, (m, d, w) => {
    if (state.method !== null && state.method !== m) return;
    const at = study.at(m, d, w, metric, moment, state.seed), size = study.parameters(m, d, w);
    if (!Number.isNaN(at.value) && size) points.push({ m, d, w, size, ...at });
  });
  const spread = study.isFew(state.method) ? "with a dot for each of them" : "with its 95 % interval by Student's t; where all agree or are few, a dot each";
  tell(note, `${metric.title[0].toUpperCase()}${metric.title.slice(1)}, ${moment} epoch, ${state.seed === null ? `mean over the seeds, ${spread}` : `seed ${study.seeds[state.seed]}`}.`,
    "Hollow: fewer than half of the seeds train.", "The dotted line: guessing.", "Click a point to open it.",
    "By keyboard: Tab to the points, arrow keys to the next one, Enter opens.");
  points.sort((one, other) => one.size - other.size || one.value - other.value);  // as the arrow keys go
  if (!points.length) { box.replaceChildren(make("p", {}, `No cell of this study has both a score (${study.score}) and a number of parameters.`)); return; }
  const wide = Math.max(320, Math.min(box.clientWidth || 700, 980)), high = 380, left = 44, right = 14, top = 10, bottom = 42;
  const least = Math.log10(Math.min(...points.map((point) => point.size))) - 0.1, most = Math.log10(Math.max(...points.map((point) => point.size))) + 0.1;
  const lowest = Math.max(0, Math.min(study.chance, ...points.map((point) => point.value)) - 0.05);
  const x = (size) => left + (wide - left - right) * (Math.log10(size) - least) / (most - least);
  const y = (value) => high - bottom - (high - bottom - top) * (value - lowest) / (1.02 - lowest);
  const picture = draw("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "group", "aria-label": `${study.score} against the number of parameters`, "data-kind": "scatter" });
  for (let tick = Math.ceil(lowest * 10) / 10; tick <= 1.0001; tick += 0.1) {
    picture.append(draw("path", { d: `M${left} ${y(tick)}H${wide - right}`, class: "rule" }), draw("text", { x: left - 6, y: y(tick), dy: "0.35em", "text-anchor": "end" }, tick.toFixed(1)));
  }
  for (let power = Math.ceil(least); power <= most; power++) {
    picture.append(draw("path", { d: `M${x(10 ** power)} ${top}V${high - bottom}`, class: "rule" }), draw("text", { x: x(10 ** power), y: high - bottom + 15, "text-anchor": "middle" }, (10 ** power).toLocaleString("en")));
  }
  picture.append(draw("path", { d: `M${left} ${y(study.chance)}H${wide - right}`, class: "guess" }),
    draw("text", { x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle", class: "axis" }, "trainable parameters"),
    draw("text", { x: 11, y: (high - bottom) / 2, transform: `rotate(-90 11 ${(high - bottom) / 2})`, "text-anchor": "middle", class: "axis" }, metric.title));
  const marks = draw("g", { class: "marks" });
  for (const point of points) {
    const { m, d, w } = point, share = study.share(m, d, w, moment);
    const hollow = share.value < 0.5, px = x(point.size), py = y(point.value);
    if (Number.isNaN(point.low) && point.count > 1) {
      for (const each of point.seeds) {
        if (!Number.isNaN(each.value)) picture.append(inColour(draw("circle", { cx: px, cy: y(Math.max(each.value, lowest)), r: 1.5, class: "seed" }), study.methods[m]));
      }
    }
    if (!Number.isNaN(point.low)) picture.append(inColour(draw("path", { d: `M${px} ${y(Math.max(point.low, lowest))}V${y(point.high)}`, class: "whisker thin" }), study.methods[m]));
    marks.append(inColour(draw("path", { d: markPath(study.methods[m].marker, 4), transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})`,
      class: hollow ? "mark open empty" : "mark open", "data-m": m, "data-d": d, "data-w": w, role: "button", tabindex: marks.firstChild ? "-1" : "0",
      "aria-label": `${study.methods[m].title} ${study.depths[d]}×${study.widths[w]}, ${plural(point.size, "parameter")}: ${shown(point.value, metric.kind)}` }), study.methods[m]));
  }
  picture.append(marks);
  box.replaceChildren(methodKey(study, study.methods.map((_, m) => m).filter((m) => state.method === null || state.method === m)), make("div", { class: "scroll" }, picture));
}
