// Colours: seaborn's rocket for values as in the papers, a diverging map for differences (PuOr of ColorBrewer), and
// Okabe and Ito's palette with a shape each for methods. All can be told apart with any kind of colour vision.

const DIVERGING = "2d004b5427888073acb2abd2d8daebf7f7f7fee0b6fdb863e08214b358067f3b08";
const METHOD_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f"];
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "star", "down", "plus"];

function rocket(share) {
  const index = Math.max(0, Math.min(255, Math.round(share * 255)));
  return "#" + ROCKET.slice(6 * index, 6 * index + 6);
}

// From −1 (purple: less) over 0 (white) to 1 (orange: more).
function diverging(share) {
  const stops = DIVERGING.length / 6 - 1;
  const at = Math.max(0, Math.min(1, (share + 1) / 2)) * stops;
  const from = Math.min(stops - 1, Math.floor(at));
  const mix = (offset) => {
    const low = parseInt(DIVERGING.slice(6 * from + offset, 6 * from + offset + 2), 16);
    const high = parseInt(DIVERGING.slice(6 * from + 6 + offset, 6 * from + 8 + offset), 16);
    return Math.round(low + (high - low) * (at - from)).toString(16).padStart(2, "0");
  };
  return "#" + mix(0) + mix(2) + mix(4);
}

function isDark(colour) {
  const part = (offset) => parseInt(colour.slice(offset, offset + 2), 16);
  return 0.299 * part(1) + 0.587 * part(3) + 0.114 * part(5) < 140;
}

function methodColour(index) {
  return METHOD_COLOURS[index % METHOD_COLOURS.length];
}

// The outline of a method's mark around (0, 0).
function markPath(index, r) {
  switch (SHAPES[index % SHAPES.length]) {
    case "square": return `M${-r} ${-r}H${r}V${r}H${-r}Z`;
    case "triangle": return `M0 ${-1.2 * r}L${1.1 * r} ${0.8 * r}H${-1.1 * r}Z`;
    case "down": return `M0 ${1.2 * r}L${1.1 * r} ${-0.8 * r}H${-1.1 * r}Z`;
    case "diamond": return `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z`;
    case "cross": return `M${-r} ${-r}L0 ${-0.4 * r}L${r} ${-r}L${0.4 * r} 0L${r} ${r}L0 ${0.4 * r}L${-r} ${r}L${-0.4 * r} 0Z`;
    case "plus": return `M${-0.4 * r} ${-1.2 * r}H${0.4 * r}V${-0.4 * r}H${1.2 * r}V${0.4 * r}H${0.4 * r}V${1.2 * r}H${-0.4 * r}V${0.4 * r}H${-1.2 * r}V${-0.4 * r}H${-0.4 * r}Z`;
    case "star": return `M0 ${-1.4 * r}L${0.4 * r} ${-0.4 * r}L${1.4 * r} 0L${0.4 * r} ${0.4 * r}L0 ${1.4 * r}L${-0.4 * r} ${0.4 * r}L${-1.4 * r} 0L${-0.4 * r} ${-0.4 * r}Z`;
    default: return `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;
  }
}
