// One cell: what stands in the tooltip, and the panel with its training curves and its command.

function tipContent(study, state, m, d, w) {
  const { metric, moment } = state;
  const kind = metric.kind;
  const all = study.at(m, d, w, metric, moment, null);
  const share = study.share(m, d, w, moment);
  const published = study.publishedValue(m, d, w, metric);
  const lines = [];
  if (share.seeds.length) {
    lines.push([`train (${study.fitMoment(moment)})`, `${share.seeds.filter((each) => each.trains).length} of ${plural(share.seeds.length, "seed")} ${interval(share.low, share.high, "fraction")}`]);
  }
  if (all.count) {
    lines.push([all.count > 1 ? "mean" : "value", `${shown(all.value, kind)} ${interval(all.low, all.high, kind)}`]);
    if (all.seeds.length > 1) {
      const few = all.seeds.slice(0, 12).map((each) => `${each.seed}: ${each.status === "done" || metric === SHARE ? shown(each.value, kind) : each.status}`);
      lines.push(["seeds", few.join(", ") + (all.seeds.length > 12 ? `, … ${all.seeds.length - 12} more` : "")]);
    }
  }
  if (all.diverged) lines.push(["diverged", String(all.diverged)]);
  if (all.failed) lines.push(["failed", String(all.failed)]);
  if (!Number.isNaN(published)) lines.push(["published", `${shown(published, kind)} (authors, one seed, best epoch)`]);
  if (!Number.isNaN(published) && all.count) lines.push(["difference", `${shown(all.value - published, "difference")} (ours, ${plural(all.count, "seed")})`]);
  if (!lines.length) lines.push(["", "not in the store"]);
  const head = make("strong", {}, `${study.methods[m].title} ${study.depths[d]}×${study.widths[w]}`);
  const what = [metric.title, momentInWords(metric, moment)].filter(Boolean).join(", ");
  return [head, make("span", { class: "what" }, what), definitions(lines)];
}

