// One study: what is known of every place of method × depth × width, and of each seed there.

const SHARE = { column: "trained", title: "share of seeds that train", moments: ["best", "last"], kind: "fraction", better: "high" };

// When a metric is measured: of the census before and after the training, of all else at an epoch; "" where it is measured once.
function momentInWords(metric, moment) {
  if (!metric.moments.length) return "";
  return metric.moments.includes("start") ? { start: "before training", last: "after training" }[moment] : `${moment} epoch`;
}

// The metrics in the words of a study, of which some are accuracies or R².
function nameMetrics(metrics, study) {
  for (const metric of metrics.filter(({ column }) => /_acc(_drop)?$/.test(column))) {
    metric.about ||= metric.title;
    metric.title = metric.about.replace("accuracy", study.score);
    if (metric.column.endsWith("_acc")) metric.kind = study.scoreKind;
  }
}

class Study {
  constructor(contents, index) {
    this.contents = contents;
    this.index = index;
    Object.assign(this, contents.head.studies[index]);
    this.shape = [this.methods.length, this.depths.length, this.widths.length, this.seeds.length];
    // R² has no lower end: what is below 0 is 0 on the page
    this.scoreKind = this.score === "accuracy" ? "fraction" : "r2";
    this.publishedAt = new Map();
    for (const [metric, m, d, w, value] of (this.published ? this.published.values : [])) {
      this.publishedAt.set(`${metric},${m},${d},${w}`, value);
    }
  }

  get(name) {
    return this.contents.get(`study${this.index}.${name}`);
  }

  // How many seeds the places of these methods have: "10", or "3–10" where not all have as many.
  seedCount(methods) {
    const fewest = Math.min(...methods.map((m) => this.methods[m].fewest_seeds)), most = Math.max(...methods.map((m) => this.methods[m].most_seeds));
    return fewest === most ? String(most) : `${fewest}–${most}`;
  }

  place(m, d, w) {
    return (m * this.shape[1] + d) * this.shape[2] + w;
  }

  // The row of a seed's cell, −1 for none.
  row(m, d, w, s) {
    return this.get("rows")[this.place(m, d, w) * this.shape[3] + s];
  }

  status(row) {
    return row < 0 ? "missing" : this.contents.head.statuses[this.contents.get("rows.status")[row]] || "failed";
  }

  // A metric of one row as the training left it, NaN for none.
  measured(row, column) {
    if (row < 0) return NaN;
    if (column.endsWith("_drop")) {
      const name = column.slice(0, -5);
      return this.measured(row, `${name}_best`) - this.measured(row, `${name}_last`);
    }
    return this.contents.get(`rows.${column}`)[row];
  }

  column(metric, moment) {
    return metric.moments.length ? `${metric.column}_${moment}` : metric.column;
  }

  // Whether no method shown (all, for null) has seeds enough for an interval anywhere.
  isFew(method) {
    return this.methods.every((each, m) => (method !== null && method !== m) || each.most_seeds < this.contents.head.least_seeds);
  }

  // What one place shows: value (mean or of one seed), interval, seeds.
  at(m, d, w, metric, moment, seed) {
    const column = this.column(metric, moment), place = this.place(m, d, w);
    const chosen = seed === null ? this.seeds.map((_, s) => s) : [seed];
    const seeds = [];
    let diverged = 0, failed = 0, missing = 0, sum = 0, count = 0;
    for (const s of chosen) {
      const row = this.row(m, d, w, s), status = this.status(row);
      if (status === "missing") { missing++; continue; }
      const trains = this.get(`trained_${this.fitMoment(moment)}`)[place * this.shape[3] + s] === 1;
      let value = NaN;
      if (metric === SHARE) value = trains ? 1 : 0;
      else if (status === "done") value = this.measured(row, column);
      diverged += status === "diverged";
      failed += status === "failed";
      if (!Number.isNaN(value)) { sum += value; count++; }
      seeds.push({ seed: this.seeds[s], row, status, value, trains });
    }
    let mean = count ? sum / count : NaN, low = NaN, high = NaN;
    if (metric === SHARE && seed === null) {
      low = this.get(`${column}.low`)[place];
      high = this.get(`${column}.high`)[place];
    } else if (metric !== SHARE && seed === null && !Number.isNaN(this.get(`${column}.mean`)[place])) {
      mean = this.get(`${column}.mean`)[place];
      low = this.get(`${column}.low`)[place];
      high = this.get(`${column}.high`)[place];
    }
    const state = seeds.length === 0 ? "missing" : diverged + failed === seeds.length ? "lost"
      : diverged + failed ? "partly" : count ? "whole" : "missing";
    return { value: mean, low, high, count, seeds, diverged, failed, missing, state };
  }

  // Training and its share are told at best or last; the census at start or last.
  fitMoment(moment) {
    return moment === "last" ? "last" : "best";
  }

  share(m, d, w, moment) {
    return this.at(m, d, w, SHARE, this.fitMoment(moment), null);
  }

  publishedValue(m, d, w, metric) {
    const value = this.publishedAt.get(`${metric.column},${m},${d},${w}`);
    return value === undefined ? NaN : value;
  }

  hasPublished(metric) {
    return [...this.publishedAt.keys()].some((key) => key.startsWith(`${metric.column},`));
  }

  // The frontier's depth index for each width index; −1 where not even the shallowest depth trains, null where nothing
  // is known.
  border(m, moment, start) {
    const points = this.frontiers[start][this.fitMoment(moment)][m];
    return this.widths.map((width) => {
      const point = points.find((each) => each.width === width);
      if (!point || isUntrained(point)) return null;
      return point.depth === null ? -1 : this.depths.indexOf(point.depth);
    });
  }

  parameters(m, d, w) {
    for (let s = 0; s < this.shape[3]; s++) {
      const row = this.row(m, d, w, s);
      if (row >= 0 && this.contents.get("rows.n_params")[row]) return this.contents.get("rows.n_params")[row];
    }
    return 0;
  }
}
