// The atlas: many methods on one grid, by rank. Which of them stand out is chosen in the table and in the charts.

const MOST_LACKING = 6;  // methods that a note names

const SHARES_SCALE = { low: 0, high: 1, kind: "fraction" };

class Atlas {
  constructor(contents, index) {
    Object.assign(this, contents.head.atlases[index]);
    this.contents = contents;
    this.name = `atlas${index}`;
    this.ranked = this.ranking.map((each) => each.method);
  }

  rankOf(m) {
    return this.ranking[this.ranked.indexOf(m)];
  }

  // A number of one place: `seeds`, or of an epoch's share that trains `trained_last`, `trained_last.low`, `….high`.
  at(name, m, d, w) {
    return this.contents.get(`${this.name}.${name}`)[(m * this.depths.length + d) * this.widths.length + w];
  }

  // The share of a place's seeds that train, NaN without a seed.
  share(m, d, w, moment) {
    const seeds = this.at("seeds", m, d, w);
    return seeds ? this.at(`trained_${moment}`, m, d, w) / seeds : NaN;
  }
}

// Draws the atlases of the page, if it has any; gives what draws them again in another width.
async function startAtlases(contents, actions) {
  const section = byId("atlas");
  if (!section) return () => {};
  await contents.loadAll("atlas");
  const atlases = contents.head.atlases.map((_, index) => new Atlas(contents, index));
  const view = { atlas: null, moment: "last", chosen: [], order: [] };  // chosen by colour, and in what order
  const show = (study) => {
    view.atlas = atlases.find((atlas) => atlas.study === study);
    view.chosen = [];
    view.order = [];
    view.atlas.emphasised.forEach((m) => choose(view, m));
    byId("atlas-study").value = study;
    drawAtlas(view, actions);
  };
  choices(byId("atlas-study"), atlases.map((atlas) => [atlas.study, atlas.title]));
  byId("atlas-study").addEventListener("change", (event) => show(event.target.value));
  section.querySelectorAll("[name=atlas-moment]").forEach((input) => {
    input.checked = input.value === view.moment;
    input.addEventListener("change", () => { view.moment = input.value; drawAtlasCharts(view); });
  });
  section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  atlasEvents(view, section, () => drawChosen(view));
  show(atlases[0].study);
  return () => drawAtlasCharts(view);
}

function drawAtlas(view, actions) {
  const { atlas } = view;
  tell(byId("atlas-note"),
    `${atlas.title}. Every method has the learning rate at which its mean training ${atlas.score} at the last epoch was highest on a coarse grid.`,
    `A network trains if its training ${atlas.score} is ${Number(atlas.threshold.toPrecision(4))} or more.`,
    `Of ${plural(atlas.places, "place")} of depth × width times ${plural(atlas.methods.length, "method")}, ${atlas.missing ? `${atlas.missing.toLocaleString("en")} are not trained yet: numbers of methods that lack places can change.` : "all are trained."}`);
  drawRanking(view, byId("atlas-ranking"));
  byId("atlas-commands").replaceChildren(...commandLine("atlas-train", "The command that trains it", atlas.commands.train, actions),
    ...commandLine("atlas-draw", "The command that draws its figures and tables", atlas.commands.draw, actions));
  drawAtlasCharts(view);
}

function drawAtlasCharts(view) {
  drawChosen(view);
  drawMultiples(view, byId("atlas-multiples"));
  drawPrediction(view.atlas, byId("atlas-census"));
  drawStability(view.atlas, byId("atlas-stability"));
}

// What shows which methods are chosen.
function drawChosen(view) {
  hideTip();
  drawAtlasFrontier(view, byId("atlas-frontier"));
  drawProfiles(view, byId("atlas-profiles"));
  byId("atlas").querySelectorAll("[data-choose]").forEach((box) => { box.checked = slotOf(view, Number(box.dataset.choose)) !== undefined; });
}

// To the method's heatmap among the page's studies.
function linkToCells(atlas, method, moment) {
  const study = atlas.contents.head.studies[method.cells];
  return `#${new URLSearchParams({ study: study.slug, metric: SHARE.column, epoch: moment, method: method.label })}`;
}

// The ranking

