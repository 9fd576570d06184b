// The atlas's charts: lines of all methods, of which the chosen stand out, and rows of dots.

const GREATEST_DEPTH = "Greatest depth that trains";

// The place of a method among those chosen, which has its colour; undefined where it is not.
function slotOf(view, m) {
  const slot = view.chosen.indexOf(m);
  return slot < 0 ? undefined : slot;
}

// Its own colour where that is free, or else the first that is no baseline's; of more than there are colours, the first
// chosen gives way.
function choose(view, m) {
  const { slots, methods, baselines } = view.atlas, isFree = (slot) => view.chosen[slot] === undefined;
  view.order = view.order.filter((each) => view.chosen.includes(each));
  if (view.order.length === slots.length) view.chosen[slotOf(view, view.order.shift())] = undefined;
  const free = slots.map((_, slot) => slot).filter(isFree), own = free.find((slot) => slots[slot].label === methods[m].label);
  const slot = own ?? free.find((each) => !baselines.some(({ label }) => label === slots[each].label)) ?? free[0];
  view.chosen[slot] = m;
  view.order.push(m);
}

function toggle(view, m) {
  const slot = slotOf(view, m), { title } = view.atlas.methods[m];
  if (slot === undefined) choose(view, m);
  else view.chosen[slot] = undefined;
  byId("said").textContent = slot === undefined ? `${title} stands out in the charts.` : `${title} is grey again.`;
}

function chosenMethods(view) {
  return view.atlas.ranked.filter((m) => slotOf(view, m) !== undefined);
}

