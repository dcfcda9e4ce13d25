// From a network's three maps to objects. Plain arithmetic without the browser. It follows
// `kseg.instances.grouping` step by step, rounding included, so that page and Python agree.

import { cut, scoreRows } from "./pixels.js";

const THRESHOLD = 0.1; // height above which a maximum of the heatmap is a centre
const REACH = 3; // pixels to each side of a centre in which nothing is higher
const MOST = 1000; // centres

// Tells objects apart.
//   labels: the label map of the picture at its own size, Uint8Array; pixels of an object get the
//     object's class
//   maps: {semantic, center, offset}, each {scores: Float32Array (h, w, depth), grid, stride}
//   network: with `classes` and the ids of `things`, as models.json has it
//   fitted: [height, width] that the network saw; own: that of the picture
// Returns {ids: Uint16Array, 0 for none, and objects: [{classId, score}], the best score first}.
export function group(labels, maps, network, fitted, own) {
  const depth = network.classes.length;
  const isThing = network.classes.map((_, id) => network.things.includes(id));
  const peaks = findPeaks(cut(maps.center, 1, fitted), fitted);
  const ids = new Uint16Array(own[0] * own[1]);
  if (peaks.length) point(ids, labels, isThing, peaks, cut(maps.offset, 2, fitted), fitted, own);
  const semantic = cut(maps.semantic, depth, fitted);
  const seen = { semantic, depth, isThing, head: network.head };
  return { ids, objects: scored(ids, labels, peaks, seen, fitted, own) };
}

// The places where the heatmap has its maximum within a window, the highest first. Of a flat top,
// as integers of 8 bits make them, the first pixel counts.
function findPeaks(heat, [height, width]) {
  const peaks = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = heat[y * width + x];
      if (value > THRESHOLD && isTop(heat, y, x, height, width)) peaks.push({ y, x, value });
    }
  }
  return peaks.sort((a, b) => b.value - a.value).slice(0, MOST);
}

function isTop(heat, y, x, height, width) {
  const here = y * width + x;
  for (let v = Math.max(0, y - REACH); v <= Math.min(height - 1, y + REACH); v++) {
    for (let u = Math.max(0, x - REACH); u <= Math.min(width - 1, x + REACH); u++) {
      const there = v * width + u;
      if (heat[there] > heat[here] || (heat[there] === heat[here] && there < here)) return false;
    }
  }
  return true;
}

// Gives each pixel of a thing the number of the centre that is nearest to where its offset points.
function point(ids, labels, isThing, peaks, offset, fitted, own) {
  const [down, right] = own.map((side, axis) => side / fitted[axis]);
  const ys = Float32Array.from(peaks, ({ y }) => (y + 0.5) * down - 0.5);
  const xs = Float32Array.from(peaks, ({ x }) => (x + 0.5) * right - 0.5);
  const rows = scoreRows(offset, fitted, own, 2);
  const fround = Math.fround;
  for (let y = 0; y < own[0]; y++) {
    const row = rows(y);
    for (let x = 0; x < own[1]; x++) {
      if (!isThing[labels[y * own[1] + x]]) continue;
      const toY = fround(y + fround(row[2 * x] * fround(down)));
      const toX = fround(x + fround(row[2 * x + 1] * fround(right)));
      let least = Infinity;
      for (let number = 0; number < ys.length; number++) {
        const far = fround(toY - ys[number]);
        const aside = fround(toX - xs[number]);
        const distance = fround(fround(far * far) + fround(aside * aside));
        if (distance < least) {
          least = distance;
          ids[y * own[1] + x] = number + 1;
        }
      }
    }
  }
}

// Gives each object the class of most of its pixels and a score, the height of its centre times
// the mean probability of its class, and numbers objects by their scores.
function scored(ids, labels, peaks, { semantic, depth, isThing, head }, fitted, own) {
  const votes = peaks.map(() => new Uint32Array(depth));
  ids.forEach((id, at) => id && votes[id - 1][labels[at]]++);
  const objects = votes.map((counts, number) => {
    let classId = isThing.indexOf(true);
    counts.forEach((count, c) => isThing[c] && count > counts[classId] && (classId = c));
    const area = counts.reduce((a, b) => a + b, 0);
    return { number, classId, area, sure: 0, height: Math.min(1, Math.max(0, peaks[number].value)) };
  });
  ids.forEach((id, at) => {
    if (!id) return;
    const y = Math.floor((Math.floor(at / own[1]) * fitted[0]) / own[0]);
    const x = Math.floor(((at % own[1]) * fitted[1]) / own[1]);
    const object = objects[id - 1];
    const start = (y * fitted[1] + x) * depth;
    if (head === "logits") object.sure += probability(semantic, start, depth, object.classId);
    else object.sure += head === "softmax" ? semantic[start + object.classId] : 1;
  });
  const found = objects.filter(({ area }) => area);
  for (const object of found) object.score = (object.height * object.sure) / object.area;
  found.sort((a, b) => b.score - a.score);
  const numbers = new Uint16Array(peaks.length + 1);
  found.forEach(({ number }, place) => (numbers[number + 1] = place + 1));
  ids.forEach((id, at) => {
    if (!id) return;
    labels[at] = objects[id - 1].classId;
    ids[at] = numbers[id];
  });
  return found.map(({ classId, score }) => ({ classId, score }));
}

// The softmax of one pixel's logits, of one class.
function probability(logits, start, depth, classId) {
  let most = -Infinity;
  for (let c = 0; c < depth; c++) most = Math.max(most, logits[start + c]);
  let sum = 0;
  for (let c = 0; c < depth; c++) sum += Math.exp(logits[start + c] - most);
  return Math.exp(logits[start + classId] - most) / sum;
}