function drawRanking(view, box) {
  const { atlas } = view, three = (value) => value === null ? "–" : value.toFixed(3);
  const range = (of) => of === null || of.low === null ? "" : ` [${three(of.low)}, ${three(of.high)}]`;
  const over = (of) => of === null ? "–" : `${three(of.value)}${range(of)}`;
  const p = (of) => of === null || of.p === null ? "–" : of.p < 0.001 ? "< 0.001" : of.p.toFixed(3);
  const title = (each) => atlas.methods[each.method].title;
  const columns = [
    ["rank", (each) => rankText(each), (each) => each.rank],
    ["method", (each) => make("label", { class: "choose" }, make("input", { type: "checkbox", "data-choose": each.method }), title(each)), title],
    ["learning rate", (each) => String(atlas.methods[each.method].rate), (each) => atlas.methods[each.method].rate],
    ["seeds", (each) => seedsOf(atlas.methods[each.method]), (each) => atlas.methods[each.method].most_seeds],
    ["area, last epoch", (each) => three(each.area_last.value) + range(each.area_last) + (each.lacking ? " †" : ""), (each) => each.area_last.value],
    ["area, best epoch", (each) => three(each.area_best.value), (each) => each.area_best.value],
    ["share that trains, last", (each) => three(each.trains_last), (each) => each.trains_last],
    ["best", (each) => three(each.trains_best), (each) => each.trains_best],
    ...atlas.baselines.flatMap((baseline) => [
      [`better than ${baseline.title}`, (each) => over(each.over[baseline.label]), (each) => each.over[baseline.label]?.value],
      ["p", (each) => p(each.over[baseline.label]), (each) => each.over[baseline.label]?.p]]),
    ["time, × ReLU", (each) => each.cost === null ? "–" : each.cost.value.toFixed(2) + (each.cost.low === null ? "" : ` (${each.cost.low.toFixed(2)}–${each.cost.high.toFixed(2)})`), (each) => each.cost?.value],
    ["parameters, × ReLU", (each) => each.parameters === null ? "–" : each.parameters.toFixed(2), (each) => each.parameters],
  ];
  const ranked = table(columns.map(([name]) => name), atlas.ranking.map((each) => columns.map(([, shownOf]) => shownOf(each))), `Ranking, ${atlas.study}`, {
    name: `${atlas.study}_ranking`,
    columns: ["rank", "least_rank", "greatest_rank", "method", "learning_rate", "fewest_seeds", "most_seeds", "lacking", "area_last", "area_last_low", "area_last_high", "area_best", "area_best_low", "area_best_high", "trains_last", "trains_best",
      ...atlas.baselines.flatMap(({ label }) => ["improves_on", "low", "high", "p"].map((name) => `${name}_${label}`)), "time_median", "time_lower_quartile", "time_upper_quartile", "parameters"],
    lines: atlas.ranking.map((each) => {
      const method = atlas.methods[each.method];
      return [each.rank, ...(each.ranks ?? [null, null]), method.label, method.rate, method.fewest_seeds, method.most_seeds, each.lacking, each.area_last.value, each.area_last.low, each.area_last.high, each.area_best.value, each.area_best.low, each.area_best.high, each.trains_last, each.trains_best,
        ...atlas.baselines.flatMap(({ label }) => ["value", "low", "high", "p"].map((name) => each.over[label]?.[name])), each.cost?.value, each.cost?.low, each.cost?.high, each.parameters];
    }) });
  sortable(ranked, atlas.ranking.map((each) => columns.map(([, , keyOfColumn]) => keyOfColumn(each) ?? null)));
  const lacking = atlas.ranking.filter((each) => each.lacking).sort((one, other) => other.lacking - one.lacking), has = (name) => atlas.ranking.some((each) => each[name]);
  box.replaceChildren(ranked, tell(make("div", { class: "note" }),
    "Area: the mean over the grid's widths of the greatest depth that trains, counted from the first that does, as a share of the deepest; a width without one counts 0.",
    has("ranks") ? "Its intervals (95 %) hold for all methods at once: seeds are resampled together. In brackets behind a rank: the ranks that are not excluded." : `There is no interval of fewer than ${atlas.least_bootstrap} seeds that all methods have: resampling so few gives intervals that are too short.`,
    lacking.length ? `†: fewer seeds than another method at some places, so that the area may be too small; the most at ${lacking.slice(0, MOST_LACKING).map((each) => `${plural(each.lacking, "place")} of ${atlas.methods[each.method].title}`).join(", ")}.` : "",
    "Better than: how often a method's training score at the last epoch is above the other's at the same place and seed, ties one half; a mean over places, with an interval over seeds where there are enough.",
    `P-values flip the signs of whole seeds and are corrected for the number of methods (Westfall and Young, step-down)${atlas.least_p === null ? "" : `; with so many seeds none can be below ${atlas.least_p.toPrecision(2)}`}.`,
    "Time: the median of the ratios at the same place and seed by one engine on one device, with quartiles; cells are trained side by side, so it is rough. Parameters: the median over places."));
}

