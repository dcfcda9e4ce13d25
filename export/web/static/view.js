// Shows what the worker answers: the picture, the overlay, the legend and the figures; and saves it.

import { pngOfLabels } from "./png.js";

const OUTLINE = 0xffffffff; // white
const SHOWN_PIXELS = 2_000_000; // a canvas larger than this only costs time
const byId = (id) => document.getElementById(id);
const image = byId("image").getContext("2d");
const overlay = byId("overlay").getContext("2d");

const state = {
  model: null, // from models.json
  hidden: new Set(), // ids of the classes that are switched off
  result: null, // the last answer of the worker, with its name and the network it is from
  fps: 0,
  shownAt: 0, // when the last picture of the camera was shown
};

export function open(model, runtime) {
  const [height, width] = model.inputSize;
  state.model = model;
  state.hidden.clear();
  byId("title").textContent = document.title = model.title;
  byId("file-facts").textContent =
    `${model.file}: ${(model.bytes / 1e6).toFixed(1)} MB, ${model.inputType} pictures of ` +
    `${width} × ${height} pixels, run by ${runtime.title}.`;
  byId("licence").hidden = !model.licence;
  byId("licence").textContent = `Licence of the weights: ${model.licence}`;
  showLegend();
}

// A copy of the picture that is shown, for another network; nothing where there is none.
export async function pictureAgain() {
  return state.result && createImageBitmap(state.result.picture);
}

export function show(result, { name, live = false, mirrored = false }) {
  state.result?.picture.close();
  state.result = { ...result, name: name ?? state.result.name, model: state.model };
  const [height, width] = result.size;
  const shrink = Math.min(1, Math.sqrt(SHOWN_PIXELS / (width * height)));
  for (const canvas of [image.canvas, overlay.canvas]) {
    canvas.width = Math.max(1, Math.round(width * shrink));
    canvas.height = Math.max(1, Math.round(height * shrink));
    canvas.style.transform = mirrored ? "scaleX(-1)" : "";
  }
  image.drawImage(result.picture, 0, 0, image.canvas.width, image.canvas.height);
  byId("picture").hidden = false;
  byId("empty").hidden = true;
  byId("stage").classList.add("filled");
  byId("save-overlay").disabled = byId("save-labels").disabled = false;
  byId("network-ms").textContent = `${result.milliseconds.network.toFixed(0)} ms`;
  byId("all-ms").textContent = `${result.milliseconds.all.toFixed(0)} ms`;
  if (live) showFps();
  showOverlay();
  showShares();
}

// The camera is off.
export function rest() {
  state.shownAt = state.fps = 0;
  byId("fps").textContent = "–";
}

function showFps() {
  const now = performance.now();
  if (state.shownAt) {
    const current = 1000 / (now - state.shownAt);
    state.fps = state.fps ? 0.8 * state.fps + 0.2 * current : current;
    byId("fps").textContent = state.fps.toFixed(1);
  }
  state.shownAt = now;
}

function showOverlay() {
  if (!state.result) return;
  const { width, height } = overlay.canvas;
  overlay.putImageData(colored(width, height), 0, 0);
  overlay.canvas.setAttribute("aria-label", `The classes, laid over the picture: ${summary()}`);
}

// The label map in colours, at any size: picked, never interpolated.
function colored(width, height) {
  const { labels, ids, size, model } = state.result;
  const data = new ImageData(width, height);
  const words = new Uint32Array(data.data.buffer); // red in the lowest byte
  const colors = model.classes.map(({ color: [red, green, blue] }, id) =>
    state.hidden.has(id) ? 0 : ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0,
  );
  const columns = Array.from({ length: width }, (_, x) => Math.floor((x * size[1]) / width));
  for (let y = 0; y < height; y++) {
    const from = Math.floor((y * size[0]) / height) * size[1];
    for (let x = 0; x < width; x++) words[y * width + x] = colors[labels[from + columns[x]]];
  }
  if (ids) drawObjects(words, width, height, columns);
  return data;
}