// The panel of one place; `seed` is the index of the seed whose numbers are shown.
function cellContent(study, contents, m, d, w, seed, actions) {
  const present = study.seeds.map((_, s) => s).filter((s) => study.row(m, d, w, s) >= 0);
  const chosen = present.includes(seed) ? seed : present[0];
  const title = `${study.methods[m].title} · depth ${study.depths[d]} × width ${study.widths[w]}`;
  const close = make("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  close.addEventListener("click", actions.close);
  const parts = [make("header", {}, make("h2", { id: "cell-title" }, title), close), make("p", { class: "note" }, study.title)];
  if (chosen === undefined) {
    const values = ["train_acc", "val_acc"].map((column) => [contents.head.metrics.find((each) => each.column === column).title,
      study.publishedValue(m, d, w, { column })]).filter((pair) => !Number.isNaN(pair[1]));
    return [...parts, make("p", {}, "The store has no such cell."),
      definitions(values.map(([name, value]) => [name, `${shown(value, "fraction")} published (authors, one seed)`]))];
  }
  const row = study.row(m, d, w, chosen);
  if (present.length > 1) {
    parts.push(make("div", { class: "chips", role: "group", "aria-label": "Seed" }, make("span", {}, "seed"), present.map((s) => {
      const chip = make("button", { type: "button", "aria-pressed": String(s === chosen), "data-seed": study.seeds[s] }, String(study.seeds[s]));
      chip.addEventListener("click", () => actions.seed(s));
      return chip;
    })));
  }
  const curves = present.map((s) => ({ curve: curveOf(contents, study.row(m, d, w, s)), seed: study.seeds[s], chosen: s === chosen }));
  parts.push(...curvePictures(study, contents, curves, row, m));
  parts.push(...probeParts(study, contents, row, m, `${study.slug}_${study.depths[d]}x${study.widths[w]}_${study.methods[m].label}_seed${study.seeds[chosen]}`));
  parts.push(...commandOf(study, contents, row, d, w, chosen, actions));
  parts.push(make("h3", {}, `Seed ${study.seeds[chosen]}`), numbersOf(study, contents, row, m, d, w));
  if (present.length > 1) parts.push(seedTable(study, contents, m, d, w, present, chosen));
  return parts;
}

// The points of a row's curve, without those that only fill up the array.
function curveOf(contents, row) {
  const steps = contents.get("curves.epoch_steps"), rows = contents.get("rows.status").length;
  const points = steps.length / rows, names = contents.head.curves.names;
  const curve = { epochs: [], values: Object.fromEntries(names.map((name) => [name, []])) };
  let epoch = 0;
  for (let i = 0; i < points; i++) {
    const step = steps[i * rows + row];
    if (!step) continue;
    epoch += step;
    curve.epochs.push(epoch);
    for (const name of names) curve.values[name].push(contents.get(`curves.${name}`)[row * points + i]);
  }
  return curve;
}

function curvePictures(study, contents, curves, row, m) {
  const chosen = curves.find((each) => each.chosen).curve;
  if (!chosen.epochs.length && curves.every((each) => !each.curve.epochs.length)) return [make("p", { class: "note" }, "The store has no training curve of this cell.")];
  const names = contents.head.curves.names, row_ = (name) => contents.get(`rows.${name}`)[row];
  const best = (of) => of.map((name) => ({ name, epoch: row_(`${name}_best_epoch`), value: row_(`${name}_best`) }));
  const marks = { accuracy: best(["train_acc", "val_acc"]), loss: names.includes("train_loss") ? best(["train_loss", "val_loss"]) : [] };
  const longest = Math.max(...curves.map((each) => each.curve.epochs.at(-1) || 1), ...Object.values(marks).flat().map((each) => each.epoch));
  const chart = (title, lines, axis, more) => lineChart({ title, lines, axis, curves, longest, method: study.methods[m], epochsRun: row_("epochs_run"), ...more });
  const found = [chart(study.score === "accuracy" ? study.score : `${study.score}, from 0 on`, [["train_acc", "training"], ["val_acc", "validation"]], SHARES, { marks: marks.accuracy, guess: study.chance })];
  if (names.includes("train_loss")) {
    const losses = ["train_loss", "val_loss"].flatMap((name) => curves.flatMap((each) => each.curve.values[name]));
    found.push(chart("loss, logarithmic", [["train_loss", "training"], ["val_loss", "validation"]], logAxis([...losses, ...marks.loss.map((each) => each.value)]), { marks: marks.loss }));
  }
  if (names.includes("dead_units")) found.push(chart("dead, share", [["dead_units", "units"], ["dead_points", "points"]], SHARES));
  return found;
}

// Of an axis: where a value stands between its lower end, 0, and its upper, 1; and its ticks, those without text rules only.
const SHARES = { at: (value) => value, ticks: [[0, "0"], [0.25, ""], [0.5, "0.5"], [0.75, ""], [1, "1"]] };

// A logarithmic axis from and to 1, 2 or 5 times a power of ten; 0, which has no place on it, stands at its lower end.
function logAxis(values) {
  const positive = values.filter((value) => value > 0);
  const least = positive.length ? Math.min(...positive) : 1, most = positive.length ? Math.max(...positive) : 1;
  const rounds = [];
  for (let power = Math.floor(Math.log10(least)) - 1; power <= Math.log10(most) + 1; power++) rounds.push(...[1, 2, 5].map((factor) => Number(`${factor}e${power}`)));
  const low = rounds.findLast((each) => each < least * 0.999), high = rounds.find((each) => each > most * 1.001);
  const within = rounds.filter((each) => low <= each && each <= high), powers = within.filter((each) => Number.isInteger(Math.log10(each)));
  const ticks = within.length <= MOST_TICKS ? within : powers.filter((_, i) => i % Math.ceil(powers.length / MOST_TICKS) === 0);
  const words = (tick) => tick < 1e-3 || tick >= 1e5 ? tick.toExponential(0).replace("e-", "e−").replace("e+", "e") : String(tick);
  return {
    at: (value) => Math.max(0, Math.log(value / low) / Math.log(high / low)),
    ticks: ticks.map((tick) => [tick, words(tick)]),
  };
}

const MOST_TICKS = 6;

// What the probes of a cell told: numbers of the whole network at every epoch, and by layer at the first and the last.
function probeParts(study, contents, row, m, name) {
  const probe = contents.head.probes.cells[row], words = contents.head.probes.words;
  if (!probe) return [];
  const at = (epoch) => epoch ? `epoch ${epoch.toLocaleString("en")}` : "before training", numbers = (values) => values.map((value) => value ?? NaN);
  const whole = probe.whole, layers = probe.layers ?? [];
  const found = [make("h3", {}, "What the network does to the plane")];
  if (whole.length) {
    found.push(table(["", ...probe.epochs.map(at)], whole.map(([quantity, values]) => [words[quantity], ...numbers(values).map((value) => shown(value))]), "Probes", {
      name: `${name}_probes`, columns: ["quantity", ...probe.epochs.map((epoch) => `epoch_${epoch}`)], lines: whole.map(([quantity, values]) => [quantity, ...values]) }));
  }
  for (const [quantity, ends] of layers.filter(([quantity]) => LAYERED[quantity])) {
    // 0 has no place on a logarithmic axis: there is a gap
    const placed = (values) => numbers(values).map((value) => quantity !== "localisation" && value <= 0 ? NaN : value);
    const values = { first: placed(ends[0]), last: placed(ends.at(-1)) }, all = Object.values(values).flat().filter((value) => !Number.isNaN(value));
    const lines = [["first", at(probe.epochs[0])], ["last", at(probe.epochs.at(-1))]].slice(0, ends.length);
    const curves = [{ curve: { epochs: ends[0].map((_, i) => i + 1), values }, seed: "", chosen: true }];
    found.push(lineChart({ title: LAYERED[quantity], lines, axis: quantity === "localisation" ? SHARES : logAxis(all), curves, longest: ends[0].length, method: study.methods[m], epochsRun: 0, unit: "layer" }));
  }
  if (probe.layers === null) found.push(make("p", { class: "note" }, "Its layers have no room here: they are in RESULTS_DIR/probes."));
  return found;
}

const LAYERED = { localisation: "share of the plane with 90 % of the gradient", mean: "mean of max |∂f/∂A| over the plane, logarithmic", born: "cells that the layer cuts, logarithmic", variation: "variation of a batch's gradient × √N, logarithmic" };

// Lines of one method, in its colour. `marks` stand at what the training itself kept, which a curve of fewer epochs can miss.
function lineChart({ title, curves, lines, axis, longest, marks = [], guess = null, method, epochsRun, unit = "epoch" }) {
  const wide = 400, high = 160, left = 34, right = 10, top = 8, bottom = 34;
  const x = (epoch) => left + (wide - left - right) * epoch / longest;
  const y = (value) => high - bottom - (high - bottom - top) * axis.at(value);
  const points = curves.find((each) => each.chosen).curve.epochs.length;
  const picture = draw("svg", { viewBox: `0 0 ${wide} ${high}`, class: "curve", role: "img", "data-points": points, "aria-label": `${title} over ${longest} ${unit}s: ${lines.map((line) => line[1]).join(" and ")}` });
  for (const [tick, words] of axis.ticks) {
    picture.append(draw("path", { d: `M${left} ${y(tick)}H${wide - right}`, class: "rule" }));
    if (words) picture.append(draw("text", { x: left - 5, y: y(tick), dy: "0.35em", "text-anchor": "end" }, words));
  }
  for (const tick of roundTicks(longest)) picture.append(draw("text", { x: x(tick), y: high - bottom + 13, "text-anchor": tick === longest ? "end" : "middle" }, tick.toLocaleString("en")));
  picture.append(draw("text", { x: wide - right, y: high - 2, "text-anchor": "end", class: "axis" }, unit));
  if (guess) picture.append(draw("path", { d: `M${left} ${y(guess)}H${wide - right}`, class: "guess" }));
  for (const strong of [false, true]) {
    for (const each of curves.filter((one) => one.chosen === strong)) {
      lines.forEach(([name], index) => {
        const path = pathOf(each.curve.epochs, each.curve.values[name], x, y);
        if (path) picture.append(draw("path", { d: path, class: `line line${index}${strong ? "" : " faint"}`, "data-seed": each.seed, "data-name": name }));
      });
    }
  }
  marks.forEach(({ epoch, value, name }, index) => {
    const kind = name.endsWith("_acc") ? "fraction" : "positive";
    if (epoch && !Number.isNaN(value)) picture.append(draw("circle", { cx: x(epoch), cy: y(value), r: 3.5, class: `best line${index}`, "data-name": name }, draw("title", {}, `best ${lines[index][1]} ${kind === "fraction" ? title : "loss"} ${shown(value, kind)} at epoch ${epoch}`)));
  });
  const names = make("span", { class: "names" }, lines.map(([, words], index) => make("span", { class: `name line${index}` }, words)), marks.length ? make("span", { class: "best-key" }, `○ best epoch (curve: ${points.toLocaleString("en")} of ${plural(epochsRun, "epoch")})`) : null);
  return inColour(make("figure", { class: "curves" }, make("figcaption", {}, make("span", {}, title), names), picture), method);
}

function pathOf(epochs, values, x, y) {
  let path = "", open = false;
  epochs.forEach((epoch, i) => {
    if (Number.isNaN(values[i])) { open = false; return; }
    path += `${open ? "L" : "M"}${x(epoch).toFixed(1)} ${y(values[i]).toFixed(1)}`;
    if (!open && values.length > 1 && Number.isNaN(values[i + 1] ?? NaN)) path += "h2"; // a point by itself
    open = true;
  });
  return path;
}

function roundTicks(longest) {
  const raw = longest / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= raw));
  return Array.from({ length: Math.floor(longest / step) + 1 }, (_, i) => i * step).filter((tick) => Number.isInteger(tick));
}

