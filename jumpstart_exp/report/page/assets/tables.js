// Tables: each method in numbers, what the papers state, and how the results were made.

function drawSummary(study, state, box, note) {
  const moment = study.fitMoment(state.moment), summary = study.summary[moment];
  note.textContent = `${study.title}, ${moment} epoch. A network trains if its training accuracy is ${Number(study.threshold.toPrecision(4))} or more; a depth-width pair is won by the `
    + `highest mean over the seeds that all methods have (training: ${summary.compared.train_acc} pairs compared, ${summary.ties.train_acc} ties; validation: ${summary.compared.val_acc}, ${summary.ties.val_acc} ties).`;
  const best = (each) => each ? `${shown(each.accuracy, "fraction")} at ${each.depth}×${each.width}` : "–";
  const rows = summary.methods.map((each, m) => [
    study.methods[m].title, each.networks.toLocaleString("en"), String(each.seeds),
    each.networks ? `${each.trained.toLocaleString("en")} (${(100 * each.share).toFixed(1)} %)` : "–",
    each.low === null ? "–" : `[${(100 * each.low).toFixed(1)}, ${(100 * each.high).toFixed(1)}] %`,
    best(each.best.train_acc), best(each.best.val_acc),
    `${each.wins.train_acc} / ${each.wins.val_acc}`, String(each.diverged), String(each.failed)]);
  box.replaceChildren(table(["method", "networks", "seeds", "that train", "95 % interval", "best training accuracy", "best validation accuracy", "pairs won (train / val)", "diverged", "failed"], rows));
}

function drawClaims(head, section, link, box) {
  if (!head.claims || !head.claims.length) return;
  section.hidden = link.hidden = false;
  const variants = { paper: "the papers' words", code: "the authors' code" };
  const verdict = (finding) => make("div", {}, make("span", { class: `verdict ${finding.mark}` }, finding.verdict),
    finding.ours ? make("div", {}, finding.ours) : null, finding.note ? make("div", { class: "soft" }, finding.note) : null,
    finding.command ? make("code", {}, finding.command) : null);
  box.replaceChildren(table(["statement", "published", "counts as reproduced", ...head.claims[0].findings.map((each) => `ours, ${variants[each.variant] || each.variant}`)],
    head.claims.map((each) => [
      make("div", {}, each.statement, make("div", { class: "soft" }, each.place)),
      make("div", {}, each.published, each.by_table ? make("div", { class: "soft" }, `by the authors' table: ${each.by_table}`) : null),
      make("div", {}, each.measured, make("div", { class: "soft" }, each.criterion)),
      ...each.findings.map(verdict)])));
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
    make("li", {}, "intervals of means: percentile bootstrap over the seeds, 95 %; of shares: Wilson, 95 %; nothing but seeds is ever averaged"))]);
  const sources = [...new Set(head.studies.flatMap((study) => study.published ? study.published.sources : []))];
  pairs.push(["published values", make("ul", {}, (sources.length ? sources : ["none on this page"]).map((text) => make("li", {}, text)))]);
  box.replaceChildren(definitions(pairs));
}
