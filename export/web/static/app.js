// The page: takes a picture or the camera, hands it to worker.js, and shows what comes back.

import { pngOfLabels } from "./png.js";

const MOST_PIXELS = 25_000_000; // phones run out of memory beyond
const SHOWN_PIXELS = 2_000_000; // a canvas larger than this only costs time
const byId = (id) => document.getElementById(id);
const image = byId("image").getContext("2d");
const overlay = byId("overlay").getContext("2d");
const video = byId("video");

const state = {
  models: [], // from models.json
  runtime: null, // likewise
  model: null, // the open one
  hidden: new Set(), // ids of the classes that are switched off
  result: null, // the last answer of the worker
  name: "picture", // for saved files
  stream: null, // of the camera
  turn: 0, // counts what was opened, so that a late answer is known as such
  fps: 0,
  shownAt: 0, // when the last picture of the camera was shown
};

// The worker, and one promise for each question to it.

const worker = new Worker("worker.js");
const waiting = new Map();
let lastId = 0;

worker.onmessage = ({ data }) => {
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error) reject(new Error(data.error));
  else resolve(data);
};

worker.onerror = () => fail("The page’s own worker.js did not start; serve the whole folder.");

function ask(message, transfer = []) {
  const id = ++lastId;
  worker.postMessage({ ...message, id }, transfer);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

// Starting

async function start() {
  fail("");
  try {
    const response = await fetch("models.json");
    if (!response.ok) throw new Error(`the answer is ${response.status}`);
    ({ models: state.models, runtime: state.runtime } = await response.json());
  } catch (error) {
    fail(`models.json could not be loaded (${error.message}); is its server still there?`, true);
    return;
  }
  const options = state.models.map(({ title }) => new Option(title, title));
  byId("model").replaceChildren(...options);
  byId("choice").hidden = options.length < 2;
  await openModel(chosen());
}

function chosen() {
  return state.models[byId("model").selectedIndex];
}

async function openModel(model) {
  fail("");
  ready(false);
  const megabytes = (model.bytes / 1e6).toFixed(1);
  say(`Loading ${model.title} (${megabytes} MB) and the runtime …`);
  try {
    await ask({ open: model, runtime: state.runtime });
  } catch (error) {
    say("");
    fail(error.message, true);
    return;
  }
  const [height, width] = model.inputSize;
  state.model = model;
  state.hidden.clear();
  byId("title").textContent = model.title;
  document.title = model.title;
  byId("file-facts").textContent =
    `${model.file}: ${megabytes} MB, ${model.inputType} pictures of ${width} × ${height} pixels, ` +
    `run by ${state.runtime.title}.`;
  byId("licence").hidden = !model.licence;
  byId("licence").textContent = `Licence of the weights: ${model.licence}`;
  showLegend();
  ready(true);
  say("Ready.");
  if (state.result && !state.stream) await label(await createImageBitmap(state.result.picture));
}

// Pictures

async function openPicture(file) {
  if (!file || !state.model) return;
  stopCamera();
  fail("");
  say("Reading the picture …");
  try {
    const picture = await decode(file);
    state.name = file.name.replace(/\.[^.]*$/, "") || "picture";
    await label(picture);
  } catch (error) {
    say("");
    fail(error.message);
  }
}

async function decode(file) {
  const address = URL.createObjectURL(file);
  const probe = new Image(); // knows its size before it takes the memory for it
  try {
    await new Promise((resolve, reject) => {
      probe.onload = resolve;
      probe.onerror = () => reject(new Error(`“${file.name}” is no picture that this browser reads.`));
      probe.src = address;
    });
    const pixels = probe.naturalWidth * probe.naturalHeight;
    if (!pixels) throw new Error(`“${file.name}” has no size in pixels; choose a JPEG or PNG.`);
    if (pixels > MOST_PIXELS) {
      throw new Error(`“${file.name}” has ${(pixels / 1e6).toFixed(1)} megapixels; this page takes ` +
        `up to ${MOST_PIXELS / 1e6}. Make it smaller first.`);
    }
    // The bytes as they are in the file: no colour management, as in Python.
    const bytes = { colorSpaceConversion: "none", imageOrientation: "from-image" };
    return await createImageBitmap(file, bytes).catch(() => createImageBitmap(probe));
  } finally {
    URL.revokeObjectURL(address);
  }
}

async function label(picture) {
  say("Labelling …");
  try {
    show(await ask({ picture }, [picture]));
    say(`Labelled: ${summary()}.`);
  } catch (error) {
    say("");
    fail(error.message);
  }
}

// The camera

async function startCamera(facing) {
  stopCamera();
  fail("");
  const turn = state.turn;
  let stream;
  try {
    if (!navigator.mediaDevices) {
      throw new Error("The camera needs a page from https or from this device (127.0.0.1).");
    }
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: facing, width: { ideal: 960 }, height: { ideal: 720 } },
    });
  } catch (error) {
    if (turn === state.turn) fail(cameraSentence(error));
    return;
  }
  if (turn !== state.turn) { // something else was opened while the browser asked
    stream.getTracks().forEach((track) => track.stop());
    return;
  }
  state.stream = stream;
  stream.getVideoTracks()[0].onended = () => {
    if (state.stream !== stream) return;
    stopCamera();
    fail("The camera was switched off or taken away; press its button to start again.");
  };
  video.srcObject = stream;
  await video.play();
  byId("stop").hidden = false;
  state.name = "camera";
  say("The camera is on.");
  while (state.stream === stream) {
    try {
      const result = await ask(...(await frame()));
      if (state.stream !== stream) result.picture.close();
      else show(result, facing === "user");
    } catch (error) {
      stopCamera();
      fail(error.message);
    }
    await new Promise(requestAnimationFrame); // a hidden tab rests
  }
}