// What a method's line, row of the table and box answer to; `redraw` shows what is chosen.
function atlasEvents(view, section, redraw) {
  const methodOf = (target) => target.closest?.("[data-line]"), number = (line) => Number(line.dataset.line);
  const over = (line, x, y) => {
    const m = number(line);
    section.querySelectorAll(".many").forEach((picture) => {
      const own = picture.querySelector(`[data-line="${m}"] .line`), above = picture.querySelector(".over");
      above.setAttribute("d", own ? own.getAttribute("d") : "");
    });
    placeTip([make("strong", {}, view.atlas.methods[m].title), make("span", { class: "what" }, line.querySelector("title").textContent)], x, y);
  };
  const off = () => {
    section.querySelectorAll(".many .over").forEach((above) => above.setAttribute("d", ""));
    hideTip();
  };
  const toggled = (m, chart) => {
    toggle(view, m);
    redraw();
    if (chart) byId(chart).querySelector(`[data-line="${m}"]`)?.focus();
  };
  section.addEventListener("pointermove", (event) => {
    const line = methodOf(event.target);
    if (line) over(line, event.clientX, event.clientY);
    else if (event.target.closest?.(".many")) off();
  });
  section.addEventListener("pointerout", (event) => { if (methodOf(event.target) && !event.relatedTarget?.closest?.(".many")) off(); });
  section.addEventListener("focusin", (event) => {
    const line = methodOf(event.target);
    if (!line?.matches(":focus-visible")) return;
    const at = line.querySelector(".line").getBoundingClientRect();
    over(line, at.right, at.top);
  });
  section.addEventListener("focusout", (event) => { if (methodOf(event.target)) off(); });
  section.addEventListener("click", (event) => {
    const line = methodOf(event.target), row = event.target.closest("tbody tr")?.querySelector("[data-choose]");
    if (line) toggled(number(line), line.closest(".chart").id);
    else if (row && !event.target.closest("label, input, a, button")) toggled(Number(row.dataset.choose));
  });
  section.addEventListener("change", (event) => { if (event.target.dataset.choose !== undefined) toggled(Number(event.target.dataset.choose)); });
  section.addEventListener("keydown", (event) => {
    const line = methodOf(event.target);
    if (!line) return;
    const lines = [...line.closest("svg").querySelectorAll("[data-line]")].sort((one, other) => view.atlas.ranked.indexOf(number(one)) - view.atlas.ranked.indexOf(number(other)));
    const here = lines.indexOf(line), to = { ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") toggled(number(line), line.closest(".chart").id);
    else if (to !== undefined) lines[clamp(to, 0, lines.length - 1)].focus();
    else return;
    event.preventDefault();
  });
}

// Lines of all methods in grey and of the chosen in colour, with their names at the ends. `pointsOf` gives a method's
// points: x and y as shares of the chart, y null for a gap; `low` to `high` a whisker, `each` dots.
function manyLines(view, box, { label, pointsOf, wordsOf, xTicks, yTicks, xTitle, yTitle, high, spread = 0 }) {
  const { atlas } = view, chosen = chosenMethods(view), wide = clamp(box.clientWidth || 900, 320, 1000);
  const named = wide >= 640, left = 44, right = named ? 190 : 14, top = 10, bottom = 40;
  const x = (share) => left + (wide - left - right) * share, y = (share) => high - bottom - (high - bottom - top) * share;
  const picture = draw("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, class: "many", role: "group", "aria-label": `${label}; arrow keys go from method to method, Enter lets one stand out; the table below has the numbers` });
  for (const [share, text] of yTicks) picture.append(draw("path", { d: `M${left} ${y(share)}H${wide - right}`, class: "rule" }), draw("text", { x: left - 6, y: y(share), dy: "0.35em", "text-anchor": "end" }, text));
  for (const [share, text] of xTicks) picture.append(draw("text", { x: x(share), y: high - bottom + 15, "text-anchor": "middle" }, text));
  picture.append(draw("text", { x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle", class: "axis" }, xTitle),
    draw("text", { x: 11, y: (high - bottom) / 2, transform: `rotate(-90 11 ${(high - bottom) / 2})`, "text-anchor": "middle", class: "axis" }, yTitle));
  const ends = [];
  for (const m of [...atlas.ranked].reverse().sort((one, other) => chosen.includes(one) - chosen.includes(other))) {
    const slot = slotOf(view, m), order = chosen.indexOf(m), shift = slot === undefined ? 0 : (order - (chosen.length - 1) / 2) * Math.min(spread, (wide - left - right) / xTicks.length / (chosen.length + 2));
    const points = pointsOf(m).map((point) => ({ ...point, x: x(point.x) + shift, y: point.y === null ? null : y(point.y) }));
    const path = pathOf(points.map((point) => point.x), points.map((point) => point.y ?? NaN), (at) => at, (at) => at);
    const line = draw("g", { "data-line": m, role: "button", tabindex: m === atlas.ranked[0] ? "0" : "-1", "aria-pressed": String(slot !== undefined), "aria-label": `${atlas.methods[m].title}: ${wordsOf(m)}`, class: slot === undefined ? "other" : "picked" },
      draw("title", {}, wordsOf(m)), draw("path", { d: path, class: "hit" }), draw("path", { d: path, class: "line" }));
    picture.append(line);
    if (slot === undefined) continue;
    inColour(line, atlas.slots[slot]);
    for (const point of points.filter((each) => each.y !== null)) {
      if (point.low !== undefined && point.low !== null) line.append(draw("path", { d: `M${point.x} ${y(point.low)}V${y(point.high)}`, class: "whisker" }));
      for (const each of point.each ?? []) line.append(draw("circle", { cx: point.x, cy: y(each), r: 1.6, class: "seed" }));
      line.append(draw("path", { d: markPath(atlas.slots[slot].marker, 4), transform: `translate(${point.x} ${point.y})`, class: point.hollow ? "mark hollow" : "mark" }));
    }
    const last = points.findLast((point) => point.y !== null);
    if (last) ends.push({ m, slot, x: last.x, y: last.y });
  }
  picture.append(draw("path", { class: "over", d: "" }));
  if (named) picture.append(endLabels(view, ends, wide - right, high - bottom));
  const opener = picture.querySelector("[data-line][tabindex='0']") ?? picture.querySelector("[data-line]");
  opener?.setAttribute("tabindex", "0");
  box.replaceChildren(named ? "" : methodKey({ methods: chosen.map((m) => ({ ...atlas.slots[slotOf(view, m)], title: atlas.methods[m].title })) }, chosen.map((_, order) => order)), make("div", { class: "scroll" }, picture));
}

// Names at the lines' ends, moved apart where they would cover each other.
function endLabels(view, ends, right, lowest) {
  const gap = 13, sorted = ends.sort((one, other) => one.y - other.y), places = [];
  for (const { y } of sorted) places.push(Math.max(y, (places.at(-1) ?? -Infinity) + gap));
  for (let i = places.length - 1, limit = lowest; i >= 0 && places[i] > limit; i--, limit = places[i + 1] - gap) places[i] = limit;
  return draw("g", { class: "ends", "aria-hidden": "true" }, sorted.map(({ m, slot, x, y }, i) => inColour(draw("g", {},
    draw("path", { d: `M${x + 6} ${y}L${right + 8} ${places[i]}`, class: "leader" }),
    draw("path", { d: markPath(view.atlas.slots[slot].marker, 3.5), transform: `translate(${right + 14} ${places[i]})`, class: "mark" }),
    draw("text", { x: right + 22, y: places[i], dy: "0.35em" }, view.atlas.methods[m].title)), view.atlas.slots[slot])));
}

function drawAtlasFrontier(view, box) {
  const { atlas, moment } = view, all = atlas.frontiers[moment], deepest = atlas.depths.at(-1), { widths } = atlas;
  byId("atlas-frontier-title").textContent = `${GREATEST_DEPTH}, ${moment} epoch`;
  tell(byId("atlas-frontier-note"), "Grey: every method; in colour, those that are chosen in the table or here by a click or with Enter, at most " + `${atlas.slots.length}.`,
    "The deepest network of each width before the first depth at which fewer than half of the seeds train, counted from the first depth at which half do; hollow at 0: no depth trains.",
    "Bars: 95 % interval over resampled seeds; of few seeds there is none, and dots are each seed's own.");
  const place = (width) => (widths.indexOf(width) + 0.5) / widths.length, share = (depth) => (depth ?? 0) / (deepest * 1.04);
  manyLines(view, box, {
    label: `${GREATEST_DEPTH} over width, every method`, high: 380, spread: 6, xTitle: "width", yTitle: "depth",
    xTicks: widths.map((width) => [place(width), String(width)]), yTicks: roundTicks(deepest).map((tick) => [share(tick), String(tick)]),
    pointsOf: (m) => all[m].map((point) => ({ x: place(point.width), y: isUntrained(point) ? null : share(point.depth), hollow: point.depth === null,
      low: point.low === null ? null : share(point.low), high: point.high === null ? null : share(point.high),
      each: point.low === null && point.each.length > 1 ? point.each.map(share) : [] })),
    wordsOf: (m) => all[m].map((point) => `width ${point.width}: ${frontierText(point)}`).join("; "),
  });
  const rows = atlas.ranked.map((m) => [atlas.methods[m].title, ...widths.map((width) => {
    const point = all[m].find((each) => each.width === width);
    return point ? frontierText(point) : "–";
  })]);
  inDetails(byId("atlas-frontier-table"), table(["method", ...widths.map((width) => `width ${width}`)], rows, `${GREATEST_DEPTH}, ${moment} epoch`, {
    name: `${atlas.study}_frontier_${moment}`, columns: ["method", "width", "depth", "low", "high", "is_at_least", "is_trained", "seeds"],
    lines: atlas.ranked.flatMap((m) => all[m].map((point) => [atlas.methods[m].label, point.width, point.depth, point.low, point.high, point.open, !isUntrained(point), point.seeds])) }));
}

function drawProfiles(view, box) {
  const { atlas, moment } = view, { thresholds, share, low, high } = atlas.profiles, own = share[moment];
  tell(byId("atlas-profiles-note"), `The share of places that at least so many of the seeds train, ${moment} epoch: the higher, the more; a flat line trains all seeds of a place or none.`,
    low[moment].flat().some((each) => each !== null) ? "Bars: 95 % interval over resampled seeds, of each point by itself." : "");
  const percent = (value) => `${Math.round(100 * value)} %`;
  manyLines(view, box, {
    label: "Share of places over the share of seeds that train there, every method", high: 320, spread: 3, xTitle: "at least so many of the seeds train", yTitle: "share of places",
    xTicks: [0, 0.25, 0.5, 0.75, 1].map((tick) => [tick, percent(tick)]), yTicks: [0, 0.25, 0.5, 0.75, 1].map((tick) => [tick / 1.04, String(tick)]),
    pointsOf: (m) => thresholds.map((threshold, i) => ({ x: threshold, y: own[m][i] === null ? null : own[m][i] / 1.04,
      low: low[moment][m][i] === null ? null : low[moment][m][i] / 1.04, high: high[moment][m][i] === null ? null : high[moment][m][i] / 1.04 })),
    wordsOf: (m) => thresholds.map((threshold, i) => `${percent(threshold)}: ${own[m][i] === null ? "none" : own[m][i].toFixed(3)}`).join("; "),
  });
  inDetails(byId("atlas-profiles-table"), table(["method", ...thresholds.map(percent)], atlas.ranked.map((m) => [atlas.methods[m].title, ...own[m].map((value) => value === null ? "–" : value.toFixed(3))]), `Performance profiles, ${moment} epoch`, {
    name: `${atlas.study}_profiles_${moment}`, columns: ["method", "at_least", "share", "low", "high"],
    lines: atlas.ranked.flatMap((m) => thresholds.map((threshold, i) => [atlas.methods[m].label, threshold, own[m][i], low[moment][m][i], high[moment][m][i]])) }));
}

// A chart's numbers as a table, folded; one that was open stays so.
function inDetails(box, content) {
  const open = box.querySelector("details")?.open ?? false, details = make("details", {}, make("summary", {}, "The numbers"), content);
  details.open = open;
  box.replaceChildren(details);
}

// Two dots a row, hollow then full, joined by a line; each `{ value, low, high }` between 0 and 1, or null.
function rowChart(box, { label, rows, names, guess, xTitle, ticks }) {
  const wide = clamp(box.clientWidth || 700, 320, 760), left = Math.min(210, wide * 0.42), right = 16, step = 17, top = 8, high = top + rows.length * step + 38;
  const x = (share) => left + (wide - left - right) * share, bottom = high - 38;
  const picture = draw("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, class: "rows", role: "img", "aria-label": `${label}; the table below has the numbers` });
  for (const tick of ticks) picture.append(draw("path", { d: `M${x(tick)} ${top}V${bottom}`, class: "rule" }), draw("text", { x: x(tick), y: bottom + 15, "text-anchor": "middle" }, String(tick)));
  if (guess) picture.append(draw("path", { d: `M${x(guess)} ${top}V${bottom}`, class: "guess" }));
  picture.append(draw("text", { x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle", class: "axis" }, xTitle));
  rows.forEach(({ title, dots }, row) => {
    const y = top + (row + 0.5) * step, known = dots.filter((dot) => dot !== null);
    picture.append(draw("text", { x: left - 8, y, dy: "0.35em", "text-anchor": "end" }, title));
    if (known.length > 1) picture.append(draw("path", { d: `M${x(known[0].value)} ${y}H${x(known[1].value)}`, class: "join" }));
    dots.forEach((dot, which) => {
      if (dot === null) return;
      const at = y + (dot.low === null ? 0 : which ? 2.5 : -2.5);
      if (dot.low !== null) picture.append(draw("path", { d: `M${x(dot.low)} ${at}H${x(dot.high)}`, class: `spread dot${which}` }));
      picture.append(draw("circle", { cx: x(dot.value), cy: at, r: 4, class: `dot${which}`, "data-row": row, "data-value": dot.value },
        draw("title", {}, `${title}, ${names[which]}: ${dot.value.toFixed(3)} ${interval(dot.low, dot.high, "fraction")}`)));
    });
  });
  const key = make("div", { class: "keys-of-methods" }, names.map((name, which) => make("span", {}, draw("svg", { width: 12, height: 12, "aria-hidden": "true" }, draw("circle", { cx: 6, cy: 6, r: 4, class: `dot${which}` })), name)));
  box.replaceChildren(key, make("div", { class: "scroll" }, picture));
}

function drawPrediction(atlas, box) {
  const { rows, unknown } = atlas.prediction, names = ["before training", `after epoch ${atlas.early.toLocaleString("en")}`];
  tell(byId("atlas-census-note"), "The probability that a network that trains has fewer dead and linear units than one of the same method that does not, ties one half: 0.5 tells nothing.",
    "The table has the same within places: among networks of one depth and width, which can then tell nothing.",
    rows.some((each) => [each.start, each.early].some((of) => of !== null && of.low !== null)) ? "Bars: 95 % interval over resampled seeds." : `No interval of fewer than ${atlas.least_bootstrap} seeds.`,
    unknown.length ? `Without one (a smooth activation, no census in the store, or all networks train, or none): ${unknown.map((m) => atlas.methods[m].title).join(", ")}.` : "");
  byId("atlas-census-table").replaceChildren();
  if (!rows.length) return box.replaceChildren(make("p", {}, "No method has both a census and networks of either kind."));
  rowChart(box, { label: "How well the census predicts which networks train: AUC, every method", names, guess: 0.5, ticks: [0, 0.25, 0.5, 0.75, 1], xTitle: "area under the ROC curve",
    rows: rows.map((each) => ({ title: atlas.methods[each.method].title, dots: [each.start, each.early] })) });
  const text = (of) => of === null ? "–" : `${of.value.toFixed(3)} ${interval(of.low, of.high, "fraction")}`, all = [["start", names[0]], ["early", names[1]], ["start_within", `${names[0]}, within places`], ["early_within", `${names[1]}, within places`]];
  inDetails(byId("atlas-census-table"), table(["method", ...all.map(([, words]) => words), "pairs within"], rows.map((each) => [atlas.methods[each.method].title, ...all.map(([name]) => text(each[name])), each.pairs.toLocaleString("en")]), "AUC of the census", {
    name: `${atlas.study}_census`, columns: ["method", ...all.flatMap(([name]) => [name, `${name}_low`, `${name}_high`]), "pairs_within"],
    lines: rows.map((each) => [atlas.methods[each.method].label, ...all.flatMap(([name]) => [each[name]?.value, each[name]?.low, each[name]?.high]), each.pairs]) }));
}

function drawStability(atlas, box) {
  const rows = atlas.stability;
  tell(byId("atlas-stability-note"), "By rank. Bars: Wilson's 95 % interval, as if networks were independent; those of one seed share its luck.");
  rowChart(box, { label: "Share of networks that train at the best and at the last epoch, every method", names: ["best epoch", "last epoch"], guess: null, ticks: [0, 0.25, 0.5, 0.75, 1], xTitle: "share of networks that train",
    rows: rows.map((each) => ({ title: atlas.methods[each.method].title, dots: [each.best, each.last] })) });
  const share = (of) => of === null ? "–" : `${of.value.toFixed(3)} ${interval(of.low, of.high, "fraction")}`;
  inDetails(byId("atlas-stability-table"), table(["method", "networks", "train, best epoch", "train, last epoch", "share of the former lost at the last"], rows.map((each) => [atlas.methods[each.method].title, each.networks.toLocaleString("en"), share(each.best), share(each.last), share(each.lost)]), "Best against last epoch", {
    name: `${atlas.study}_stability`, columns: ["method", "networks", "best", "best_low", "best_high", "last", "last_low", "last_high", "trained_best", "trained_last", "lost", "lost_low", "lost_high"],
    lines: rows.map((each) => [atlas.methods[each.method].label, each.networks, each.best?.value, each.best?.low, each.best?.high, each.last?.value, each.last?.low, each.last?.high, each.trained_best, each.trained_last, each.lost?.value, each.lost?.low, each.lost?.high]) }));
}
