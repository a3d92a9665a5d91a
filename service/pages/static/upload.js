"use strict";
// Choose or drop photographs, send them one by one (three at a time, repeated when the line breaks),
// then start the analysis. Names are only ever set as text.
const form = byId("new");
const PICTURE = /\.(jpe?g|mpo|png|tiff?)$/i;
let chosen = [];
let facts = null; // the survey.toml among them

function choose(files) {
  facts = (files.find(({ file }) => file.name === "survey.toml") || { file: null }).file;
  const pictures = files.filter(({ file }) => PICTURE.test(file.name) && !file.name.startsWith("."));
  const names = new Set();
  chosen = pictures.map(({ file, path }) => {
    let name = path.replaceAll("/", "_");
    while (names.has(name)) name = `_${name}`;
    names.add(name);
    return { file, name };
  });
  const left = files.length - chosen.length - (facts ? 1 : 0);
  const size = chosen.reduce((sum, { file }) => sum + file.size, 0) / 1048576;
  byId("chosen").textContent = `${chosen.length} ${chosen.length === 1 ? "photograph" : "photographs"}, ${size.toFixed(1)} MB` +
    (facts ? ", with what survey.toml says" : "") + (left ? `; ${left} other ${left === 1 ? "file is" : "files are"} left out` : "") + ".";
  byId("start").disabled = !chosen.length && !Number(form.dataset.images);
  if (byId("name") && !byId("name").value && chosen.length) {
    const folder = files[0].folder;
    byId("name").value = folder || `Survey of ${new Date().toISOString().slice(0, 10)}`;
  }
}

function fromInput(event) {
  choose([...event.target.files].map((file) => {
    const parts = (file.webkitRelativePath || file.name).split("/");
    return { file, path: parts.slice(parts.length > 1 ? 1 : 0).join("/"), folder: parts.length > 1 ? parts[0] : "" };
  }));
}
byId("files").addEventListener("change", fromInput);
byId("folder").addEventListener("change", fromInput);

async function below(entry, path, folder) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [{ file, path: path + entry.name, folder }];
  }
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return files;
    for (const child of some) files.push(...await below(child, child.isFile ? path : `${path}${child.name}/`, folder));
  }
}

const drop = byId("drop");
for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const files = [];
  for (const entry of entries) files.push(...await below(entry, "", entry.isDirectory ? entry.name : ""));
  choose(files);
});

function send(url, file, onShare) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.upload.onprogress = (event) => onShare(event.loaded / Math.max(file.size, 1));
    request.onload = () => done({ status: request.status, text: request.responseText });
    request.onerror = () => done({ status: 0, text: "" });
    request.send(file);
  });
}

async function sendOne(survey, item, row) {
  const url = `${ROOT}/v1/surveys/${survey}/images/${encodeURIComponent(item.name)}`;
  for (let attempt = 0; ; attempt += 1) {
    const { status, text } = await send(url, item.file, (share) => { row.bar.value = share; });
    if (status === 200 || status === 201) { row.state.textContent = "sent"; row.bar.value = 1; return null; }
    const again = status === 0 || status === 408 || status === 429 || status >= 500;
    if (!again || attempt === 5) {
      let reason = "the connection broke";
      try { reason = JSON.parse(text).detail; } catch { /* no answer at all */ }
      row.bar.remove();
      row.state.textContent = reason;
      row.state.className = "bad";
      return `${item.name}: ${reason}`;
    }
    row.state.textContent = "trying again";
    await new Promise((done) => setTimeout(done, 1000 * 2 ** attempt));
  }
}

function addRow(item) {
  const line = document.createElement("li");
  const name = document.createElement("span");
  const bar = document.createElement("progress");
  const state = document.createElement("span");
  name.textContent = item.name;
  bar.max = 1; bar.value = 0;
  line.append(name, bar, state);
  byId("list").append(line);
  return { bar, state };
}

