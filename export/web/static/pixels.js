// From a picture to what a network takes, and from its scores to a label map. Plain arithmetic
// without the browser. It follows `kseg.predict` step by step, rounding included, so that page and
// Python agree on every pixel.

// The largest [height, width] of a picture's aspect that fits into a box.
export function fitInside([height, width], box) {
  const ratio = Math.min(box[0] / height, box[1] / width);
  return [Math.max(1, roundHalfEven(height * ratio)), Math.max(1, roundHalfEven(width * ratio))];
}

// As Python rounds.
function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

// The size that a picture has when the network sees it, without the padding.
export function fittedSize(own, network) {
  const [height, width] = network.inputSize;
  if (network.workingSize) return fitInside(own, network.workingSize);
  return own[0] > height || own[1] > width ? fitInside(own, network.inputSize) : own;
}

// Pixels RGBA to RGB of the network's input size; at the bottom and right a picture goes on as its
// mirror image.
export function toInput(rgba, own, fitted, [inputHeight, inputWidth]) {
  const [height, width] = fitted;
  const small = resize(rgba, own, fitted);
  const input = new Uint8Array(inputHeight * inputWidth * 3);
  for (let y = 0; y < inputHeight; y++) {
    for (let x = 0; x < inputWidth; x++) {
      const from = (mirrored(y, height) * width + mirrored(x, width)) * 4;
      const to = (y * inputWidth + x) * 3;
      input[to] = small[from];
      input[to + 1] = small[from + 1];
      input[to + 2] = small[from + 2];
    }
  }
  return input;
}

// Which row or column of a picture is seen at a place inside or beyond it.
function mirrored(place, length) {
  const within = place % (2 * length);
  return within < length ? within : 2 * length - 1 - within;
}

// Resizes RGBA pixels, bilinear and anti-aliased: Pillow's Image.resize, byte for byte. A canvas
// resizes in another way in each browser. Alpha is not resized.
export function resize(rgba, [height, width], [toHeight, toWidth]) {
  let pixels = rgba;
  if (toWidth !== width) {
    const taps = weigh(width, toWidth);
    const out = new Uint8ClampedArray(height * toWidth * 4);
    for (let y = 0; y < height; y++) {
      blend(pixels, out, taps, { from: y * width * 4, to: y * toWidth * 4, step: 4 });
    }
    pixels = out;
  }
  if (toHeight !== height) {
    const taps = weigh(height, toHeight);
    const out = new Uint8ClampedArray(toHeight * toWidth * 4);
    for (let x = 0; x < toWidth; x++) {
      blend(pixels, out, taps, { from: x * 4, to: x * 4, step: toWidth * 4 });
    }
    pixels = out;
  }
  return pixels;
}

const BITS = 22; // of the weights' fraction

// For each new pixel, which old ones it is made of and with which weights.
function weigh(size, toSize) {
  const scale = size / toSize;
  const support = Math.max(scale, 1); // of a triangle, in old pixels
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(toSize);
  const count = new Int32Array(toSize);
  const weights = new Int32Array(toSize * most);
  for (let index = 0; index < toSize; index++) {
    const center = (index + 0.5) * scale;
    first[index] = Math.max(0, Math.trunc(center - support + 0.5));
    count[index] = Math.min(size, Math.trunc(center + support + 0.5)) - first[index];
    const parts = [];
    for (let i = 0; i < count[index]; i++) {
      parts.push(Math.max(0, 1 - Math.abs((first[index] + i - center + 0.5) * (1 / support))));
    }
    const sum = parts.reduce((a, b) => a + b, 0);
    parts.forEach((part, i) => {
      weights[index * most + i] = Math.trunc(0.5 + (part / sum) * (1 << BITS));
    });
  }
  return { first, count, weights, most };
}

// Makes one new row (or column) of an old one; `step` is the distance of its pixels.
function blend(pixels, out, { first, count, weights, most }, { from, to, step }) {
  for (let index = 0; index < first.length; index++) {
    let red = 1 << (BITS - 1); // a half, for rounding
    let green = red;
    let blue = red;
    let at = from + first[index] * step;
    for (let i = index * most; i < index * most + count[index]; i++, at += step) {
      red += weights[i] * pixels[at];
      green += weights[i] * pixels[at + 1];
      blue += weights[i] * pixels[at + 2];
    }
    const place = to + index * step;
    out[place] = red >> BITS;
    out[place + 1] = green >> BITS;
    out[place + 2] = blue >> BITS;
  }
}

