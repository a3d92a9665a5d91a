"use strict";
// Progress by server-sent events, filters and order of the gallery, and what puts a survey right.
const gallery = byId("gallery");

// The job --------------------------------------------------------------------------------------
function showStatus(status) {
  const partly = status.status === "succeeded" && status.counts.failed > 0;
  const word = partly ? "partly failed" : status.status;
  byId("state").textContent = word;
  byId("state").className = `tag ${partly ? "warn" : word}`;
  byId("message").textContent = status.message;
  byId("progress").value = status.progress;
  byId("estimate").textContent = inWords(status.remaining_s);
}

// Say how long the rest takes, as exactly as an estimate deserves.
let before_s = Infinity;
function inWords(seconds) {
  if (seconds === null) return "";
  // While a slot changes its image the rest looks longer for a moment: the shorter of two is said.
  [seconds, before_s] = [Math.min(seconds, before_s), seconds];
  const text = seconds < 90 ? `${Math.max(10 * Math.round(seconds / 10), 10)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  return `about ${text} left`;
}

function tileOf(image) {
  return gallery.querySelector(`[data-image="${CSS.escape(image)}"]`);
}

function showShares(shares) {
  for (const [image, share] of Object.entries(shares)) {
    const tile = tileOf(image);
    const bar = tile && tile.querySelector("progress");
    if (!bar) continue;
    bar.hidden = false;
    bar.value = share;
    tile.querySelector(".tag").className = "tag running";
    tile.querySelector(".tag").textContent = "running";
  }
}

// Take from the page as it is now what has changed: tiles become links, filter and place stay.
let planned = null;
let took_ms = 250;
function plan() {
  if (planned === null) planned = setTimeout(() => { refresh().catch(plan); }, Math.max(1500, 8 * took_ms));
}
async function refresh() {
  planned = null;
  const started = performance.now();
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw Object.assign(new Error("no page"), { status: answer.status });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const finished = page.getElementById("job").dataset.finished;
  for (const tile of page.querySelectorAll("#gallery > li")) {
    const old = tileOf(tile.dataset.image);
    if (!old) { gallery.append(tile); continue; }
    if (!finished) tile.dataset.order = old.dataset.order; // nothing moves under the reader
    if (old.dataset.state !== tile.dataset.state || old.dataset.copy !== tile.dataset.copy) old.replaceWith(tile);
    else old.dataset.order = tile.dataset.order;
  }
  for (const id of ["totals", "asmeasured", "after", "latebox", "facebox", "detectionbox", "unit", ...(finished ? ["job"] : [])]) byId(id).replaceWith(page.getElementById(id));
  if (finished) { bind(); byId("reportbox").hidden = false; byId("lost").hidden = true; }
  took_ms = performance.now() - started;
  filter();
}

// Say that nothing comes any more; return whether to go on asking.
const FOR_GOOD = { 401: "You are signed out: sign in again.", 404: "The survey was deleted." };
function lose(status) {
  byId("lost").hidden = false;
  if (FOR_GOOD[status]) byId("lost").textContent = FOR_GOOD[status];
  return !FOR_GOOD[status];
}

// A source of events gives up for good on any answer that is not 200, as a proxy's 502.
function watch(base) {
  let pause = 1000;
  const open = () => {
    const events = new EventSource(`${base}/events`);
    events.addEventListener("open", () => { byId("lost").hidden = true; pause = 1000; });
    events.addEventListener("error", async () => {
      lose(0);
      if (events.readyState !== EventSource.CLOSED) return; // it tries again by itself
      const { status } = await fetch(base).catch(() => ({ status: 0 })); // of events nobody tells it
      if (!lose(status)) return;
      setTimeout(open, pause);
      pause = Math.min(2 * pause, 15000);
    });
    events.addEventListener("progress", (event) => showShares(JSON.parse(event.data)));
    events.addEventListener("status", (event) => showStatus(JSON.parse(event.data)));
    events.addEventListener("image", (event) => {
      const tile = tileOf(JSON.parse(event.data).image);
      if (!tile || ["queued", "running"].includes(tile.dataset.state)) plan();
    });
    events.addEventListener("end", () => {
      events.close();
      byId("lost").hidden = true;
      clearTimeout(planned);
      const last = () => refresh().catch(({ status }) => { if (lose(status)) setTimeout(last, 2000); });
      last();
    });
  };
  open();
}

// Bind a button to a call; what goes wrong is said beside it.
function bindButton(id, say, act) {
  const button = byId(id);
  if (!button) return;
  const submits = button.tagName === "FORM";
  button.addEventListener(submits ? "submit" : "click", async (event) => {
    event.preventDefault();
    try { await act(button); } catch (error) { byId(say).textContent = error.message; }
  });
}

function bind() {
  const path = `/v1/jobs/${byId("job").dataset.job}`;
  bindButton("cancel", "say", async () => { await ask("DELETE", path); location.reload(); });
  bindButton("retry", "say", async () => { await ask("POST", `${path}/retry`); location.reload(); });
  bindButton("analyzelate", "say", async () => { await ask("POST", `${path}/retry`); location.reload(); });
  bindButton("again", "sayagain", async (form) => {
    await ask("POST", `/v1/surveys/${form.dataset.survey}/execution`, readOptions(form));
    location.assign(`${ROOT}/surveys/${form.dataset.survey}`);
  });
}

// The survey itself ------------------------------------------------------------------------------
const edit = document.querySelector(".edit");
if (edit) {
  const path = `/v1/surveys/${edit.dataset.survey}`;
  bindButton("rename", "edited", async () => {
    const survey = await ask("PUT", path, { name: byId("newname").value });
    byId("title").textContent = survey.name;
    document.title = `${survey.name} · crackseg`;
    byId("edited").textContent = "renamed";
  });
  bindButton("delete", "edited", async (button) => {
    const count = Number(button.dataset.images);
    const what = `Delete "${byId("title").textContent}" with ${count === 1 ? "its photograph" : `its ${count} photographs`}, results, verdicts and notes? This cannot be undone.`;
    if (!window.confirm(what)) return;
    await ask("DELETE", path);
    location.assign(`${ROOT}/`);
  });
}

// The gallery ------------------------------------------------------------------------------------
const KEEP = {
  all: () => true,
  cracks: (d) => Number(d.cracks) > 0,
  clear: (d) => d.state === "succeeded" && d.cracks === "0" && d.judged !== "no",
  failed: (d) => d.state === "failed",
  unscaled: (d) => d.state === "succeeded" && !d.scaled,
};
const FILTERS = ["search", "show", "least", "order"];
function filter() {
  const text = byId("search").value.toLowerCase();
  const least = readLeast(byId("least"));
  const keep = KEEP[byId("show").value];
  const tiles = [...gallery.children];
  for (const tile of tiles) {
    const d = tile.dataset;
    tile.hidden = !(keep(d) && d.name.toLowerCase().includes(text) && (!least || Number(d.width) >= least));
  }
  const byName = byId("order").value === "name";
  const sorted = [...tiles].sort((a, b) => byName ? a.dataset.name.localeCompare(b.dataset.name) : a.dataset.order - b.dataset.order);
  if (sorted.some((tile, place) => tile !== tiles[place])) gallery.append(...sorted);
  byId("shown").textContent = `${tiles.filter((tile) => !tile.hidden).length} of ${tiles.length} images`;
}
if (gallery) {
  // Who comes back from an image finds the filter and the place as they were.
  const memory = `gallery ${location.pathname}`;
  const before = JSON.parse(sessionStorage.getItem(memory) || "{}");
  for (const id of FILTERS) if (before[id]) byId(id).value = before[id];
  const remember = () => {
    const now = { scroll: window.scrollY };
    for (const id of FILTERS) now[id] = byId(id).value;
    sessionStorage.setItem(memory, JSON.stringify(now));
  };
  window.addEventListener("pagehide", remember);
  for (const name of ["input", "change"]) byId("filters").addEventListener(name, filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
  if (before.scroll) window.scrollTo(0, before.scroll);
  bind();
  const job = byId("job");
  if (!job.dataset.finished) watch(`${ROOT}/v1/jobs/${job.dataset.job}`);
}