async function frame() {
  const picture = await createImageBitmap(video);
  return [{ picture }, [picture]];
}

function stopCamera() {
  state.turn++;
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  video.srcObject = null;
  state.shownAt = state.fps = 0;
  byId("fps").textContent = "–";
  byId("stop").hidden = true;
}

function cameraSentence(error) {
  const sentences = {
    NotFoundError: "No camera was found on this device.",
    OverconstrainedError: "No camera was found on this device.",
    NotAllowedError: "The camera was refused; allow it for this page in the browser’s settings, " +
      "then press the button again.",
    NotReadableError: "The camera is in use by another program, or cannot be read.",
  };
  return sentences[error.name] ?? error.message;
}

// Showing

function show(result, mirrored = false) {
  state.result?.picture.close();
  state.result = result;
  const [height, width] = result.size;
  const shrink = Math.min(1, Math.sqrt(SHOWN_PIXELS / (width * height)));
  for (const canvas of [image.canvas, overlay.canvas]) {
    const size = [Math.max(1, Math.round(width * shrink)), Math.max(1, Math.round(height * shrink))];
    if (canvas.width !== size[0]) canvas.width = size[0];
    if (canvas.height !== size[1]) canvas.height = size[1];
    canvas.style.transform = mirrored ? "scaleX(-1)" : "";
  }
  image.drawImage(result.picture, 0, 0, image.canvas.width, image.canvas.height);
  byId("picture").hidden = false;
  byId("empty").hidden = true;
  byId("stage").classList.add("filled");
  byId("save-overlay").disabled = byId("save-labels").disabled = false;
  byId("network-ms").textContent = `${result.milliseconds.network.toFixed(0)} ms`;
  byId("all-ms").textContent = `${result.milliseconds.all.toFixed(0)} ms`;
  showFps();
  showOverlay();
  showShares();
}

function showFps() {
  const now = performance.now();
  if (state.stream && state.shownAt) {
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
  const { labels, size } = state.result;
  const data = new ImageData(width, height);
  const words = new Uint32Array(data.data.buffer); // red in the lowest byte
  const colors = state.model.classes.map(({ color: [red, green, blue] }, id) =>
    state.hidden.has(id) ? 0 : ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0,
  );
  for (let y = 0; y < height; y++) {
    const from = Math.floor((y * size[0]) / height) * size[1];
    for (let x = 0; x < width; x++) {
      words[y * width + x] = colors[labels[from + Math.floor((x * size[1]) / width)]];
    }
  }
  return data;
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

function summary() {
  return state.result.counts
    .map((pixels, id) => ({ pixels, name: state.model.classes[id].name }))
    .filter(({ pixels }) => pixels)
    .sort((a, b) => b.pixels - a.pixels)
    .slice(0, 3)
    .map(({ pixels, name }) => `${name} ${percent(pixels)}`)
    .join(", ");
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
  const { labels, size } = state.result;
  const colors = state.model.classes.map(({ color }) => color);
  save(await pngOfLabels(labels, size, colors), "labels.png");
}

function save(blob, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${state.name}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Words on the page

function say(text) {
  byId("status").textContent = text;
}

function fail(text, canRetry = false) {
  byId("error").textContent = text;
  byId("error").hidden = !text;
  byId("retry").hidden = !canRetry;
}

function ready(yes) {
  for (const id of ["choose", "back", "front"]) byId(id).disabled = !yes;
}

byId("choose").onclick = () => byId("file").click();
byId("file").onchange = ({ target }) => {
  openPicture(target.files[0]);
  target.value = ""; // so that the same picture can be chosen again
};
byId("back").onclick = () => startCamera("environment");
byId("front").onclick = () => startCamera("user");
byId("stop").onclick = () => {
  stopCamera();
  say("The camera is off.");
};
byId("retry").onclick = () => (state.models.length ? openModel(chosen()) : start());
byId("model").onchange = () => {
  stopCamera();
  openModel(chosen());
};
byId("save-overlay").onclick = saveOverlay;
byId("save-labels").onclick = saveLabels;
byId("opacity").oninput = ({ target }) => {
  overlay.canvas.style.opacity = target.value / 100;
  byId("opacity-value").textContent = `${target.value} %`;
};
document.ondragover = (event) => {
  event.preventDefault();
  byId("stage").classList.add("over");
};
document.ondragleave = () => byId("stage").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  byId("stage").classList.remove("over");
  openPicture(event.dataTransfer.files[0]);
};

start();