// Return the photographs that a survey holds, name -> digest: they need not be sent again.
async function heldBy(survey) {
  const held = new Map();
  for (let cursor = ""; cursor !== null;) {
    const page = await ask("GET", `/v1/surveys/${survey}/images?limit=200&cursor=${cursor}`);
    for (const image of page.images) held.set(image.name, image);
    cursor = page.next;
  }
  return held;
}

// Photographs without compression have one size, and cameras count their names anew: only the bytes
// tell. Where a browser makes no digests (a page without TLS) the service itself compares.
async function isHeld(held, { file, name }) {
  const image = held.get(name);
  if (!image || image.size_bytes !== file.size || file.size > 2 ** 28 || !crypto.subtle) return false;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("") === image.sha256;
}

async function sendAll(survey, held) {
  const waiting = chosen.map((item) => ({ item, row: addRow(item) }));
  const refused = [];
  let done = 0;
  const bar = byId("bar");
  bar.hidden = !chosen.length;
  const lane = async () => {
    while (waiting.length) {
      const { item, row } = waiting.shift();
      if (await isHeld(held, item)) {
        row.state.textContent = "here already";
        row.bar.value = 1;
      } else {
        const problem = await sendOne(survey, item, row);
        if (problem) refused.push(problem);
      }
      done += 1;
      bar.value = done / chosen.length;
      byId("sayupload").textContent = `${done} of ${chosen.length} sent`;
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  return refused;
}

async function execute(survey, options) {
  const { retry } = form.dataset; // of a survey that was analyzed: what came late follows
  if (!retry) await ask("POST", `/v1/surveys/${survey}/execution`, options, { "Idempotency-Key": keyOf(options) });
  else if (byId("job").dataset.finished) await ask("POST", retry);
  leaving = true;
  location.assign(`${ROOT}/surveys/${survey}`);
}

// What was typed is kept with the draft, so that an upload that breaks can be finished there.
async function draftOf(options) {
  const { survey } = form.dataset;
  if (!survey) {
    const made = await ask("POST", "/v1/surveys", { name: byId("name").value, options });
    form.dataset.survey = made.id;
    history.replaceState(null, "", `${ROOT}/surveys/${made.id}`);
    return { survey: made.id, held: new Map() };
  }
  if (options) await ask("PUT", `/v1/surveys/${survey}`, { options });
  return { survey, held: await heldBy(survey) };
}

let leaving = true;
// The same for the same options: an answer that was lost makes no second analysis.
const keys = new Map();
function keyOf(options) {
  const text = JSON.stringify(options);
  if (!keys.has(text)) keys.set(text, String(Math.random()));
  return keys.get(text);
}
window.addEventListener("beforeunload", (event) => { if (!leaving) event.preventDefault(); });

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const say = byId("sayupload");
  const start = byId("start");
  start.disabled = true;
  byId("list").replaceChildren();
  byId("refused").hidden = true;
  try {
    const options = form.dataset.retry ? null : readOptions(form);
    leaving = false;
    const { survey, held } = await draftOf(options);
    if (facts) await ask("PUT", `/v1/surveys/${survey}/facts`, { toml: await facts.text() });
    const refused = await sendAll(survey, held);
    leaving = true;
    if (!refused.length) { await execute(survey, options); return; }
    const list = byId("refused");
    list.hidden = false;
    list.replaceChildren(...refused.map((text) => {
      const line = document.createElement("li");
      line.className = "warn";
      line.textContent = text;
      return line;
    }));
    if (refused.length === chosen.length && !held.size) throw new Error("No photograph could be used.");
    say.textContent = refused.length === 1 ? "1 photograph was refused and will not be part of the survey. " : `${refused.length} photographs were refused and will not be part of the survey. `;
    const go = document.createElement("button");
    go.type = "button";
    go.className = "main";
    go.textContent = "Analyze the others";
    go.addEventListener("click", () => execute(survey, options).catch((error) => { say.textContent = error.message; }));
    say.append(go);
    go.focus();
  } catch (error) {
    leaving = true;
    say.textContent = error.message;
    start.disabled = false;
  }
});
