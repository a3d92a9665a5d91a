// The inspector's tools: what is drawn goes to the service, which measures it; undo and redo.
import { Draw, Modify, Snap } from "./vendor/ol/ol.js";
import { toPlace } from "./picture.js";

const TOOLS = { // kind of edit -> what is drawn for it, and what the hint says
  draw: { type: "LineString", places: "line", hint: "Click along the missed crack; double-click, Enter or Done ends it." },
  erase: { type: "Polygon", places: "area", hint: "Click around what is to go; double-click, Enter or Done ends it." },
  split: { type: "Point", places: "point", snap: true, hint: "Click the crack where it is to be cut." },
  join: { type: "LineString", places: "line", snap: true, most: 2, hint: "Click the end of one crack, then the other crack." },
  move: { hint: "Drag the points of the line; click it to add one. Enter measures it." },
  structure: { type: "Polygon", places: "area", hint: "Click around the structure: nothing outside it counts." },
  ignore: { type: "Polygon", places: "area", hint: "Click around what is not to be looked at." },
};
const LASTS_MS = 3600000; // of an edit that was under way when its page was left
// Not randomUUID, which pages without TLS lack.
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const KEYS = { d: "draw", e: "erase", s: "split", j: "join", m: "move" };

export class Corrections {
  constructor(picture, { base, box, chosen, crack, listed, before, after }) {
    Object.assign(this, { picture, base, box, chosen, crack, listed, before, after });
    this.begun = false; // something is half drawn
    this.undone = [];
    this.edits = [];
    this.tool = null;
    this.busy = false;
    for (const button of box.querySelectorAll("[data-tool]")) button.addEventListener("click", () => this.choose(button.dataset.tool === this.tool ? null : button.dataset.tool));
    for (const button of document.querySelectorAll("[data-mark]")) button.addEventListener("click", () => this.mark(button.dataset.mark));
    this.find("#undo").addEventListener("click", () => this.undo());
    this.find("#redo").addEventListener("click", () => this.redo());
    this.find("#done").addEventListener("click", () => this.end());
    box.dataset.busy = "yes"; // until `load`, which waits for the picture
  }

  find(selector) { return this.box.querySelector(selector); }

  say(text) { this.find("#correctsay").textContent = text; }

  async load() {
    const answer = await fetch(`${this.base}/corrections`);
    if (answer.ok) this.edits = (await answer.json()).edits;
    else if (answer.status >= 500) throw new Error(`answered ${answer.status}`);
    this.show();
  }

