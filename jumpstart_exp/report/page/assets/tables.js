// Tables: each method in numbers, what the papers state, and how the results were made.

function drawSummary(study, state, box, note) {
  const moment = study.fitMoment(state.moment), summary = study.summary[moment];
  tell(note,
    `${study.title}, ${moment} epoch: a network trains if its training ${study.score} is ${Number(study.threshold.toPrecision(4))} or more.`,
    `A depth-width pair is won by the highest mean over the seeds that all methods have (training: ${summary.compared.train_acc} pairs compared, ${summary.ties.train_acc} ties; validation: ${summary.compared.val_acc}, ${summary.ties.val_acc} ties).`,
    `The share that trains is the mean over the depths and widths of the share of seeds${study.isFew(null) ? ", beside it the range of the seeds" : "; its 95 % interval is Student's t over whole seeds, or of few or equal seeds there is their range"}.`);
  const best = (each) => each ? `${shown(each.accuracy, "fraction")} at ${each.depth}×${each.width}` : "–";
  const rows = summary.methods.map((each, m) => [
    study.methods[m].title, each.networks.toLocaleString("en"), String(each.seeds),
    each.trained.toLocaleString("en"), each.share === null ? "–" : each.share.toFixed(3),
    each.low !== null ? `[${each.low.toFixed(3)}, ${each.high.toFixed(3)}]` : each.least !== null ? `range ${each.least.toFixed(3)} to ${each.most.toFixed(3)}` : "–",
    best(each.best.train_acc), best(each.best.val_acc),
    `${each.wins.train_acc} / ${each.wins.val_acc}`, String(each.diverged), String(each.failed)]);
  box.replaceChildren(table(["method", "networks", "seeds", "that train", "share that trains", study.isFew(null) ? "range of the seeds" : "95 % interval or range", `best training ${study.score}`, `best validation ${study.score}`, "pairs won (train / val)", "diverged", "failed"], rows,
    `Each method, ${moment} epoch`, {
      name: `${study.slug}_methods_${moment}`,
      columns: ["method", "networks", "seeds", "trained", "share_trained", "low", "high", "least", "most", ...ACCURACIES.flatMap((name) => [`${name}_highest`, `${name}_highest_depth`, `${name}_highest_width`, `${name}_pairs_won`]), "diverged", "failed"],
      lines: summary.methods.map((each, m) => [study.methods[m].label, each.networks, each.seeds, each.trained, each.share, each.low, each.high, each.least, each.most,
        ...ACCURACIES.flatMap((name) => [each.best[name]?.accuracy, each.best[name]?.depth, each.best[name]?.width, each.wins[name]]), each.diverged, each.failed]) }));
}

function drawClaims(head, section, link, box) {
  if (!head.claims.length && !head.layouts.length) return;
  section.hidden = link.hidden = false;
  box.replaceChildren(...layoutParts(head), ...claimParts(head));
}

// By their names in the address: the cells that statements and comparisons are about, and what is said of them.
function claimedCells(head) {
  const ofClaims = head.claims.flatMap((claim) => claim.findings.map((finding) =>
    [`${claim.name},${finding.variant}`, { words: `“${claim.statement}” (${claim.place})`, metric: claim.metric, parts: finding.cells }]));
  const ofLayouts = head.layouts.flatMap((own, index) => own.cells.map((parts, v) =>
    [`layouts-${index},${v}`, { words: `which layout is nearer, ${own.methods}: ${own.variants[v]}`, metric: "train_acc", parts }]));
  return new Map([...ofClaims, ...ofLayouts]);
}

// Links to these cells: to their study with them outlined, and to the panel of a single one.
function cellLinks(head, name) {
  const { metric, parts } = claimedCells(head).get(name);
  return parts.map((part, index) => {
    const study = head.studies[part.study], words = new URLSearchParams({ study: study.slug, metric, epoch: "best" });
    const places = part.depths.length * part.widths.length, [label, ...others] = part.methods.map((m) => study.methods[m].label);
    if (!others.length) words.set("method", label);
    if (!others.length && places === 1) words.set("cell", [study.depths[part.depths[0]], study.widths[part.widths[0]], "", label].join(","));
    words.set("claim", name);
    return make("span", { class: "of-cells" }, make("a", { href: `#${words}`, class: "to-cells", title: study.title },
      `${plural(part.count, "cell")}${parts.length > 1 ? `, ${index + 1} of ${parts.length}` : ""}`));
  });
}

const ACCURACIES = ["train_acc", "val_acc"];

const LAYOUT_MEASURES = { distance: "mean absolute difference", agreement: "same side of the threshold" };