// Scores on the network's grid, Float32Array (h, w, depth), one value for stride x stride pixels,
// to a label map at the picture's own size. Scores are interpolated, never labels: between road
// and car there is no third class.
export function toLabels(map, depth, fitted, own) {
  const labels = new Uint8Array(own[0] * own[1]);
  const rows = scoreRows(cut(map, depth, fitted), fitted, own, depth);
  for (let y = 0; y < own[0]; y++) {
    const row = rows(y);
    for (let x = 0; x < own[1]; x++) {
      const start = x * depth;
      let best = 0;
      for (let c = 1; c < depth; c++) if (row[start + c] > row[start + best]) best = c;
      labels[y * own[1] + x] = best;
    }
  }
  return labels;
}

// A map at the size that the network saw, without the padding: Float32Array (h, w, depth).
export function cut({ scores, grid, stride }, depth, fitted) {
  let size = grid;
  if (stride > 1) {
    const full = grid.map((side) => side * stride);
    const rows = scoreRows(scores, size, full, depth);
    const wide = new Float32Array(full[0] * full[1] * depth);
    for (let y = 0; y < full[0]; y++) wide.set(rows(y), y * full[1] * depth);
    [scores, size] = [wide, full];
  }
  const kept = new Float32Array(fitted[0] * fitted[1] * depth);
  for (let y = 0; y < fitted[0]; y++) {
    const from = y * size[1] * depth;
    kept.set(scores.subarray(from, from + fitted[1] * depth), y * fitted[1] * depth);
  }
  return kept;
}

// Returns a function from the index of a new row to its scores, interpolated between the old ones
// in float32, pixel centres at halves.
export function scoreRows(scores, [height, width], [toHeight, toWidth], depth) {
  if (height === toHeight && width === toWidth) {
    return (y) => scores.subarray(y * width * depth, (y + 1) * width * depth);
  }
  const down = neighbours(height, toHeight);
  const across = neighbours(width, toWidth);
  const row = new Float32Array(toWidth * depth);
  // The two old rows that new ones lie between, made as wide as these.
  const wide = [new Float32Array(row.length), new Float32Array(row.length)];
  const held = [-1, -1];
  const widened = (y) => {
    if (held[y % 2] !== y) widen(scores, y * width * depth, across, depth, wide[y % 2]);
    held[y % 2] = y;
    return wide[y % 2];
  };
  return (y) => {
    const above = widened(down.lower[y]);
    const below = widened(down.upper[y]);
    blendScores(above, below, down.part[y], row);
    return row;
  };
}

function widen(scores, start, { lower, upper, part }, depth, out) {
  for (let x = 0, to = 0; x < lower.length; x++) {
    let left = start + lower[x] * depth;
    let right = start + upper[x] * depth;
    const share = part[x];
    for (const end = to + depth; to < end; to++, left++, right++) {
      out[to] = between(scores[left], scores[right], share);
    }
  }
}

function blendScores(above, below, share, out) {
  for (let i = 0; i < out.length; i++) out[i] = between(above[i], below[i], share);
}

// Each step rounded to float32, as Keras does.
function between(a, b, share) {
  return a + Math.fround(Math.fround(b - a) * share);
}

function neighbours(size, toSize) {
  const lower = new Int32Array(toSize);
  const upper = new Int32Array(toSize);
  const part = new Float32Array(toSize);
  const scale = Math.fround(size / toSize);
  for (let index = 0; index < toSize; index++) {
    const at = Math.fround(Math.fround(Math.fround(index + 0.5) * scale) - 0.5);
    const floor = Math.floor(at);
    lower[index] = Math.max(0, floor);
    upper[index] = Math.min(size - 1, floor + 1);
    part[index] = at - floor;
  }
  return { lower, upper, part };
}

// How many pixels each class has.
export function count(labels, classes) {
  const counts = new Array(classes).fill(0);
  for (const label of labels) counts[label]++;
  return counts;
}
