// The page: what is chosen, where it stands in the address, and who draws it.

const THEMES = ["auto", "light", "dark"];

async function start() {
  const contents = await readContents();
  const head = contents.head;
  const studies = head.studies.map((_, index) => new Study(contents, index));
  const metrics = [...head.metrics, SHARE];
  const claimed = claimedCells(head);
  const metricNamed = (column) => metrics.find((metric) => metric.column === column);
  const state = { study: 0, method: null, metric: metrics[0], moment: "best", seed: null, beside: false, border: "first", cell: null, claim: null };
  let opener = null;

  document.body.append(hatches());
  theme();
  drawMade(head, byId("made-body"));
  drawClaims(head, byId("claims"), document.querySelector("[data-part=claims]"), byId("claims-body"));
  byId("main").hidden = false;
  if (!studies.length) return trouble("The store has no study that can be shown.");

  const most = Math.max(...studies.map((study) => study.cells));
  state.study = studies.findIndex((study) => study.cells === most);
  choices(byId("study"), studies.map((study) => [study.slug, `${study.title} (${plural(study.cells, "cell")})`]));
  readAddress();
  await update();
  const redrawAtlas = await startAtlases(contents, { copy });

  const onChange = (id, change) => byId(id).addEventListener("change", (event) => choose(() => change(event.target.value, event.target)));
  onChange("study", (slug) => Object.assign(state, { study: studies.findIndex((study) => study.slug === slug), method: null, seed: null, cell: null, claim: null }));
  onChange("method", (value) => { state.method = value === "all" ? null : Number(value); });
  onChange("metric", (column) => { state.metric = metricNamed(column); });
  onChange("seed", (value) => { state.seed = value === "mean" ? null : Number(value); });
  onChange("beside", (value, box) => { state.beside = box.checked; });
  onChange("border", (value) => { state.border = value; });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => { if (readAddress()) update(); });
  document.querySelectorAll("nav a, a.skip").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();  // the address keeps the view
    goTo(byId(link.getAttribute("href").slice(1)));
  }));
  byId("main").addEventListener("click", (event) => { if (event.target.closest("a.to-cells")) goTo(byId("heatmaps")); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    hideTip();
    if (state.cell) close();
  });
  byId("outlined").querySelector("button").addEventListener("click", () => choose(() => { state.claim = null; }));
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    redraw();
    redrawAtlas();
  });
  placeEvents(byId("panels"), nextInGrid);
  placeEvents(byId("scatter-chart"), nextMark);

  async function choose(change) {
    change();
    await update();
  }

  async function update() {
    const study = studies[state.study];
    await contents.loadAll(`study${study.index}.`);
    if (state.metric.moments.length && !state.metric.moments.includes(state.moment)) state.moment = state.metric.moments.includes("last") && state.moment !== "best" ? "last" : state.metric.moments[0];
    nameMetrics(metrics, study);
    controls(study);
    redraw();
    writeAddress();
  }

  function redraw() {
    const study = studies[state.study];
    document.body.classList.toggle("opened", state.cell !== null);  // first, for it leaves less room
    const metric = state.metric;
    byId("heatmaps-title").textContent = [`${metric.title[0].toUpperCase()}${metric.title.slice(1)}`, momentInWords(metric, state.moment)].filter(Boolean).join(", ");
    const published = study.published && showsPublished(study, state) ? `Published values are of the best epoch (authors, one seed)${study.published.elsewhere ? `; ${study.published.elsewhere} more are of networks that this study does not have` : ""}.` : "";
    const cut = study.scoreKind === "r2" ? "R² below 0 is 0 here, a difference beyond 1 is 1." : "";
    tell(byId("heatmaps-note"), `${study.title} · ours: ${oursInWords(study, state, methodsShown(study, state))}.`, published, cut);
    const of = claimed.get(state.claim);
    byId("outlined").hidden = !of;
    if (of) byId("outlined-words").textContent = `Outlined: the cells of ${of.words}.`;
    state.outlined = of ? of.parts.filter((part) => part.study === state.study) : [];
    const scale = drawPanels(study, state, byId("panels"));
    drawLegend(study, state, scale, byId("legend"));
    drawFrontier(study, state, byId("frontier-chart"), byId("frontier-note"), byId("frontier-ratios"));
    drawScatter(study, state, byId("scatter-chart"), byId("scatter-note"), { metric: metricNamed });
    drawSummary(study, state, byId("tables-body"), byId("tables-note"));
    byId("cell").hidden = !state.cell;
    if (state.cell) fillCell();
    hideTip();
  }

  function controls(study) {
    byId("study").value = study.slug;
    choices(byId("method"), [["all", study.methods.length > 1 ? `all ${study.methods.length}` : "all"], ...study.methods.map((method, m) => [String(m), method.title])]);
    byId("method").value = state.method === null ? "all" : String(state.method);
    choices(byId("metric"), metrics.map((metric) => [metric.column, metric.title]));
    byId("metric").value = state.metric.column;
    choices(byId("seed"), [["mean", `mean of ${study.seedCount(methodsShown(study, state))}`], ...study.seeds.map((seed, s) => [String(s), `seed ${seed}`])]);
    byId("seed").value = state.seed === null ? "mean" : String(state.seed);
    byId("beside-label").hidden = !study.hasPublished(state.metric);
    byId("beside").checked = state.beside;
    byId("border").value = state.border;
    const field = byId("moment"), moments = state.metric.moments;
    field.disabled = !moments.length;
    const legend = field.querySelector("legend");
    const focused = field.contains(document.activeElement);
    field.replaceChildren(legend, ...(moments.length ? moments : ["–"]).map((moment) => {
      const input = make("input", { type: "radio", name: "moment", value: moment, id: `moment-${moment}` });
      input.checked = moment === state.moment || !moments.length;
      input.addEventListener("change", () => choose(() => { state.moment = moment; }));
      return make("label", { for: `moment-${moment}` }, input, make("span", {}, momentInWords(state.metric, moment).replace(" epoch", "") || moment));
    }));
    if (focused) field.querySelector("input:checked")?.focus();
  }

  // What places of method × depth × width answer to, in pictures; `next` is the place that a key leads to, if any.
  function placeEvents(box, next) {
    const placeOf = ({ dataset }) => dataset && dataset.d !== undefined ? ["m", "d", "w"].map((name) => Number(dataset[name])) : null;
    const on = (type, react) => box.addEventListener(type, (event) => {
      const place = placeOf(event.target);
      if (place) react(event, place, event.target);
      else if (type === "pointermove") hideTip();
    });
    on("pointermove", (event, place) => event.pointerType === "touch" ? hideTip() : showTip(place, event.clientX, event.clientY));
    box.addEventListener("pointerleave", hideTip);
    on("click", (event, place, target) => { focusCell(target); open(place, target); });
    on("focusin", (event, place, target) => {
      outline(target, true);
      const at = target.getBoundingClientRect();
      if (target.matches(":focus-visible")) showTip(place, at.right, at.bottom);
    });
    on("focusout", (event, place, target) => { outline(target, false); hideTip(); });
    on("keydown", (event, place, target) => {
      const opens = event.key === "Enter" || event.key === " ", to = opens ? null : next(event.key, place, target);
      if (!opens && !to) return;
      event.preventDefault();
      if (opens) open(place, target);
      else focusCell(to);
    });
  }

  function nextInGrid(key, [, d, w], target) {
    const study = studies[state.study], depths = study.depths.length, widths = study.widths.length;
    const move = {
      ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
      Home: [-depths, 0], End: [depths, 0], PageUp: [0, widths], PageDown: [0, -widths],
    }[key];
    if (!move) return null;
    const at = [clamp(d + move[0], 0, depths - 1), clamp(w + move[1], 0, widths - 1)];
    return target.closest("svg").querySelector(`[data-d="${at[0]}"][data-w="${at[1]}"]`);
  }

  function nextMark(key, place, target) {
    const marks = [...target.parentNode.children], here = marks.indexOf(target);
    const to = { ArrowRight: here + 1, ArrowUp: here + 1, ArrowLeft: here - 1, ArrowDown: here - 1, Home: 0, End: marks.length - 1 }[key];
    return to === undefined ? null : marks[clamp(to, 0, marks.length - 1)];
  }

  function focusCell(rect) {
    rect.closest("svg").querySelectorAll("[tabindex='0']").forEach((other) => other.setAttribute("tabindex", "-1"));
    rect.setAttribute("tabindex", "0");
    rect.focus();
  }

  function outline(rect, on) {
    const frame = rect.closest("svg").querySelector(".focus");
    if (!frame) return;  // marks of a scatter have outlines of their own
    for (const name of ["x", "y"]) frame.setAttribute(name, rect.getAttribute(name));
    frame.setAttribute("visibility", on ? "visible" : "hidden");
  }

  function showTip([m, d, w], x, y) {
    placeTip(tipContent(studies[state.study], state, m, d, w), x, y);
  }

  function open([m, d, w], from) {
    opener = from ? { m, d, w, kind: from.closest("svg").dataset.kind } : null;
    state.cell = { m, d, w, seed: state.seed };
    redraw();
    byId("cell").scrollTop = 0;
    byId("cell").focus({ preventScroll: true });
    writeAddress();
  }

  function fillCell() {
    const { m, d, w, seed } = state.cell, box = byId("cell");
    box.replaceChildren(...cellContent(studies[state.study], contents, m, d, w, seed, {
      close, copy,
      seed: (s) => {
        state.cell = { m, d, w, seed: s };
        fillCell();
        box.querySelector("[aria-pressed=true]").focus();
        writeAddress();
      },
    }));
  }

  function close() {
    state.cell = null;
    redraw();
    if (opener) {
      const { m, d, w, kind } = opener;
      const rect = byId("main").querySelector(`svg[data-kind="${kind}"] [data-m="${m}"][data-d="${d}"][data-w="${w}"]`);
      if (rect) focusCell(rect);
    }
    writeAddress();
  }

  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // not allowed for a file in some browsers
      const area = make("textarea", {});
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    byId("said").textContent = "The command is copied.";
  }

  // The view in the address, by names, so that it can be shared.
  function writeAddress() {
    const study = studies[state.study], words = new URLSearchParams({ study: study.slug, metric: state.metric.column, epoch: state.moment });
    if (state.method !== null) words.set("method", study.methods[state.method].label);
    if (state.seed !== null) words.set("seed", study.seeds[state.seed]);
    if (state.beside) words.set("published", "1");
    if (state.border !== "first") words.set("frontier", state.border || "none");
    if (state.claim) words.set("claim", state.claim);
    if (state.cell) {
      const { m, d, w, seed } = state.cell;
      words.set("cell", [study.depths[d], study.widths[w], seed === null ? "" : study.seeds[seed], study.methods[m].label].join(","));
    }
    history.replaceState(null, "", `#${words}`);
  }

  // Reads the address; false if it names no view. What it names and the page does not have stays as it is.
  function readAddress() {
    if (!location.hash.includes("=")) return false;
    const words = new URLSearchParams(location.hash.slice(1));
    const found = studies.findIndex((study) => study.slug === words.get("study"));
    if (found >= 0) state.study = found;
    const study = studies[state.study], methodNamed = (label) => study.methods.findIndex((method) => method.label === label);
    const orNull = (index) => index < 0 ? null : index;
    state.metric = metricNamed(words.get("metric")) || state.metric;
    state.moment = ["best", "last", "start"].includes(words.get("epoch")) ? words.get("epoch") : state.moment;
    state.method = orNull(methodNamed(words.get("method")));
    state.seed = orNull(study.seeds.findIndex((seed) => String(seed) === words.get("seed")));
    state.beside = words.get("published") === "1";
    state.border = { none: "", grid: "grid" }[words.get("frontier")] ?? "first";
    state.claim = claimed.has(words.get("claim")) ? words.get("claim") : null;
    const [depth, width, seed, ...label] = (words.get("cell") || "").split(",");
    const cell = { m: methodNamed(label.join(",")), d: study.depths.indexOf(Number(depth)), w: study.widths.indexOf(Number(width)), seed: orNull(study.seeds.findIndex((each) => String(each) === seed)) };
    state.cell = cell.m >= 0 && cell.d >= 0 && cell.w >= 0 ? cell : null;
    return true;
  }
}

