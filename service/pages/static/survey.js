"use strict";
// Progress by server-sent events, filters and order of the gallery.
const byId = (id) => document.getElementById(id);
const WORDS = { accepted: "queued", running: "running", successful: "succeeded", failed: "failed", dismissed: "cancelled" };
const job = byId("job");

async function call(method, path, body) {
  const answer = await fetch(path, {
    method, body: body && JSON.stringify(body), headers: body ? { "Content-Type": "application/json" } : {},
  });
  if (!answer.ok) { byId("say").textContent = (await answer.json()).detail; return false; }
  return true;
}

const execute = byId("execute");
if (execute) execute.addEventListener("click", async () => {
  if (await call("POST", `/v1/surveys/${execute.dataset.survey}/execution`, {})) location.reload();
});

function showStatus(status) {
  const partly = status.status === "successful" && status.counts.failed > 0;
  const word = partly ? "partly failed" : WORDS[status.status];
  byId("state").textContent = word;
  byId("state").className = `tag ${partly ? "warn" : word}`;
  byId("message").textContent = status.message;
  byId("progress").value = status.progress;
}

function showShares(shares) {
  for (const [image, share] of Object.entries(shares)) {
    const card = document.querySelector(`[data-image="${CSS.escape(image)}"] .card`);
    const bar = card && card.querySelector("progress");
    if (!bar) continue;
    bar.hidden = false;
    bar.value = share;
    card.querySelector(".tag").className = "tag running";
    card.querySelector(".tag").textContent = "running";
  }
}

function showImage(task) {
  const tile = document.querySelector(`[data-image="${CSS.escape(task.image)}"]`);
  if (!tile || tile.dataset.state === task.status) return;
  tile.dataset.state = task.status;
  const card = tile.firstElementChild;
  const tag = card.querySelector(".tag");
  if (tag) { tag.className = `tag ${task.status}`; tag.textContent = task.status === "failed" ? "not analyzed" : task.status; }
  const bar = card.querySelector("progress");
  if (bar) bar.hidden = true;
  const reason = card.querySelector(".reason");
  if (reason) reason.textContent = task.error ? task.error.message.replaceAll("`", "") : task.summary ? `${task.summary.cracks} cracks` : "";
  if (task.status === "succeeded" && !card.querySelector("img")) {
    const picture = document.createElement("img");
    picture.alt = "";
    picture.src = task.links["thumb.jpg"];
    card.prepend(picture);
  }
}

if (job) {
  const base = `/v1/jobs/${job.dataset.job}`;
  byId("cancel").addEventListener("click", async () => { if (await call("DELETE", base)) location.reload(); });
  byId("retry").addEventListener("click", async () => { if (await call("POST", `${base}/retry`)) location.reload(); });
  if (!job.dataset.finished) {
    const events = new EventSource(`${base}/events`);
    events.addEventListener("status", (event) => showStatus(JSON.parse(event.data)));
    events.addEventListener("progress", (event) => showShares(JSON.parse(event.data)));
    events.addEventListener("image", (event) => showImage(JSON.parse(event.data)));
    events.addEventListener("end", () => { events.close(); location.reload(); });
  }
}

const gallery = byId("gallery");
const KEEP = {
  all: () => true,
  cracks: (d) => Number(d.cracks) > 0,
  clear: (d) => d.state === "succeeded" && d.cracks === "0",
  failed: (d) => d.state === "failed",
  unscaled: (d) => d.state === "succeeded" && !d.scaled,
};
function filter() {
  const text = byId("search").value.toLowerCase();
  const least = Number(byId("least").value) || 0;
  const keep = KEEP[byId("show").value];
  const tiles = [...gallery.children];
  for (const tile of tiles) {
    const d = tile.dataset;
    tile.hidden = !(keep(d) && d.name.toLowerCase().includes(text) && (!least || Number(d.width) >= least));
  }
  const byName = byId("order").value === "name";
  tiles.sort((a, b) => byName ? a.dataset.name.localeCompare(b.dataset.name) : a.dataset.order - b.dataset.order);
  gallery.append(...tiles);
  byId("shown").textContent = `${tiles.filter((tile) => !tile.hidden).length} of ${tiles.length} images`;
}
if (gallery) {
  for (const name of ["input", "change"]) byId("filters").addEventListener(name, filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
}
