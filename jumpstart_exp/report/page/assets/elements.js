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

// A table and its download; `file` is the same as plain numbers and texts: its name, its columns' names, its lines.
function table(head, rows, title, file) {
  const cells = (tag, row) => row.map((cell) => make(tag, tag === "th" ? { scope: "col" } : {}, cell));
  const button = make("button", { type: "button", class: "download", "aria-label": `Download as CSV: ${title}` }, "CSV");
  button.addEventListener("click", () => download(`${file.name}.csv`, asCsv([file.columns, ...file.lines])));
  return make("div", { class: "tabled" }, button,
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      make("table", {},
        make("caption", {}, title),
        make("thead", {}, make("tr", {}, cells("th", head))),
        make("tbody", {}, rows.map((row) => make("tr", {}, cells("td", row)))))));
}

// Lines as CSV: numbers as they are, nothing where there is none; no text is a formula to a spreadsheet.
function asCsv(lines) {
  const field = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (Array.isArray(value)) return field(value.join(" "));
    if (typeof value !== "string") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return lines.map((line) => `${line.map(field).join(",")}\n`).join("");
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const MOST_WORDS = 60;

// A caption: where its sentences are more than 60 words, only the first stands open.
function tell(box, ...sentences) {
  const [first, ...others] = sentences.filter(Boolean), whole = [first, ...others].join(" ");
  if (whole.split(/\s+/).length <= MOST_WORDS) {
    box.replaceChildren(whole);
    return box;
  }
  const more = make("details", {}, make("summary", {}, "In full"), others.join(" "));
  more.open = box.querySelector("details")?.open ?? false;
  box.replaceChildren(first, more);
  return box;
}

// The element with a method's colour as --method: that of the pictures, on a dark ground one that can be seen there.
function inColour(element, method) {
  element.classList.add("of-method");
  element.style.setProperty("--on-light", method.colour);
  element.style.setProperty("--on-dark", method.colour_on_dark);
  return element;
}

function definitions(pairs) {
  return make("dl", {}, pairs.filter((pair) => pair[1] !== null && pair[1] !== "")
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

// A number in few digits: fractions and R² with four, others with three that count.
function shown(value, kind) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (kind === "r2" && value <= 0) return "≤ 0";
  if (kind === "fraction" || kind === "r2") return value.toFixed(4);
  if (kind === "difference") return (value < 0 ? "−" : value > 0 ? "+" : "") + Math.abs(value).toFixed(4);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) {
    return value.toExponential(2).replace("e-", "e−").replace("e+", "e");
  }
  return String(Number(value.toPrecision(3)));
}

// A fraction as the page has it, without digits that come from its rounding to 1/65,500.
function rounded(fraction) {
  return Number(fraction.toFixed(5));
}

function interval(low, high, kind) {
  return low === null || low === undefined || Number.isNaN(low) ? "" : `[${shown(low, kind)}, ${shown(high, kind)}]`;
}

function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
