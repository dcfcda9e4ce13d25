// The page: takes a picture or the camera, hands it to worker.js, and shows what comes back.

import * as view from "./view.js";

const MOST_PIXELS = 25_000_000; // phones run out of memory beyond
const byId = (id) => document.getElementById(id);
const video = byId("video");

const state = {
  models: [], // from models.json
  runtime: null, // likewise
  stream: null, // of the camera
  turn: 0, // counts what was opened, so that a late answer is known as such
};

// The worker, and one promise for each question to it.

let worker = null; // started when it is first asked, and anew after it broke
const waiting = new Map();
let lastId = 0;

function ask(message, transfer = []) {
  worker ??= startWorker();
  const id = ++lastId;
  worker.postMessage({ ...message, id }, transfer);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

function startWorker() {
  const started = new Worker("worker.js");
  started.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  started.onerror = (event) => stopWorker(event.message);
  return started;
}

function stopWorker(reason) {
  worker?.terminate();
  worker = null;
  const error = new Error(`worker.js stopped (${reason ?? "it could not be loaded"}); try again.`);
  error.retry = true;
  waiting.forEach(({ reject }) => reject(error));
  waiting.clear();
}

// Starting

async function start() {
  fail("");
  try {
    const response = await fetch("models.json");
    if (!response.ok) throw new Error(`the answer is ${response.status}`);
    ({ models: state.models, runtime: state.runtime } = await response.json());
  } catch (error) {
    say("");
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
  view.open(model, state.runtime);
  ready(true);
  say("Ready.");
  const again = await view.pictureAgain();
  if (again) await label(again);
}

// Pictures

async function openPicture(file) {
  if (!file || byId("choose").disabled) return;
  stopCamera();
  fail("");
  say("Reading the picture …");
  try {
    const turn = state.turn;
    const picture = await decode(file);
    if (turn !== state.turn) return;
    await label(picture, file.name.replace(/\.[^.]*$/, "") || "picture");
  } catch (error) {
    say("");
    fail(error.message);
  }
}

async function decode(file) {
  const head = new Uint8Array(await file.slice(0, 25).arrayBuffer());
  if (head[1] === 0x50 && head[2] === 0x4e && head[3] === 0x47 && head[24] === 16) { // a PNG says it here
    throw new Error(`“${file.name}” has 16 bits a channel, which browsers cut to 8; save it with 8 first.`);
  }
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

async function label(picture, name) {
  const turn = state.turn;
  say("Labelling …");
  try {
    const result = await ask({ picture }, [picture]);
    if (turn !== state.turn) return; // something else was opened meanwhile
    view.show(result, { name });
    say(`Labelled: ${view.summary()}.`);
  } catch (error) {
    if (turn !== state.turn) return;
    say("");
    fail(error.message, error.retry);
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
  byId("stop").hidden = false;
  say("The camera is on.");
  follow(stream, facing === "user");
}

// Labels one picture of the camera after the other, as fast as the worker is.
async function follow(stream, mirrored) {
  video.srcObject = stream;
  try {
    await video.play();
    while (state.stream === stream) {
      const picture = await createImageBitmap(video);
      const result = await ask({ picture }, [picture]);
      if (state.stream !== stream) return;
      view.show(result, { name: "camera", live: true, mirrored });
      await new Promise(requestAnimationFrame); // a hidden tab rests
    }
  } catch (error) {
    if (state.stream !== stream) return; // stopped meanwhile
    stopCamera();
    fail(error.message, error.retry);
  }
}

function stopCamera() {
  state.turn++;
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  video.srcObject = null;
  view.rest();
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
byId("retry").onclick = () => {
  stopWorker("anew"); // with a fresh runtime
  if (state.models.length) openModel(chosen());
  else start();
};
byId("model").onchange = () => {
  stopCamera();
  openModel(chosen());
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