function rankText(each) {
  return each.ranks && each.ranks[0] !== each.ranks[1] ? `${each.rank} (${each.ranks[0]}–${each.ranks[1]})` : String(each.rank);
}

function seedsOf(method) {
  return method.fewest_seeds === method.most_seeds ? String(method.most_seeds) : `${method.fewest_seeds}–${method.most_seeds}`;
}

// Lets a table be ordered by its columns; `keys` are each row's numbers and texts to order by, null comes last.
function sortable(tabled, keys) {
  const heads = [...tabled.querySelectorAll("thead th")], body = tabled.querySelector("tbody"), rows = [...body.children];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", class: "sort" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const order = rows.map((_, row) => row).sort((one, other) => {
        const [a, b] = [keys[one][column], keys[other][column]];
        if (a === null || b === null) return (a === null) - (b === null) || one - other;
        return way * (typeof a === "string" ? a.localeCompare(b, "en") : a - b) || one - other;
      });
      body.append(...order.map((row) => rows[row]));
    });
  });
}

// Small multiples: a heatmap a method, by rank.

function drawMultiples(view, box) {
  const { atlas, moment } = view;
  byId("atlas-legend").replaceChildren(colourBar(SHARES_SCALE, `share of seeds that train, ${moment} epoch`));
  tell(byId("atlas-multiples-note"), `Depth ${atlas.depths[0]} to ${atlas.depths.at(-1)} to the right, width ${atlas.widths[0]} to ${atlas.widths.at(-1)} upwards, a step each; by rank.`,
    "Point at a place for its number; a click opens the method's cells.");
  box.replaceChildren(...atlas.ranking.map((each) => make("li", {}, multiple(atlas, each, moment))));
}

function multiple(atlas, each, moment) {
  const m = each.method, method = atlas.methods[m], depths = atlas.depths.length, widths = atlas.widths.length;
  const size = { x: clamp(150 / depths, 4, 18), y: clamp(66 / widths, 6, 14) }, wide = depths * size.x, high = widths * size.y;
  const fills = new Map();  // a path a colour: dozens of these pictures stand on the page
  for (let d = 0; d < depths; d++) {
    for (let w = 0; w < widths; w++) {
      const share = atlas.share(m, d, w, moment), fillOf = Number.isNaN(share) ? "url(#hatch-missing)" : colourOf(SHARES_SCALE, share);
      const x = (d * size.x).toFixed(2), y = ((widths - 1 - w) * size.y).toFixed(2);
      fills.set(fillOf, `${fills.get(fillOf) ?? ""}M${x} ${y}h${size.x.toFixed(2)}v${size.y.toFixed(2)}h${(-size.x).toFixed(2)}z`);
    }
  }
  const share = moment === "last" ? each.trains_last : each.trains_best;
  const told = share === null ? "no network" : `${(100 * share).toFixed(1)} % train`;
  const picture = draw("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, "data-multiple": m, "aria-hidden": "true" },
    [...fills].map(([fillOf, path]) => draw("path", { d: path, fill: fillOf })), draw("rect", { width: wide, height: high, class: "frame" }));
  const shownAt = (event) => {
    const at = picture.getBoundingClientRect();
    const d = clamp(Math.floor((event.clientX - at.left) / at.width * depths), 0, depths - 1), w = clamp(widths - 1 - Math.floor((event.clientY - at.top) / at.height * widths), 0, widths - 1);
    placeTip([make("strong", {}, `${method.title} ${atlas.depths[d]}×${atlas.widths[w]}`), make("span", { class: "what" }, placeText(atlas, m, d, w, moment))], event.clientX, event.clientY);
  };
  picture.addEventListener("pointermove", (event) => event.pointerType === "touch" ? hideTip() : shownAt(event));
  picture.addEventListener("pointerleave", hideTip);
  const name = `Rank ${each.rank}, ${method.title}: ${told}, ${moment} epoch`;
  const inside = [make("span", { class: "name-of" }, `${each.rank} · ${method.title}`), make("span", { class: "soft" }, told), picture];
  return method.cells !== null ? make("a", { href: linkToCells(atlas, method, moment), class: "to-cells multiple", "aria-label": `${name}; its cells` }, ...inside)
    : make("div", { class: "multiple", role: "img", "aria-label": name }, ...inside);
}

function placeText(atlas, m, d, w, moment) {
  const seeds = atlas.at("seeds", m, d, w);
  if (!seeds) return "not in the store";
  const ends = ["low", "high"].map((end) => atlas.at(`trained_${moment}.${end}`, m, d, w));
  return `${atlas.at(`trained_${moment}`, m, d, w)} of ${plural(seeds, "seed")} train, ${moment} epoch ${interval(...ends, "fraction")}`;
}