  show() {
    this.find("#undo").disabled = this.busy || !this.edits.length;
    this.find("#redo").disabled = this.busy || !this.undone.length;
    this.find("#done").hidden = !this.tool;
    for (const button of this.box.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", String(button.dataset.tool === this.tool));
    const last = this.edits[this.edits.length - 1];
    this.find("#editcount").textContent = last ? `${this.edits.length} ${this.edits.length === 1 ? "edit" : "edits"}, the last by ${last.by}` : "";
    this.box.dataset.edits = String(this.edits.length);
    this.box.dataset.busy = this.busy ? "yes" : "";
  }

  choose(tool) {
    const { map } = this.picture;
    for (const one of [this.drawing, this.snapping]) if (one) map.removeInteraction(one);
    if (this.tool === "move") this.picture.sketch(null);
    this.drawing = this.snapping = null;
    this.begun = false;
    this.tool = tool;
    this.say(tool ? TOOLS[tool].hint : "");
    if (tool === "move") this.moveBegins();
    else if (tool) this.drawingBegins(TOOLS[tool]);
    map.getTargetElement().classList.toggle("drawing", Boolean(this.tool));
    this.show();
  }

  drawingBegins({ type, most, snap }) {
    const { map } = this.picture;
    this.drawing = new Draw({ type, maxPoints: most, minPoints: type === "Polygon" ? 3 : 2, stopClick: true, snapTolerance: 12 });
    this.drawing.on("drawstart", () => { this.begun = true; });
    this.drawing.on("drawabort", () => { this.begun = false; });
    this.drawing.on("drawend", (event) => {
      this.begun = false;
      this.drawn(event.feature.getGeometry());
    });
    map.addInteraction(this.drawing);
    if (snap) map.addInteraction(this.snapping = new Snap({ source: this.picture.cracks, pixelTolerance: 14 }));
  }

  moveBegins() {
    const line = this.lineOf(this.chosen());
    if (!line) {
      this.tool = null;
      this.say("Choose a crack that was drawn by hand: its points can be moved.");
      return;
    }
    this.picture.sketch(line, true);
    this.moved = this.chosen();
    this.picture.map.addInteraction(this.snapping = new Modify({ source: this.picture.sketches, pixelTolerance: 16 }));
    this.snapping.on("modifystart", () => { this.begun = true; });
  }

  /** The places that were clicked for a crack, null of one that was not only drawn. */
  lineOf(id) {
    const crack = id === null ? null : this.crack(id);
    const made = (crack && crack.edits) || [];
    const edits = this.edits.filter((edit) => made.includes(edit.id));
    return edits.length && edits.length === made.length && edits.every((edit) => ["draw", "redraw"].includes(edit.kind))
      ? edits[edits.length - 1].line : null;
  }

  /** Finish what is being drawn, or put the tool away. */
  end() {
    if (this.tool === "move") {
      const edit = { kind: "redraw", point: this.picture.onCrack(this.moved), line: this.picture.sketched().map((at) => this.inside(at)) };
      this.choose(null);
      this.send(edit);
    } else if (this.drawing && this.tool !== "split") this.drawing.finishDrawing();
    else this.choose(null);
  }

  drawn(geometry) {
    const { type, places } = TOOLS[this.tool];
    const xy = geometry.getCoordinates();
    const at = type === "Point" ? toPlace(xy) : (type === "Polygon" ? xy[0].slice(0, -1) : xy).map(toPlace);
    this.send({ kind: this.tool, [places]: type === "LineString" ? at.map((place) => this.inside(place)) : at });
  }

  inside([row, col]) {
    const { height, width } = this.picture.size;
    return [Math.min(Math.max(row, 0), height - 1), Math.min(Math.max(col, 0), width - 1)];
  }

  mark(kind) {
    const id = this.chosen();
    const point = id === null ? null : this.picture.onCrack(id);
    if (point) this.send({ kind, point });
    else this.say("Choose a crack first.");
  }

  undo() {
    const last = this.edits[this.edits.length - 1];
    if (!last || this.busy) return;
    const { id, by, at, ...edit } = last;
    this.request({ drop: id }, () => this.undone.push(edit));
  }

  redo() {
    const edit = this.undone[this.undone.length - 1];
    if (edit && !this.busy) this.request({ edit, key: newKey() }, () => this.undone.pop());
  }

  send(edit) {
    this.picture.sketch(edit.line || edit.area || null);
    this.request({ edit, key: newKey() }, () => { this.undone = []; });
  }

  /** Do what was under way when the page was left: the key makes it happen once. */
  resume() {
    const wish = this.wish();
    if (wish) this.request(wish, () => {});
  }

  wish(fresh) {
    const name = `edit ${this.base}`;
    try {
      if (fresh) sessionStorage.setItem(name, JSON.stringify({ ...fresh, at: Date.now() }));
      else if (fresh === null) sessionStorage.removeItem(name);
      const wish = JSON.parse(sessionStorage.getItem(name));
      return wish && Date.now() - wish.at < LASTS_MS ? wish : null;
    } catch { return null; } // a browser that stores nothing
  }

  /** Ask until there is an answer: who has none does not know what was done. */
  async ask({ edit, key, drop }) {
    for (let pause = 1000; ; pause = Math.min(2 * pause, 15000)) {
      try {
        const answer = await fetch(`${this.base}/corrections${drop ? `/${drop}` : ""}`, {
          method: edit ? "POST" : "DELETE",
          headers: edit ? { "Content-Type": "application/json", "Idempotency-Key": key } : {},
          body: edit ? JSON.stringify(edit) : undefined,
        });
        const { ok, status } = answer;
        const body = await answer.json().catch(() => ({}));
        const refused = (status >= 400 && status < 500) || body.detail;
        if (refused && ![408, 429, 502, 504].includes(status)) return { ok, status, body: { detail: `the service answered ${status}.`, ...body } };
        if (ok && body.edits) return { ok, status, body };
      } catch { /* the line broke, or it was a proxy that answered */ }
      await this.wait(pause);
    }
  }

  /** Show what the service has now, until it can be read. */
  async reload(id) {
    for (let pause = 1000; ; pause = Math.min(2 * pause, 15000)) {
      try {
        await this.load();
        await this.after(id);
        return;
      } catch { /* the line broke */ }
      await this.wait(pause);
    }
  }

  wait(pause) {
    this.say("Connection lost: whether it was done is not known yet, asking again.");
    return new Promise((done) => { setTimeout(done, pause); });
  }

  async request(wish, then) {
    if (this.busy) return;
    this.busy = true;
    this.show();
    this.say("measuring …");
    await this.before();
    this.wish(wish);
    const earlier = new Set(this.edits.map((one) => one.id));
    const cracks = this.listed();
    const { ok, status, body } = await this.ask(wish);
    this.wish(null);
    const fresh = ok ? body.edits.find((one) => !earlier.has(one.id)) : null;
    if (ok || status === 409 || status >= 500) await this.reload(fresh ? fresh.id : null); // or somebody else corrected meanwhile
    const gone = wish.drop && status === 409 && !this.edits.some((one) => one.id === wish.drop);
    if (ok || gone) then();
    this.busy = false;
    this.picture.sketch(null);
    if (gone) this.say("undone");
    else if (ok) this.say(this.outcome(wish, body, cracks, fresh));
    else this.say(status === 500 ? `${body.detail} What is shown is what the service has now.` : `Not done: ${body.detail}`);
    this.show();
  }

  outcome({ edit, drop }, { notice }, before, fresh) {
    if (drop) return notice ? `undone. ${notice}` : "undone";
    if (!fresh && notice) return notice; // asked for again, and undone by somebody since
    const now = new Set(this.listed());
    const replaced = before.filter((id) => !now.has(id));
    const drawn = ["draw", "redraw"].includes(edit.kind) && replaced.length;
    const what = drawn ? `measured; it takes the place of crack ${replaced.join(", ")}, on which it lies.` : "measured";
    return notice ? `${what}${drawn ? "" : "."} ${notice}` : what;
  }

  /** Whether a key was one of ours. */
  key(event) {
    const key = event.key.toLowerCase();
    const ctrl = event.ctrlKey || event.metaKey;
    if ((ctrl && key === "z" && event.shiftKey) || (ctrl && key === "y") || (!ctrl && key === "y")) this.redo();
    else if ((ctrl && key === "z") || (!ctrl && key === "u")) this.undo();
    else if (ctrl || event.altKey) return false;
    else if (key === "escape") { if (this.drawing) this.drawing.abortDrawing(); this.choose(null); }
    else if (key === "enter" && this.tool) this.end();
    else if (key === "backspace" && this.drawing) this.drawing.removeLastPoint();
    else if (KEYS[key]) this.choose(KEYS[key] === this.tool ? null : KEYS[key]);
    else return false;
    return true;
  }
}
