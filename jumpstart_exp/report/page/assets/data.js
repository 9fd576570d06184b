// What the page holds: names and tables as JSON, numbers in one block of compressed arrays.

class Contents {
  constructor(head, bytes) {
    this.head = head;
    this.bytes = bytes;
    this.known = new Map();
  }

  // The array of this name, unpacked once.
  async load(name) {
    if (!this.known.has(name)) this.known.set(name, await this.unpack(name));
    return this.known.get(name);
  }

  get(name) {
    return this.known.get(name);
  }

  async loadAll(prefix) {
    const names = Object.keys(this.head.entries).filter((name) => name.startsWith(prefix));
    await Promise.all(names.map((name) => this.load(name)));
  }

  async unpack(name) {
    const entry = this.head.entries[name];
    const packed = this.bytes.subarray(entry.start, entry.start + entry.length);
    const planes = await inflate(packed);
    const Kind = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array }[entry.type];
    const width = Kind.BYTES_PER_ELEMENT;
    const count = planes.length / width;
    const codes = new Kind(count);
    for (let plane = 0; plane < width; plane++) {
      const from = plane * count, shift = 8 * plane;
      for (let i = 0; i < count; i++) codes[i] |= planes[from + i] << shift;
    }
    return entry.scale ? numbers(codes, entry.scale) : codes;
  }
}

async function readContents() {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the page's numbers (it has no DecompressionStream): "
      + "Chrome or Edge 80, Firefox 113 or Safari 16.4 can, and every later one.");
  }
  const head = JSON.parse(document.getElementById("head").textContent);
  const text = atob(document.getElementById("block").textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const contents = new Contents(head, bytes);
  await Promise.all([contents.loadAll("rows."), contents.loadAll("curves.")]);
  return contents;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Codes as the numbers they stand for: 0 is no number, see packing.py.
function numbers(codes, scale) {
  const found = new Float64Array(codes.length);
  const ratio = Math.log(scale.high / scale.low);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) found[i] = NaN;
    else if (!scale.log) found[i] = scale.low + (code - 1) / (scale.codes - 1) * (scale.high - scale.low);
    else if (code === 1) found[i] = 0;
    else found[i] = scale.low * Math.exp((code - 2) / (scale.codes - 2) * ratio);
  }
  return found;
}
