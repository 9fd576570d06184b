// Colours: seaborn's rocket for values as in the papers, a diverging map for differences (PuOr of ColorBrewer). A
// method's colour and mark come with its name, the pictures'. All can be told apart with any kind of colour vision.

const DIVERGING = "2d004b5427888073acb2abd2d8daebf7f7f7fee0b6fdb863e08214b358067f3b08";

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

// The outline around (0, 0) of a mark by matplotlib's name for it, as the pictures have it.
function markPath(marker, r) {
  switch (marker) {
    case "s": return `M${-r} ${-r}H${r}V${r}H${-r}Z`;
    case "^": return `M0 ${-1.2 * r}L${1.1 * r} ${0.8 * r}H${-1.1 * r}Z`;
    case "v": return `M0 ${1.2 * r}L${1.1 * r} ${-0.8 * r}H${-1.1 * r}Z`;
    case "<": return `M${-1.2 * r} 0L${0.8 * r} ${-1.1 * r}V${1.1 * r}Z`;
    case ">": return `M${1.2 * r} 0L${-0.8 * r} ${-1.1 * r}V${1.1 * r}Z`;
    case "D": return `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z`;
    case "X": return `M${-0.55 * r} ${-1.1 * r}L0 ${-0.55 * r}L${0.55 * r} ${-1.1 * r}L${1.1 * r} ${-0.55 * r}L${0.55 * r} 0L${1.1 * r} ${0.55 * r}L${0.55 * r} ${1.1 * r}L0 ${0.55 * r}L${-0.55 * r} ${1.1 * r}L${-1.1 * r} ${0.55 * r}L${-0.55 * r} 0L${-1.1 * r} ${-0.55 * r}Z`;
    case "P": return `M${-0.4 * r} ${-1.2 * r}H${0.4 * r}V${-0.4 * r}H${1.2 * r}V${0.4 * r}H${0.4 * r}V${1.2 * r}H${-0.4 * r}V${0.4 * r}H${-1.2 * r}V${-0.4 * r}H${-0.4 * r}Z`;
    case "h": return `M0 ${-1.15 * r}L${r} ${-0.575 * r}V${0.575 * r}L0 ${1.15 * r}L${-r} ${0.575 * r}V${-0.575 * r}Z`;
    default: return `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;
  }
}
