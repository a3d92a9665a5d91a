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
    show(id);
    if (refused.has(id)) byId("say").textContent = `Not saved for crack ${id}: ${refused.get(id).detail}`;
    else if (!unsent.size) byId("say").textContent = "";
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
    const least = readLeast(byId("least"));
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
  // Sent is only what the person changed himself, with the time of the word that he saw before it.
  const unsent = new Map();
  const refused = new Map(); // number of a crack -> judgement that the service refused, and why
  const drafts = new Map(); // notes that came after somebody else's word: in the field until said again
  let shown = null; // the crack, note and time that the fields showed before anybody typed
  let sending = false;
  let typing = null;
  function show(id) {
    const { verdict, note, at } = rows.get(id).dataset;
    for (const radio of byId("judge").verdict) radio.checked = radio.value === verdict;
    if (shown && shown.id === id && byId("note").value !== shown.note) return; // it is being typed
    byId("note").value = drafts.has(id) ? drafts.get(id) : note;
    shown = { id, note: byId("note").value, at };
  }
  function request(id, { verdict, note, seen_at, seen_edits }) {
    return fetch(`${base}/cracks/${id}/verdict`, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ verdict, note, seen_at, seen_edits }), keepalive: true,
    });
  }
  function write(id) {
    const row = rows.get(id);
    const text = { accept: "accepted", reject: "rejected", open: "" }[row.dataset.verdict];
    row.querySelector(".said").textContent = refused.has(id) ? `${text || "open"}: not saved` : text;
    row.title = refused.has(id) ? `Not saved: ${refused.get(id).detail}` : "";
  }
  const editsOf = (id) => (crackOf.get(id) || {}).edits || []; // a number may go to another crack
  function keep(id, verdict) {
    const row = rows.get(id);
    const note = byId("note").value;
    if (row.dataset.verdict === verdict && row.dataset.note === note && !unsent.has(id)) return;
    const earlier = unsent.get(id);
    const typed = note !== shown.note || drafts.has(id) || Boolean(earlier && earlier.typed);
    drafts.delete(id);
    refused.delete(id);
    unsent.set(id, { verdict, note, seen_at: shown.at, seen_edits: editsOf(id), typed });
    shown.note = note;
    Object.assign(row.dataset, { verdict, note });
    write(id);
    count();
    filter();
    sendUnsent();
  }
  function keepNote() {
    clearTimeout(typing);
    if (chosen === null || !rows.has(chosen) || shown.id !== chosen) return;
    if (byId("note").value !== shown.note) keep(chosen, byId("judge").verdict.value || "open");
  }
  function judge(verdict) {
    clearTimeout(typing);
    for (const radio of byId("judge").verdict) radio.checked = radio.value === verdict;
    keep(chosen, verdict);
  }
  /** Show what somebody else said; a note that was typed meanwhile stays in the field. */
  async function giveWay(id, judgement, detail) {
    const text = id === chosen ? byId("note").value : judgement.note;
    unsent.delete(id);
    if (judgement.typed || text !== judgement.note) drafts.set(id, text);
    if (id === chosen) byId("note").value = shown.note = text;
    await refresh(null).catch(() => {});
    await corrections.load().catch(() => {}); // it may have been an edit
    const rest = drafts.has(id) ? " Your note is still in the field, and not saved." : "";
    byId("say").textContent = `Not saved${id === chosen ? "" : ` for crack ${id}`}: ${detail}${rest}`;
  }
  /** Say at its row what the service refused; the others go on. */
  async function refuse(id, judgement, status, detail) {
    refused.set(id, { judgement, detail });
    if (rows.has(id)) write(id);
    if (status === 404) await refresh(null).catch(() => {}); // somebody took the crack off the list
    byId("say").textContent = `Not saved for crack ${id}: ${detail}`;
    if (rows.has(id)) return;
    unsent.delete(id);
    refused.delete(id);
    corrections.say(byId("say").textContent); // its own fields are gone
  }
  const waiting = () => [...unsent].find(([id, judgement]) => !refused.has(id) || refused.get(id).judgement !== judgement);
  async function sendUnsent() {
    if (sending) return;
    sending = true;
    for (let pause = 1000; waiting();) {
      const [id, judgement] = waiting();
      byId("say").textContent = "saving";
      let status = 0;
      let stored = {};
      try {
        const answer = await request(id, judgement);
        status = answer.status;
        stored = await answer.json();
      } catch { /* the line broke, or it was a proxy that answered */ }
      if (status >= 200 && status < 300) {
        if (rows.has(id)) rows.get(id).dataset.at = stored.updated_at;
        if (shown && shown.id === id) shown.at = stored.updated_at;
        if (unsent.get(id) === judgement) unsent.delete(id);
        byId("say").textContent = stored.notice ? `saved. ${stored.notice}` : "saved";
        pause = 1000;
        lookForNewer(stored.notice);
      } else if (status === 409) await giveWay(id, judgement, stored.detail);
      else if (status >= 400 && status < 500 && status !== 408 && status !== 429) await refuse(id, judgement, status, stored.detail || `the service answered ${status}.`);
      else {
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
    if (drafts.has(chosen)) keep(chosen, byId("judge").verdict.value || "open");
    refused.clear();
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
    if ((unsent.size && stuck) || drafts.size || corrections.begun) event.preventDefault(); // the browser asks whether to stay
  });
  window.addEventListener("online", sendUnsent);

  // Corrections ---------------------------------------------------------------------------------
  const corrections = new Corrections(picture, {
    base, box: byId("correct"), chosen: () => chosen, crack: (id) => crackOf.get(id), listed: () => [...crackOf.keys()],
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
  // The page of this very analysis, also after a newer one.
  async function fetchPage() {
    const text = await (await fetch(viewer.dataset.page, { cache: "no-store" })).text();
    return new DOMParser().parseFromString(text, "text/html");
  }
  let lookedAt = 0;
  async function lookForNewer(known) {
    if (!known && Date.now() - lookedAt < 60000) return;
    lookedAt = Date.now();
    const newer = (await fetchPage().catch(() => document)).getElementById("newer");
    if (newer && !byId("newer")) document.querySelector(".notices").prepend(document.importNode(newer, true));
  }
  async function refresh(edit) {
    const fresh = await fetchPage();
    for (const part of ["#cracks tbody", ".notices"]) document.querySelector(part).replaceWith(document.importNode(fresh.querySelector(part), true));
    const history = fresh.getElementById("history");
    if (history && byId("history")) byId("history").replaceWith(document.importNode(history, true));
    else if (history) byId("judge").after(document.importNode(history, true));
    takeRows();
    for (const [id, { verdict, note }] of unsent) {
      if (!rows.has(id)) continue;
      Object.assign(rows.get(id).dataset, { verdict, note });
      write(id);
    }
    await read();
    count();
    filter();
    const made = [...crackOf.values()].find((crack) => edit && (crack.edits || []).includes(edit));
    if (made) choose(made.id, false);
    else if (chosen !== null && rows.has(chosen)) choose(chosen, false);
    else { chosen = shown = null; byId("judge").hidden = true; }
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
  read().then(() => { filter(); viewer.dataset.ready = "yes"; return corrections.load(); }).then(() => corrections.resume());
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey) return;
  const link = { n: byId("next"), p: byId("previous") }[event.key];
  if (link) link.click();
});
if (viewer) start();
