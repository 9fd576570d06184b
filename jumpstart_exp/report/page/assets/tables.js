// Tables: each method in numbers, what the papers state, and how the results were made.

function drawSummary(study, state, box, note) {
  const moment = study.fitMoment(state.moment), summary = study.summary[moment];
  note.textContent = `${study.title}, ${moment} epoch. A network trains if its training accuracy is ${Number(study.threshold.toPrecision(4))} or more; a depth-width pair is won by the `
    + `highest mean over the seeds that all methods have (training: ${summary.compared.train_acc} pairs compared, ${summary.ties.train_acc} ties; validation: ${summary.compared.val_acc}, ${summary.ties.val_acc} ties). `
    + "The share that trains is the mean over the depths and widths of the share of seeds; its 95 % interval is over resampled whole seeds.";
  const best = (each) => each ? `${shown(each.accuracy, "fraction")} at ${each.depth}×${each.width}` : "–";
  const rows = summary.methods.map((each, m) => [
    study.methods[m].title, each.networks.toLocaleString("en"), String(each.seeds),
    each.trained.toLocaleString("en"), each.share === null ? "–" : each.share.toFixed(3),
    each.low === null ? "–" : `[${each.low.toFixed(3)}, ${each.high.toFixed(3)}]`,
    best(each.best.train_acc), best(each.best.val_acc),
    `${each.wins.train_acc} / ${each.wins.val_acc}`, String(each.diverged), String(each.failed)]);
  box.replaceChildren(table(["method", "networks", "seeds", "that train", "share that trains", "95 % interval", "best training accuracy", "best validation accuracy", "pairs won (train / val)", "diverged", "failed"], rows));
}

function drawClaims(head, section, link, box) {
  if (!head.claims.length && !head.layouts.length) return;
  section.hidden = link.hidden = false;
  box.replaceChildren(...layoutParts(head.layouts), ...claimParts(head.claims));
}

const LAYOUT_MEASURES = { distance: "mean absolute difference", agreement: "same side of the threshold" };

// Which layout of the MOONS network is nearer to the published figure: the answer, and its numbers method by method.
function layoutParts(layouts) {
  if (!layouts.length) return [];
  const rows = layouts.flatMap((own) => own.measures.map((measure) => [own.methods, LAYOUT_MEASURES[measure.name] || measure.name,
    ...measure.of, measure.difference, measure.nearer, String(own.places), own.seeds ? String(own.seeds) : "–"]));
  return [
    make("h3", {}, "Which layout of the MOONS network reproduces the published figure?"),
    make("p", { id: "layouts-verdict" }, `For ${layouts[0].methods}: ${layouts[0].verdict}`),
    make("p", { class: "note" }, "Training accuracy at the best epoch, every seed of ours against the published one; in brackets 95 % intervals over seeds. "
      + "The difference is MLP minus 2×1, paired by seed and place. A small distance is near; a large share on the published one's side of the training threshold is."
      + layouts[0].lost.map((words) => ` ${words}: left out of the mean absolute difference, counted as not trained.`).join("")),
    make("div", { class: "layouts" }, table(["methods", "measure", ...layouts[0].variants, "difference", "nearer", "places", "seeds in common"], rows, "The layouts against the published figure")),
    make("h3", {}, "Statement by statement"),
  ];
}

function claimParts(claims) {
  if (!claims.length) return [];
  const variants = { paper: "the papers' words", code: "the authors' code" };
  const verdict = (finding) => make("div", {}, make("span", { class: `verdict ${finding.mark}` }, finding.verdict),
    finding.ours ? make("div", {}, finding.ours) : null, finding.note ? make("div", { class: "soft" }, finding.note) : null,
    finding.command ? make("code", {}, finding.command) : null);
  const heads = ["statement", "published", "counts as reproduced", ...claims[0].findings.map((each) => `ours, ${variants[each.variant] || each.variant}`)];
  const tableOf = (some) => table(heads, some.map((each) => [
      make("div", {}, each.statement, each.quote ? make("details", { class: "soft", title: each.quote }, make("summary", {}, each.place), make("q", {}, each.quote)) : make("div", { class: "soft" }, each.place)),
      make("div", {}, each.published, each.by_table ? make("div", { class: "soft" }, `by the authors' table: ${each.by_table}`) : null),
      make("div", {}, each.measured, make("div", { class: "soft" }, each.criterion)),
      ...each.findings.map(verdict)]));
  const trained = claims.filter((each) => each.is_trained), others = claims.filter((each) => !each.is_trained);
  return [trained.length ? tableOf(trained) : null,
    others.length ? make("details", { id: "untrained-claims" }, make("summary", {}, `Not trained: ${plural(others.length, "statement")}`), tableOf(others)) : null].filter(Boolean);
}

function drawMade(head, box) {
  const pairs = head.made.map((line) => [line.name, make("ul", {}, line.texts.map((text) => make("li", {}, text)))]);
  const { points, longest, names } = head.curves;
  const census = names.includes("dead_units") ? "training and validation accuracy, dead units and dead points" : "training and validation accuracy; dead units and points had no room";
  pairs.push(["curves on this page", make("ul", {},
    make("li", {}, points < longest ? `${points} of up to ${longest} stored points a cell: the first, the last, the highest and lowest accuracies, and the others evenly` : `all stored points, up to ${points} a cell`),
    make("li", {}, `${census}; rounded to 1/250`))]);
  pairs.push(["other numbers", make("ul", {},
    make("li", {}, "accuracies and shares are rounded to 1/65,500; losses, penalties and seconds to one part in a thousand; the store has them in full"),
    make("li", {}, "intervals, all 95 %: of a mean over seeds by percentile bootstrap, of a place's share of seeds Wilson's, of summaries over depths and widths by resampling whole seeds"),
    make("li", {}, "results that differ in a setting are never averaged, but for the summaries over depths and widths that say so"))]);
  const sources = [...new Set(head.studies.flatMap((study) => study.published ? study.published.sources : []))];
  pairs.push(["published values", make("ul", {}, (sources.length ? sources : ["none on this page"]).map((text) => make("li", {}, text)))]);
  box.replaceChildren(definitions(pairs));
}
