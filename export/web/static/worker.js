// Runs the network beside the page, so that the page stays live. It answers two messages:
//   {id, open: model, runtime}     -> {id}
//   {id, picture: ImageBitmap}     -> {id, picture, labels, ids, objects, size, counts,
//                                      milliseconds}; ids is null where no objects are told apart
// and {id, error} where something fails, a sentence.
//
// A classic worker, since both runtimes load their WebAssembly with importScripts.

let pixels; // the module pixels.js
let objects; // the module objects.js
let network; // facts of the open model, from models.json
// RGB of the input's size -> {semantic}, or {semantic, center, offset}, of which each is
// {scores: Float32Array, grid: [h, w], stride}
let run;
let close = () => {};
let runtimeModule; // of the runtime, loaded once

// One message after the other: an `open` ends before the picture behind it is labelled.
let queue = Promise.resolve();
self.onmessage = ({ data }) => {
  queue = queue.then(() => answer(data)).catch((error) => {
    console.warn(error);
    self.postMessage({ id: data.id, error: sentence(error) });
  });
};

async function answer(message) {
  if ("open" in message) {
    await open(message.open, message.runtime);
    self.postMessage({ id: message.id });
  } else {
    const [result, transfer] = await label(message.picture);
    self.postMessage({ id: message.id, ...result }, transfer);
  }
}

async function open(model, runtime) {
  pixels ??= await import("./pixels.js");
  objects ??= await import("./objects.js");
  close();
  run = undefined;
  const engine = { litert: openLiteRt, mediapipe: openMediaPipe }[runtime.name];
  const bytes = new Uint8Array(await (await download(encodeURIComponent(model.file), "The model")).arrayBuffer());
  network = model;
  const base = new URL(runtime.base, self.location);
  hosts.add(base.origin);
  [run, close] = await engine(bytes, model, base.href).catch((error) => {
    // WebAssembly says in many ways that its file did not come.
    if (/network|fetch|failed to load/i.test(error.message ?? error)) lost(base, "The runtime");
    throw error;
  });
}

async function label(picture) {
  if (!run) throw new Told("No network is open; try again.");
  const begin = performance.now();
  const own = [picture.height, picture.width];
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const rgba = context.getImageData(0, 0, picture.width, picture.height).data;
  const fitted = pixels.fittedSize(own, network);
  const input = pixels.toInput(rgba, own, fitted, network.inputSize);
  const start = performance.now();
  const maps = await run(input);
  const end = performance.now();
  const labels = pixels.toLabels(maps.semantic, network.classes.length, fitted, own);
  const found = maps.center
    ? objects.group(labels, maps, network, fitted, own)
    : { ids: null, objects: [] };
  const counts = pixels.count(labels, network.classes.length);
  const milliseconds = { network: end - start, all: performance.now() - begin };
  const moved = [picture, labels.buffer, ...(found.ids ? [found.ids.buffer] : [])];
  return [{ picture, labels, ...found, size: own, counts, milliseconds }, moved];
}

// LiteRT: https://www.npmjs.com/package/@litertjs/core

async function openLiteRt(bytes, model, base) {
  runtimeModule ??= await loadLiteRt(base);
  const compiled = await runtimeModule.loadAndCompile(bytes, { accelerator: "wasm" });
  const shape = [1, ...model.inputSize, 3];

  async function runLiteRt(input) {
    const tensor = new runtimeModule.Tensor(toNumbers(input, model), shape);
    const outputs = await compiled.run([tensor]);
    const values = outputs.map((each) => each.toTypedArray());
    [tensor, ...outputs].forEach((each) => each.delete());
    const place = { grid: model.outputSize, stride: model.stride };
    const labelling = values[model.output ?? 0];
    const argmax = model.head === "argmax";
    const numbers = dequantize(labelling, model);
    const scores = argmax ? oneHot(numbers, model) : numbers;
    const maps = { semantic: { scores, ...place } };
    for (const [name, map] of Object.entries(model.maps ?? {})) {
      maps[name] = { scores: dequantize(values[map.output], map), ...place };
    }
    return maps;
  }
  return [runLiteRt, () => compiled.delete()];
}