function seedTable(study, contents, m, d, w, present, chosen) {
  const columns = ["train_acc_best", "train_acc_last", "val_acc_best", "val_acc_last"];
  const rows = present.map((s) => {
    const row = study.row(m, d, w, s);
    return [`${study.seeds[s]}${s === chosen && present.length > 1 ? " ◂" : ""}`, study.status(row), ...columns.map((column) => shown(study.measured(row, column), study.scoreKind))];
  });
  const lines = present.map((s) => {
    const row = study.row(m, d, w, s);
    return [study.methods[m].label, study.depths[d], study.widths[w], study.seeds[s], study.status(row), ...columns.map((column) => plainScore(study, study.measured(row, column)))];
  });
  return table(["seed", "status", "train best", "train last", "val best", "val last"], rows, "All seeds", {
    name: `${study.slug}_${study.depths[d]}x${study.widths[w]}_seeds`, columns: ["method", "depth", "width", "seed", "status", ...columns], lines });
}

// As a table's file has it: a number, or that it is 0 or less.
function plainScore(study, value) {
  return study.scoreKind === "r2" && value <= 0 ? "<=0" : rounded(value);
}

function numbersOf(study, contents, row, m, d, w) {
  const at = (name) => contents.get(`rows.${name}`)[row];
  const origin = contents.head.origins[at("origin")];
  const pair = (name, kind) => `${shown(at(`${name}_start`), kind)} before → ${shown(at(`${name}_last`), kind)} after training`;
  const best = (name, kind) => `${shown(at(`${name}_best`), kind)}${at(`${name}_best_epoch`) ? ` at epoch ${at(`${name}_best_epoch`).toLocaleString("en")}` : ""}; last ${shown(at(`${name}_last`), kind)}`;
  const error = at("error") ? contents.head.errors[at("error") - 1] : "";
  const traceback = at("traceback") ? contents.head.tracebacks[at("traceback") - 1] : "";
  const commit = origin.git_commit ? `${origin.git_commit.slice(0, 12)}${origin.git_dirty === "True" ? " with local changes" : ""}` : "unknown";
  const published = ["train_acc", "val_acc"].map((column) => study.publishedValue(m, d, w, { column }));
  return definitions([
    [`training ${study.score}`, best("train_acc", study.scoreKind)],
    [`validation ${study.score}`, best("val_acc", study.scoreKind)],
    ["published", published.every(Number.isNaN) ? null : `training ${shown(published[0], "fraction")}, validation ${shown(published[1], "fraction")} (authors, one seed, best epoch)`],
    ["training loss", best("train_loss")],
    ["validation loss", best("val_loss")],
    ["dead units", pair("dead_units", "fraction")],
    ["dead points, mean over layers", pair("dead_points", "fraction")],
    ["linear units", pair("linear_units", "fraction")],
    ["linear points", pair("linear_points", "fraction")],
    ["separation penalty", Number.isNaN(at("penalty_start")) ? null : pair("penalty")],
    ["parameters", at("n_params") ? at("n_params").toLocaleString("en") : "unknown"],
    ["epochs", at("epochs_run").toLocaleString("en")],
    ["diverged", study.status(row) === "diverged" ? `at epoch ${at("diverged_epoch").toLocaleString("en")}` : null],
    ["error", error || null],
    ["traceback", traceback ? make("details", {}, make("summary", {}, "all of it"), make("pre", {}, traceback)) : null],
    ["seconds", shown(at("seconds"))],
    ["engine", `${origin.engine} on ${origin.device}, torch ${origin.torch_version}, numpy ${origin.numpy_version}`],
    ["commit", `${commit}, version ${origin.jumpstart_exp_version}`],
    ["key", keyOf(contents, row) || "none: the store's is not 32 hexadecimal digits"],
  ]);
}