// Lays the objects over their classes: a colour for each, and an outline.
function drawObjects(words, width, height, columns) {
  const { ids, objects, size } = state.result;
  const hidden = objects.map(({ classId }) => state.hidden.has(classId));
  const colors = objects.map((_, number) => objectColor(number));
  const rowOf = (y) => Math.floor((y * size[0]) / height) * size[1];
  const idAt = (y, x) =>
    y < 0 || x < 0 || y >= height || x >= width ? -1 : ids[rowOf(y) + columns[x]];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const id = idAt(y, x);
      if (!id || hidden[id - 1]) continue;
      const beside = [idAt(y - 1, x), idAt(y + 1, x), idAt(y, x - 1), idAt(y, x + 1)];
      const edge = beside.some((other) => other !== id && other >= 0);
      words[y * width + x] = edge ? OUTLINE : colors[id - 1];
    }
  }
}

// Hues a golden ratio apart, so that each is far from those before, as in Python's drawings.
function objectColor(number) {
  const hue = 6 * ((number * 0.618034) % 1);
  const value = number % 2 ? 0.8 : 1;
  const [red, green, blue] = [5, 3, 1].map((shift) => {
    const k = (shift + hue) % 6;
    return Math.round(255 * value * (1 - 0.85 * Math.max(0, Math.min(k, 4 - k, 1))));
  });
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function showLegend() {
  const items = state.model.classes.map(({ name, color }, id) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(swatch(color), span("name", name), span("share", ""));
    button.onclick = () => {
      if (!state.hidden.delete(id)) state.hidden.add(id);
      button.setAttribute("aria-pressed", String(!state.hidden.has(id)));
      showOverlay();
    };
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  byId("legend").replaceChildren(...items);
}

function swatch(color) {
  const made = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const [svg, rect] = [made("svg"), made("rect")];
  svg.setAttribute("aria-hidden", "true");
  rect.setAttribute("width", "100%");
  rect.setAttribute("height", "100%");
  rect.setAttribute("fill", `rgb(${color.join(" ")})`);
  svg.append(rect);
  return svg;
}

function span(kind, text) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = text; // text, never HTML: names are others'
  return made;
}

function showShares() {
  document.querySelectorAll("#legend .share").forEach((place, id) => {
    place.textContent = percent(state.result.counts[id]);
  });
}

function percent(pixels) {
  const share = (100 * pixels) / state.result.labels.length;
  return `${share > 0 && share < 10 ? share.toFixed(1) : share.toFixed(0)} %`;
}

// The three largest classes, in words.
export function summary() {
  const { counts, ids, objects, model } = state.result;
  const told = ids ? `, ${objects.length} ${objects.length === 1 ? "object" : "objects"}` : "";
  const shares = counts
    .map((pixels, id) => ({ pixels, name: model.classes[id].name }))
    .filter(({ pixels }) => pixels)
    .sort((a, b) => b.pixels - a.pixels)
    .slice(0, 3)
    .map(({ pixels, name }) => `${name} ${percent(pixels)}`)
    .join(", ");
  return shares + told;
}

// Saving, at the picture's own size

async function saveOverlay() {
  const { picture, size: [height, width] } = state.result;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const classes = new OffscreenCanvas(width, height);
  classes.getContext("2d").putImageData(colored(width, height), 0, 0);
  context.drawImage(picture, 0, 0);
  context.globalAlpha = byId("opacity").value / 100;
  context.drawImage(classes, 0, 0);
  save(await canvas.convertToBlob({ type: "image/png" }), "overlay.png");
}

async function saveLabels() {
  const { labels, size, model } = state.result;
  const colors = model.classes.map(({ color }) => color);
  save(await pngOfLabels(labels, size, colors), "labels.png");
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${state.result.name}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

byId("save-overlay").onclick = saveOverlay;
byId("save-labels").onclick = saveLabels;
byId("opacity").oninput = ({ target }) => {
  overlay.canvas.style.opacity = target.value / 100;
  byId("opacity-value").textContent = `${target.value} %`;
};
