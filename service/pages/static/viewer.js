"use strict";
// The photograph with its cracks as one SVG: zoom and pan move its viewBox, so lines stay sharp.
const byId = (id) => document.getElementById(id);
const viewer = byId("viewer");
const NS = "http://www.w3.org/2000/svg";

function element(name, values, parent) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

function start() {
  const { base } = viewer.dataset;
  const width = Number(viewer.dataset.width);
  const height = Number(viewer.dataset.height);
  const svg = byId("stage");
  const photo = element("image", { href: `${base}/photo.jpg`, x: 0, y: 0, width, height, preserveAspectRatio: "none" }, svg);
  const layer = element("g", {}, svg);
  const rows = new Map([...document.querySelectorAll("#cracks tbody tr[data-id]")].map((row) => [Number(row.dataset.id), row]));
  const drawn = new Map();
  const boxes = new Map();
  let view = { x: 0, y: 0, w: width, h: height };
  let chosen = null;

  // The view -----------------------------------------------------------------------------------
  function show(next) {
    const shape = svg.clientWidth / Math.max(svg.clientHeight, 1);
    const w = Math.min(Math.max(next.w, 20), 1.5 * Math.max(width, height * shape));
    const scale = w / next.w;
    const h = next.h * scale;
    const x = Math.min(Math.max(next.x + (next.w - w) / 2, -w / 2), width - w / 2);
    const y = Math.min(Math.max(next.y + (next.h - h) / 2, -h / 2), height - h / 2);
    view = { x, y, w, h };
    svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
    photo.setAttribute("image-rendering", svg.clientWidth / w > 3 ? "pixelated" : "auto");
  }
  function fit() {
    const shape = svg.clientWidth / Math.max(svg.clientHeight, 1);
    const w = Math.max(width, height * shape);
    show({ x: (width - w) / 2, y: (height - w / shape) / 2, w, h: w / shape });
  }
  function at(event) {
    const frame = svg.getBoundingClientRect();
    return { x: view.x + ((event.clientX - frame.left) / frame.width) * view.w, y: view.y + ((event.clientY - frame.top) / frame.height) * view.h };
  }
  function zoom(factor, centre) {
    const c = centre || { x: view.x + view.w / 2, y: view.y + view.h / 2 };
    show({ x: c.x - (c.x - view.x) * factor, y: c.y - (c.y - view.y) * factor, w: view.w * factor, h: view.h * factor });
  }
  function goTo(id) {
    const box = boxes.get(id);
    if (!box) return;
    const shape = svg.clientWidth / Math.max(svg.clientHeight, 1);
    const w = Math.max(1.3 * box.width, 1.3 * box.height * shape, 80);
    show({ x: box.col + box.width / 2 - w / 2, y: box.row + box.height / 2 - w / shape / 2, w, h: w / shape });
  }

  svg.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event)); }, { passive: false });
  const fingers = new Map();
  let moved = false;
  svg.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    moved = false;
    svg.classList.add("held");
  });
  svg.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const others = [...fingers.values()].filter((finger) => finger.pointerId !== event.pointerId);
    if (Math.hypot(event.clientX - last.clientX, event.clientY - last.clientY) < 3 && !moved) return;
    if (!moved) svg.setPointerCapture(event.pointerId);
    moved = true;
    if (others.length) {
      const other = others[0];
      const before = Math.hypot(last.clientX - other.clientX, last.clientY - other.clientY);
      const after = Math.hypot(event.clientX - other.clientX, event.clientY - other.clientY);
      zoom(before / Math.max(after, 1), at(other));
    } else {
      const from = at(last);
      const to = at(event);
      show({ ...view, x: view.x + from.x - to.x, y: view.y + from.y - to.y });
    }
    fingers.set(event.pointerId, event);
  });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) svg.classList.remove("held");
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) show({ ...view, x: view.x + 0.15 * view.w * step[0], y: view.y + 0.15 * view.h * step[1] });
    else if (event.key === "+" || event.key === "=") zoom(0.7);
    else if (event.key === "-") zoom(1 / 0.7);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  byId("in").addEventListener("click", () => zoom(0.7));
  byId("out").addEventListener("click", () => zoom(1 / 0.7));
  byId("fit").addEventListener("click", fit);
  byId("lines").addEventListener("change", (event) => svg.classList.toggle("nolines", !event.target.checked));
  new ResizeObserver(() => { const shape = svg.clientWidth / Math.max(svg.clientHeight, 1); show({ ...view, h: view.w / shape }); }).observe(svg);

  // The cracks ---------------------------------------------------------------------------------
  function told(id) {
    const row = rows.get(id);
    const text = (name) => row.querySelector(`.${name}`).textContent;
    const column = document.querySelector('.sort[data-key="class"]');
    return `${row.dataset.section === "main" ? "Crack" : "Doubtful mark"} ${id}\nlength ${text("length")}\nwidest ${text("width")}` +
      (column ? `\n${column.textContent}: ${text("class")}` : "");
  }
  function draw(crack) {
    boxes.set(crack.id, crack.bbox);
    const d = crack.centre_line.filter((line) => line.length)
      .map((line) => "M" + line.map(([row, col]) => `${col + 0.5} ${row + 0.5}`).join("L")).join("");
    element("path", { d, class: "crack halo" }, layer);
    const line = element("path", { d, class: "crack line" }, layer);
    const hit = element("path", { d, class: "crack hit" }, layer);
    drawn.set(crack.id, [line, hit]);
    hit.addEventListener("pointerenter", (event) => { mark(crack.id, true); tip(event, told(crack.id)); });
    hit.addEventListener("pointermove", (event) => tip(event, told(crack.id)));
    hit.addEventListener("pointerleave", () => { mark(crack.id, false); byId("tip").hidden = true; });
    hit.addEventListener("click", () => {
      if (moved) return;
      choose(crack.id, false);
      // On a phone the verdict stands below the picture, out of sight.
      if (window.matchMedia("(max-width: 1000px)").matches) byId("judge").scrollIntoView({ block: "nearest" });
    });
    dress(crack.id);
  }
  function dress(id) {
    const said = rows.get(id).dataset.verdict;
    const besides = rows.get(id).dataset.section === "main" || said === "accept" ? "" : " besides";
    drawn.get(id)[0].setAttribute("class", `crack line ${said}${besides}${id === chosen ? " lit" : ""}`);
  }
  function mark(id, on) {
    drawn.get(id)[0].classList.toggle("lit", on || id === chosen);
    rows.get(id).classList.toggle("lit", on || id === chosen);
  }
  function tip(event, text) {
    const box = byId("tip");
    const frame = svg.getBoundingClientRect();
    box.textContent = text;
    box.hidden = false;
    const left = event.clientX - frame.left + 14;
    box.style.left = `${Math.min(left, frame.width - box.offsetWidth - 4)}px`;
    box.style.top = `${Math.min(event.clientY - frame.top + 14, frame.height - box.offsetHeight - 4)}px`;
  }
  function choose(id, jump) {
    const old = chosen;
    if (old !== null && old !== id) keepNote();
    chosen = id;
    if (old !== null && drawn.has(old)) mark(old, false);
    if (drawn.has(id)) mark(id, true);
    if (jump) goTo(id);
    const row = rows.get(id);
    row.scrollIntoView({ block: "nearest", inline: "start" });
    byId("judge").hidden = false;
    byId("which").textContent = id;
    byId("details").textContent = told(id).split("\n").slice(1).join(" · ");
    for (const radio of byId("judge").verdict) radio.checked = radio.value === row.dataset.verdict;
    if (old !== id) byId("note").value = row.dataset.note; // else it may be just being typed
    if (!unsent.size) byId("say").textContent = "";
  }

  // The table ----------------------------------------------------------------------------------
  const body = document.querySelector("#cracks tbody");
  for (const row of rows.values()) {
    row.addEventListener("click", () => choose(Number(row.dataset.id), true));
    row.addEventListener("focus", () => choose(Number(row.dataset.id), true));
    row.addEventListener("pointerenter", () => drawn.has(Number(row.dataset.id)) && mark(Number(row.dataset.id), true));
    row.addEventListener("pointerleave", () => drawn.has(Number(row.dataset.id)) && mark(Number(row.dataset.id), false));
    row.addEventListener("keydown", (event) => {
      const visible = [...body.children].filter((other) => !other.hidden);
      const place = visible.indexOf(row);
      if (event.key === "ArrowDown" && visible[place + 1]) visible[place + 1].focus();
      else if (event.key === "ArrowUp" && visible[place - 1]) visible[place - 1].focus();
      else if (event.key === "a") judge("accept");
      else if (event.key === "r") judge("reject");
      else if (event.key === "o") judge("open");
      else return;
      event.preventDefault();
    });
  }
  for (const button of document.querySelectorAll(".sort")) button.addEventListener("click", () => {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of document.querySelectorAll("#cracks th")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = button.dataset.key;
    const value = (row) => (key === "verdict" ? row.dataset[key] : Number(row.dataset[key]));
    const sorted = [...rows.values()].sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1));
    body.append(...sorted);
  });
  function filter() {
    const least = Number(byId("least").value) || 0;
    const said = byId("verdicts").value;
    const besides = byId("besides");
    for (const [id, row] of rows) {
      row.hidden = (row.dataset.section !== "main" && !besides.checked && row.dataset.verdict !== "accept") || (least && Number(row.dataset.width) < least) || (said && row.dataset.verdict !== said);
      for (const path of drawn.get(id) || []) path.toggleAttribute("hidden", row.hidden);
      if (drawn.has(id)) drawn.get(id)[0].previousSibling.toggleAttribute("hidden", row.hidden);
    }
  }
  for (const name of ["input", "change"]) byId("crackfilters").addEventListener(name, filter);
  byId("crackfilters").addEventListener("submit", (event) => event.preventDefault());

  function count() {
    const rejected = [...rows.values()].filter((row) => row.dataset.verdict === "reject").length;
    const listed = [...rows.values()].filter((row) => row.dataset.section === "main" || row.dataset.verdict === "accept").length;
    byId("count").textContent = `${listed} ${listed === 1 ? "crack" : "cracks"}` +
      (rows.size > listed ? `, ${rows.size - listed} also marked: doubtful, in no figure` : "") +
      (rejected ? `, ${rejected} rejected: left out of the survey's figures` : "");
  }

  // Verdicts: kept as they are made; what the service does not take is tried again, never dropped.
  const unsent = new Map();
  let sending = false;
  let typing = null;
  function request(id, said) {
    return fetch(`${base}/cracks/${id}/verdict`, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said), keepalive: true,
    });
  }
  function keep(id, said) {
    const row = rows.get(id);
    if (row.dataset.verdict === said.verdict && row.dataset.note === said.note && !unsent.has(id)) return;
    Object.assign(row.dataset, said);
    row.querySelector(".said").textContent = said.verdict === "open" ? "" : said.verdict;
    if (drawn.has(id)) dress(id);
    count();
    filter();
    unsent.set(id, said);
    sendUnsent();
  }
  function keepNote() {
    clearTimeout(typing);
    if (chosen === null) return;
    const verdict = byId("judge").verdict.value || "open";
    const row = rows.get(chosen);
    if (row.dataset.note !== byId("note").value) keep(chosen, { verdict, note: byId("note").value });
  }
  function judge(verdict) {
    clearTimeout(typing);
    for (const radio of byId("judge").verdict) radio.checked = radio.value === verdict;
    keep(chosen, { verdict, note: byId("note").value });
  }
  async function sendUnsent() {
    if (sending) return;
    sending = true;
    for (let pause = 1000; unsent.size;) {
      const [id, said] = unsent.entries().next().value;
      byId("say").textContent = "saving";
      let status = 0;
      let detail = "";
      try {
        const answer = await request(id, said);
        status = answer.status;
        if (!answer.ok) detail = (await answer.json()).detail;
      } catch { /* the line broke, or it was a proxy that answered */ }
      if (status >= 200 && status < 300) {
        if (unsent.get(id) === said) unsent.delete(id);
        byId("say").textContent = "saved";
        pause = 1000;
      } else if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
        byId("say").textContent = `Not saved: ${detail}`;
        break; // tried again with the next verdict, and before the page is left
      } else {
        byId("say").textContent = "Connection lost: not saved yet, trying again.";
        await new Promise((done) => { setTimeout(done, pause); });
        pause = Math.min(2 * pause, 15000);
      }
    }
    sending = false;
  }
  for (const radio of byId("judge").verdict) radio.addEventListener("change", () => judge(radio.value));
  byId("note").addEventListener("change", keepNote);
  byId("note").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(keepNote, 1000); });
  byId("judge").addEventListener("submit", (event) => {
    event.preventDefault();
    keepNote();
    if (!unsent.size) byId("say").textContent = "saved";
    sendUnsent();
  });
  function leave() {
    keepNote();
    for (const [id, said] of unsent) request(id, said).then((answer) => { if (answer.ok && unsent.get(id) === said) unsent.delete(id); }, () => {});
  }
  window.addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leave(); });
  window.addEventListener("beforeunload", (event) => {
    leave();
    const stuck = !sending || byId("say").textContent.startsWith("Connection lost");
    if (unsent.size && stuck) event.preventDefault(); // the browser asks whether to stay
  });
  window.addEventListener("online", sendUnsent);

  count();
  filter();
  fit();
  fetch(`${base}/report.json`).then((answer) => answer.json()).then((report) => {
    for (const crack of report.cracks) draw(crack);
    filter();
    viewer.dataset.ready = "yes";
  });
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select")) return;
  const link = { n: byId("next"), p: byId("previous") }[event.key];
  if (link) link.click();
});
if (viewer) start();