// Which layout of the MOONS network is nearer to the published figure: the answer, and its numbers method by method.
function layoutParts(head) {
  const layouts = head.layouts;
  if (!layouts.length) return [];
  const rows = layouts.flatMap((own) => own.measures.map((measure) => [own.methods, LAYOUT_MEASURES[measure.name] || measure.name,
    ...measure.of.map((each) => each.words), measure.difference.words, measure.nearer, String(own.places), own.seeds ? String(own.seeds) : "–"]));
  const hasInterval = layouts.some((own) => own.measures.some((measure) => [...measure.of, measure.difference].some((each) => each.low !== null && each.low !== undefined)));
  return [
    make("h3", {}, "Which layout of the MOONS network reproduces the published figure?"),
    make("p", { id: "layouts-verdict" }, `For ${layouts[0].methods}: ${layouts[0].verdict}`),
    tell(make("div", { class: "note" }), "Training accuracy at the best epoch, every seed of ours against the published one; in brackets "
        + (hasInterval ? "95 % intervals by Student's t over whole seeds, or their range where it says so." : "the range of the seeds."),
      "The difference is MLP minus 2×1, paired by seed and place.", "A small distance is near; a large share on the published one's side of the training threshold is.",
      ...layouts[0].lost.map((words) => `${words}: left out of the mean absolute difference, counted as not trained.`)),
    make("div", { class: "layouts" }, table(["methods", "measure", ...layouts[0].variants, "difference", "nearer", "places", "seeds in common"], rows, "The layouts against the published figure", {
      name: "layouts", columns: ["methods", "measure", "of", "value", "low", "high", "nearer", "places", "seeds"],
      lines: layouts.flatMap((own) => own.measures.flatMap((measure) => [...measure.of, measure.difference].map((each, index) =>
        [own.methods, measure.name, own.variants[index] || "difference", each.value, each.low, each.high, measure.nearer, own.places, own.seeds]))) })),
    make("div", { class: "cells-of-layouts" }, layouts.flatMap((own, index) => own.variants.map((title, v) => own.cells[v].length
      ? make("div", {}, `${own.methods}, ${title}: `, ...cellLinks(head, `layouts-${index},${v}`)) : null))),
    make("h3", {}, "Statement by statement"),
  ];
}

const MEASURE = ["value", "low", "high", "count", "unit"];

function claimParts(head) {
  const claims = head.claims;
  if (!claims.length) return [];
  const variants = { paper: "the papers' words", code: "the authors' code" };
  const verdict = (claim) => (finding) => make("div", {}, make("span", { class: `verdict ${finding.mark}` }, finding.verdict),
    finding.ours ? make("div", {}, finding.ours) : null, finding.note ? make("div", { class: "soft" }, finding.note) : null,
    finding.cells.length ? make("div", {}, ...cellLinks(head, `${claim.name},${finding.variant}`)) : null, finding.command ? make("code", {}, finding.command) : null);
  const heads = ["statement", "published", "counts as reproduced", ...claims[0].findings.map((each) => `ours, ${variants[each.variant] || each.variant}`)];
  const tableOf = (some, title, name) => table(heads, some.map((each) => [
      make("div", {}, each.statement, each.quote ? make("details", { class: "soft", title: each.quote }, make("summary", {}, each.place), make("q", {}, each.quote)) : make("div", { class: "soft" }, each.place)),
      make("div", {}, each.published, each.by_table ? make("div", { class: "soft" }, `by the authors' table: ${each.by_table}`) : null),
      make("div", {}, each.measured, make("div", { class: "soft" }, each.criterion)),
      ...each.findings.map(verdict(each))]), title, {
    name, columns: ["name", "place", "statement", "quote", "published", "by_table", "measured", "criterion", "variant", "verdict", "ours", ...MEASURE, "note", "command"],
    lines: some.flatMap((each) => each.findings.map((finding) => [each.name, each.place, each.statement, each.quote, each.published, each.by_table, each.measured, each.criterion,
      finding.variant, finding.verdict, finding.ours, ...MEASURE.map((part) => finding.measure?.[part]), finding.note, finding.command])) });
  const trained = claims.filter((each) => each.is_trained), others = claims.filter((each) => !each.is_trained);
  return [trained.length ? tableOf(trained, "Statements with a verdict", "claims") : null,
    others.length ? make("details", { id: "untrained-claims" }, make("summary", {}, `Not trained: ${plural(others.length, "statement")}`), tableOf(others, "Statements that are not trained", "claims_not_trained")) : null].filter(Boolean);
}

function drawMade(head, box) {
  const pairs = head.made.map((line) => [line.name, make("ul", {}, line.texts.map((text) => make("li", {}, text)))]);
  const { points, longest, names } = head.curves;
  const census = ["training and validation accuracy or R², to 1/250", names.includes("train_loss") ? "losses, to 1 %" : "losses had no room",
    names.includes("dead_units") ? "dead units and dead points, to 1/250" : "dead units and points had no room"].join("; ");
  pairs.push(["curves on this page", make("ul", {},
    make("li", {}, points < longest ? `${points} of up to ${longest} stored points a cell: the first, the last, the highest and lowest accuracies and losses, and the others evenly` : `all stored points, up to ${points} a cell`),
    make("li", {}, census))]);
  pairs.push(["other numbers", make("ul", {},
    make("li", {}, "accuracies, R² and shares are rounded to 1/65,500; losses, penalties and seconds to one part in a thousand; the store has them in full"),
    make("li", {}, "intervals, nominally 95 %: of a place's share of seeds Wilson's, whose coverage is lowest just beside 0 and 1 (0.79 of one seed, 0.83 of six)"),
    make("li", {}, `of means Student's t over whole seeds, from ${head.least_seeds} seeds on and where they do not all agree; of frontiers a bootstrap over whole seeds, from 10 on (of their ratio ${head.least_seeds}); of fewer the seeds themselves are shown`),
    make("li", {}, "results that differ in a setting are never averaged, but for the summaries over depths and widths that say so"))]);
  const sources = [...new Set(head.studies.flatMap((study) => study.published ? study.published.sources : []))];
  pairs.push(["published values", make("ul", {}, (sources.length ? sources : ["none on this page"]).map((text) => make("li", {}, text)))]);
  box.replaceChildren(definitions(pairs));
}
