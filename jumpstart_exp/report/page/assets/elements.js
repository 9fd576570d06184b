// Making elements: text only ever as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

function table(head, rows, caption) {
  const cells = (tag, row) => row.map((cell) => make(tag, tag === "th" ? { scope: "col" } : {}, cell));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || "table" },
    make("table", {},
      caption ? make("caption", {}, caption) : null,
      make("thead", {}, make("tr", {}, cells("th", head))),
      make("tbody", {}, rows.map((row) => make("tr", {}, cells("td", row))))));
}

function definitions(pairs) {
  return make("dl", {}, pairs.filter((pair) => pair[1] !== null && pair[1] !== "")
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

// A number in few digits: fractions with four, others with three that count.
function shown(value, kind) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (kind === "fraction") return value.toFixed(4);
  if (kind === "difference") return (value < 0 ? "−" : value > 0 ? "+" : "") + Math.abs(value).toFixed(4);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) {
    return value.toExponential(2).replace("e-", "e−").replace("e+", "e");
  }
  return String(Number(value.toPrecision(3)));
}

function interval(low, high, kind) {
  return low === null || low === undefined || Number.isNaN(low) ? "" : `[${shown(low, kind)}, ${shown(high, kind)}]`;
}

function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