async function loadLiteRt(base) {
  // The package takes one function from @litertjs/wasm-utils, which it names without an address.
  // Only an import map could tell the address, and workers have none. So the function is here,
  // and the text of the package is pointed at it before it is imported.
  self.startWasm = async (LiteRt, script) => {
    importScripts(script);
    return new LiteRt(await self.ModuleFactory({ locateFile: (name) => `${base}wasm/${name}` }));
  };
  const helper = moduleOf("export const createWasmLib = self.startWasm;");
  const text = await (await download(`${base}dist/index.js`, "The runtime")).text();
  const litert = await import(moduleOf(text.replace(/["']@litertjs\/wasm-utils["']/, `"${helper}"`)));
  await litert.loadLiteRt(`${base}wasm/`);
  return litert;
}

function moduleOf(text) {
  return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}

function toNumbers(input, { inputType, mean, std, byteValues }) {
  // Bytes go in as they are, but where the file's user named what they become.
  if (inputType === "uint8" && !byteValues) return input;
  if (inputType === "uint8") return input.map((byte, index) => byteValues[index % 3][byte]);
  return Float32Array.from(input, (byte, index) => (byte - mean[index % 3]) / std[index % 3]);
}

function dequantize(values, { outputScale, outputZeroPoint }) {
  if (!outputScale) return Float32Array.from(values);
  const scale = Math.fround(outputScale);
  return Float32Array.from(values, (value) => (value - outputZeroPoint) * scale);
}

// A class map as scores: 1 for the class, 0 for the others. Of quantized ones, ids lie nearby.
function oneHot(values, { classes }) {
  const scores = new Float32Array(values.length * classes.length);
  values.forEach((value, index) => {
    const id = Math.round(value);
    if (id < 0 || id >= classes.length) {
      throw new Told(`The network gives the class ${id}, and its classes are ${classes.length}.`);
    }
    scores[index * classes.length + id] = 1;
  });
  return scores;
}

// MediaPipe: https://www.npmjs.com/package/@mediapipe/tasks-vision

async function openMediaPipe(bytes, model, base) {
  runtimeModule ??= await import(`${base}vision_bundle.mjs`);
  const { FilesetResolver, ImageSegmenter } = runtimeModule;
  const segmenter = await ImageSegmenter.createFromOptions(
    await FilesetResolver.forVisionTasks(`${base}wasm`),
    {
      baseOptions: { modelAssetBuffer: bytes, delegate: "CPU" },
      canvas: new OffscreenCanvas(1, 1),
      runningMode: "IMAGE",
      outputCategoryMask: false,
      outputConfidenceMasks: true,
    },
  );

  function runMediaPipe(input) {
    const [height, width] = model.inputSize;
    const image = new ImageData(width, height);
    for (let i = 0, to = 0; i < input.length; to++) {
      for (let channel = 0; channel < 3; channel++) image.data[to++] = input[i++];
      image.data[to] = 255;
    }
    const result = segmenter.segment(image);
    const masks = result.confidenceMasks.map((mask) => mask.getAsFloat32Array());
    const scores = model.head === "logits" ? toLogits(masks, model.outputScale) : interleave(masks);
    result.close();
    return { semantic: { scores, grid: model.inputSize, stride: 1 } };
  }
  return [runMediaPipe, () => segmenter.close()];
}

function interleave(masks) {
  const scores = new Float32Array(masks[0].length * masks.length);
  masks.forEach((mask, c) => {
    for (let i = 0; i < mask.length; i++) scores[i * masks.length + c] = mask[i];
  });
  return scores;
}

// MediaPipe gives probabilities. Their logarithms are the logits but for a number that is the same
// for all classes of a pixel, so that interpolation is that of the logits. Those of integer files
// are whole steps apart, which undoes the rounding on the way.
function toLogits(masks, step) {
  const scores = interleave(masks);
  const depth = masks.length;
  for (let start = 0; start < scores.length; start += depth) {
    let most = 0;
    for (let i = start; i < start + depth; i++) most = Math.max(most, scores[i]);
    for (let i = start; i < start + depth; i++) {
      const below = Math.log(Math.max(scores[i] / most, 1e-38));
      scores[i] = step ? Math.round(below / step) * step : below;
    }
  }
  return scores;
}

// MediaPipe reports its use to Google's servers (its npm page says so under "Privacy Notice"). This
// page promises that nothing leaves the device: requests go to its own host and the runtime's.
const ask = self.fetch.bind(self);
const hosts = new Set([self.location.origin]);
self.fetch = async (address, options) => {
  const { origin, protocol } = new URL(address, self.location);
  if (hosts.has(origin) || protocol === "blob:") return ask(address, options);
  throw new TypeError(`${origin} is not asked from this page`);
};

// Both runtimes write whatever they do to the console as errors.
const complain = console.error.bind(console);
console.error = (text, ...more) => {
  (/^(INFO|WARNING):/.test(text) ? console.debug : complain)(text, ...more);
};

// Errors as sentences for the page.

class Told extends Error {}

async function download(address, what) {
  const response = await fetch(address).catch(() => lost(address, what));
  if (!response.ok) throw new Told(`${what} is missing: ${address} answers ${response.status}.`);
  return response;
}

function lost(address, what) {
  const { host } = new URL(address, self.location);
  throw new Told(`${what} could not be loaded from ${host}; look at the network, then try again.`);
}

function sentence(error) {
  if (error instanceof Told) return error.message;
  if (!run) return `The runtime did not start (${error.message ?? error}); try again.`;
  return `The picture could not be labelled (${error.message ?? error}).`;
}
