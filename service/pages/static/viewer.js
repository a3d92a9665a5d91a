// The page of an image: its picture, the table of its cracks, and what an inspector says of them.
import { Corrections } from "./corrections.js";
import { Picture } from "./picture.js";

const byId = (id) => document.getElementById(id);
const viewer = byId("viewer");

function start() {
  const { base } = viewer.dataset;
  const stage = byId("stage");
  const boxes = new Map();
  let rows = new Map();
  let chosen = null;
  let lit = null;
  let crackOf = new Map();

  const picture = new Picture(stage, {
    base, width: Number(viewer.dataset.width), height: Number(viewer.dataset.height),
    tiled: viewer.dataset.tiled === "yes", describe,
  });

  function describe(id) {
    const row = rows.get(id);
    if (!row) return null;
    const verdict = row.dataset.verdict;
    return {
      verdict, hidden: row.hidden, chosen: id === chosen, lit: id === chosen || id === lit,
      besides: row.dataset.section !== "main" && verdict !== "accept", width: row.querySelector(".width").textContent,
    };
  }

  // The view -----------------------------------------------------------------------------------
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) picture.pan(...step);
    else if (event.key === "+" || event.key === "=") picture.zoom(0.7);
    else if (event.key === "-") picture.zoom(1 / 0.7);
    else if (event.key === "0") picture.fit();
    else return;
    event.preventDefault();
  });
  byId("in").addEventListener("click", () => picture.zoom(0.7));
  byId("out").addEventListener("click", () => picture.zoom(1 / 0.7));
  byId("fit").addEventListener("click", () => picture.fit());
  byId("lines").addEventListener("change", (event) => picture.showLines(event.target.checked));
  for (const name of ["brightness", "contrast"]) byId(name).addEventListener("input", () => picture.adjust(Number(byId("brightness").value), Number(byId("contrast").value)));
  picture.map.on("pointermove", (event) => {
    if (event.dragging || corrections.tool) return;
    const id = picture.crackAt(event.pixel);
    stage.classList.toggle("over", id !== null);
    if (id !== lit) light(id);
    if (id === null) byId("tip").hidden = true;
    else tip(event.pixel, textOf(id));
  });
  stage.addEventListener("pointerleave", () => { light(null); byId("tip").hidden = true; });
  picture.map.on("dblclick", (event) => { if (!corrections.tool) picture.zoom(0.5, event.coordinate); });
  picture.map.on("singleclick", (event) => {
    const id = corrections.tool ? null : picture.crackAt(event.pixel);
    showOther(id === null && !corrections.tool ? picture.otherAt(event.pixel) : null);
    if (id === null) return;
    choose(id, false);
  });

  // Joints and lines that are taken for no cracks: one of them may be a crack after all.
  let other = null;
  function showOther(line) {
    other = line;
    picture.lightOther(line && line.id, line && line.what);
    byId("other").hidden = !line;
    if (!line) return;
    const unit = line.length_mm === null ? "px" : "mm";
    byId("othersay").textContent = `${line.what}, ${line[`length_${unit}`].toFixed(0)} ${unit} long: counted as no crack.`;
    byId("other").scrollIntoView({ block: "nearest" });
  }
  byId("others").addEventListener("change", (event) => { picture.showOthers(event.target.checked); if (!event.target.checked) showOther(null); });
  byId("iscrack").addEventListener("click", () => { if (other) corrections.send({ kind: "crack", point: other.place }); });

  // The cracks ---------------------------------------------------------------------------------
  function textOf(id) {
    const row = rows.get(id);
    const text = (name) => row.querySelector(`.${name}`).textContent;
    const column = document.querySelector('.sort[data-key="class"]');
    return `${row.dataset.section === "main" ? "Crack" : "Doubtful mark"} ${id}\nlength ${text("length")}\nwidest ${text("width")}\ncertainty ${text("certainty")}` +
      (column ? `\n${column.textContent}: ${text("class")}` : "") + (row.dataset.made ? `\n${row.dataset.made}` : "");
  }
  function light(id) {
    if (lit !== null && lit !== chosen && rows.has(lit)) rows.get(lit).classList.remove("lit");
    lit = id;
    if (rows.has(id)) rows.get(id).classList.add("lit");
    picture.redraw();
  }
  function tip([x, y], text) {
    const box = byId("tip");
    box.textContent = text;
    box.hidden = false;
    box.style.left = `${Math.min(x + 14, stage.clientWidth - box.offsetWidth - 4)}px`;
    box.style.top = `${stage.offsetTop + Math.min(y + 14, stage.clientHeight - box.offsetHeight - 4)}px`;
  }
  function choose(id, jump) {
    const old = chosen;
    if (old !== null && old !== id) keepNote();
    chosen = id;
    if (old !== null && old !== id && rows.has(old)) rows.get(old).classList.remove("lit");
    const row = rows.get(id);
    row.classList.add("lit");
    if (jump && boxes.has(id)) picture.goTo(boxes.get(id));
    picture.redraw();
    byId("judge").hidden = false;
    byId("which").textContent = id;
    byId("details").textContent = textOf(id).split("\n").slice(1).join(" · ");
    for (const radio of byId("judge").verdict) radio.checked = radio.value === row.dataset.verdict;
    if (old !== id) byId("note").value = row.dataset.note; // else it may be just being typed
    if (!unsent.size) byId("say").textContent = "";
    // On a phone picture and verdict stand above the table, on a desk beside it.
    if (window.matchMedia("(max-width: 1000px)").matches) byId("verdict").scrollIntoView({ block: "end" });
    else row.scrollIntoView({ block: "nearest", inline: "start" });
  }
  function step(forward) {
    const visible = [...body().children].filter((row) => row.dataset.id && !row.hidden);
    const place = visible.findIndex((row) => Number(row.dataset.id) === chosen);
    const row = visible[place < 0 ? 0 : place + forward];
    if (row) choose(Number(row.dataset.id), true);
    return row;
  }

  // The table ----------------------------------------------------------------------------------
  const body = () => document.querySelector("#cracks tbody");
  function takeRows() {
    rows = new Map([...document.querySelectorAll("#cracks tbody tr[data-id]")].map((row) => [Number(row.dataset.id), row]));
    for (const [id, row] of rows) {
      row.addEventListener("click", () => choose(id, true));
      row.addEventListener("focus", () => choose(id, true));
      row.addEventListener("pointerenter", () => light(id));
      row.addEventListener("pointerleave", () => light(null));
      row.addEventListener("keydown", (event) => {
        const forward = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (!forward) return;
        const next = step(forward);
        if (next) next.focus();
        event.preventDefault();
      });
    }
  }
  for (const button of document.querySelectorAll(".sort")) button.addEventListener("click", () => {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of document.querySelectorAll("#cracks th")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = button.dataset.key;
    const value = (row) => (key === "verdict" ? row.dataset[key] : Number(row.dataset[key]));
    const sorted = [...rows.values()].sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (down ? -1 : 1));
    body().append(...sorted);
  });
  function filter() {
    const least = Number(byId("least").value) || 0;
    const only = byId("verdicts").value;
    const besides = byId("besides");
    for (const row of rows.values()) {
      const doubtful = row.dataset.section !== "main" && row.dataset.verdict !== "accept";
      row.hidden = (doubtful && !(besides && besides.checked)) || (least && Number(row.dataset.width) < least) || (only && row.dataset.verdict !== only);
    }
    picture.redraw();
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
  function request(id, judgement) {
    return fetch(`${base}/cracks/${id}/verdict`, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...judgement, seen_at: rows.has(id) ? rows.get(id).dataset.at : null }), keepalive: true,
    });
  }
  function keep(id, judgement) {
    const row = rows.get(id);
    if (row.dataset.verdict === judgement.verdict && row.dataset.note === judgement.note && !unsent.has(id)) return;
    Object.assign(row.dataset, judgement);
    row.querySelector(".said").textContent = { accept: "accepted", reject: "rejected", open: "" }[judgement.verdict];
    count();
    filter();
    unsent.set(id, judgement);
    sendUnsent();
  }
  function keepNote() {
    clearTimeout(typing);
    if (chosen === null || !rows.has(chosen)) return;
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
      const [id, judgement] = unsent.entries().next().value;
      byId("say").textContent = "saving";
      let status = 0;
      let detail = "";
      let at = "";
      try {
        const answer = await request(id, judgement);
        status = answer.status;
        const stored = await answer.json();
        detail = stored.detail;
        at = stored.updated_at;
      } catch { /* the line broke, or it was a proxy that answered */ }
      if (status >= 200 && status < 300) {
        if (rows.has(id)) rows.get(id).dataset.at = at;
        if (unsent.get(id) === judgement) unsent.delete(id);
        byId("say").textContent = "saved";
        pause = 1000;
      } else if (status === 409) { // somebody else has spoken: his word is shown, and stays
        unsent.delete(id);
        await refresh(null).catch(() => {});
        byId("say").textContent = `Not saved: ${detail}`;
        break;
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
    for (const [id, judgement] of unsent) request(id, judgement).then((answer) => { if (answer.ok && unsent.get(id) === judgement) unsent.delete(id); }, () => {});
  }
  window.addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leave(); });
  window.addEventListener("beforeunload", (event) => {
    leave();
    const stuck = !sending || byId("say").textContent.startsWith("Connection lost");
    if (unsent.size && stuck) event.preventDefault(); // the browser asks whether to stay
  });
  window.addEventListener("online", sendUnsent);

  // Corrections ---------------------------------------------------------------------------------
  const corrections = new Corrections(picture, {
    base, box: byId("correct"), chosen: () => chosen, crack: (id) => crackOf.get(id),
    before: async () => { keepNote(); for (let tries = 0; sending && tries < 50; tries++) await new Promise((done) => { setTimeout(done, 100); }); },
    after: refresh,
  });
  async function read() {
    const report = await (await fetch(`${base}/report.json`, { cache: "no-cache" })).json();
    crackOf = new Map(report.cracks.map((crack) => [crack.id, crack]));
    boxes.clear();
    for (const crack of report.cracks) boxes.set(crack.id, crack.bbox);
    picture.draw(report.cracks);
    const joints = report.joints.map((line) => ({ ...line, what: "A joint" }));
    const lines = [...joints, ...(report.other_lines || []).map((line) => ({ ...line, what: "Another line" }))];
    picture.drawOthers(lines);
    byId("othercount").textContent = lines.length === 1 ? "1 other line" : `${lines.length} other lines`;
    byId("othersbox").hidden = !lines.length;
    showOther(null);
  }
  async function refresh(edit) {
    const text = await (await fetch(window.location.href, { cache: "no-store" })).text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of ["#cracks tbody", ".notices"]) document.querySelector(part).replaceWith(document.importNode(fresh.querySelector(part), true));
    const history = fresh.getElementById("history");
    if (history && byId("history")) byId("history").replaceWith(document.importNode(history, true));
    else if (history) byId("judge").after(document.importNode(history, true));
    takeRows();
    for (const [id, judgement] of unsent) if (rows.has(id)) Object.assign(rows.get(id).dataset, judgement);
    await read();
    count();
    filter();
    const made = [...crackOf.values()].find((crack) => edit && (crack.edits || []).includes(edit));
    if (made) choose(made.id, false);
    else if (chosen !== null && rows.has(chosen)) choose(chosen, false);
    else { chosen = null; byId("judge").hidden = true; }
  }

  document.addEventListener("keydown", (event) => {
    if (event.target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])")) return;
    const verdict = { a: "accept", r: "reject", o: "open" }[event.key];
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (verdict && plain && chosen !== null) judge(verdict);
    else if (plain && (event.key === "." || event.key === ",")) step(event.key === "." ? 1 : -1);
    else if (!corrections.key(event)) return;
    event.preventDefault();
  });

  takeRows();
  count();
  filter();
  picture.fit();
  read().then(() => { filter(); viewer.dataset.ready = "yes"; corrections.load(); });
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey) return;
  const link = { n: byId("next"), p: byId("previous") }[event.key];
  if (link) link.click();
});
if (viewer) start();