// The cell's key; empty where the store has none that is one.
function keyOf(contents, row) {
  if (!contents.get("rows.has_key")[row]) return "";
  return Array.from(contents.get("rows.key").subarray(16 * row, 16 * row + 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What trains the cell from nothing, and what trains it again beside its stored row: where the store is, the first does nothing.
function commandOf(study, contents, row, d, w, seed, actions) {
  const command = contents.head.commands[contents.get("rows.command")[row]], key = keyOf(contents, row);
  const again = key && command.verifies && study.status(row) !== "failed" ? commandLine("verify", "Where the store is: train it again and compare every value", contents.head.verify + key, actions) : [];
  if (command.reason) return [make("h3", {}, "No command reproduces it"), make("p", { id: "no-command" }, command.reason + "."), ...again];
  const text = `${command.before} depth=${study.depths[d]} width=${study.widths[w]} seed=${study.seeds[seed]}${command.after}`;
  return [...commandLine("command", "The command that trains it", text, actions), ...again];
}

function commandLine(id, title, text, actions) {
  const copy = make("button", { type: "button", class: "copy" }, "Copy");
  copy.addEventListener("click", () => actions.copy(text, copy));
  return [make("h3", {}, title), make("div", { class: "command" }, make("code", { id, tabindex: "0" }, text), copy)];
}