function placeTip(content, x, y) {
  const tip = byId("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const wide = tip.offsetWidth, high = tip.offsetHeight;
  tip.style.left = `${Math.max(4, x + 16 + wide > window.innerWidth ? x - wide - 12 : x + 14)}px`;
  tip.style.top = `${Math.max(4, y + 18 + high > window.innerHeight ? y - high - 10 : y + 14)}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

function goTo(part) {
  part.scrollIntoView();
  part.tabIndex = -1;
  part.focus({ preventScroll: true });
}

function choices(select, pairs) {
  select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
}

function theme() {
  const button = byId("theme"), marks = { auto: "◐ auto", light: "○ light", dark: "● dark" };
  let chosen = "auto";
  try { chosen = THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto"; } catch { /* not kept */ }
  const show = () => {
    document.documentElement.dataset.theme = chosen;
    button.textContent = marks[chosen];
    button.setAttribute("aria-label", `Colours: ${chosen === "auto" ? "as the system has them" : chosen}`);
  };
  button.addEventListener("click", () => {
    chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    try { localStorage.setItem("theme", chosen); } catch { /* not kept */ }
    show();
  });
  show();
}

function trouble(message) {
  const box = byId("trouble");
  box.textContent = message;
  box.className = "trouble";
  box.hidden = false;
}

start().then(() => { document.documentElement.dataset.ready = "yes"; }, (error) => {
  trouble(error.message);
  throw error;
});
