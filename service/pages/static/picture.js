// The photograph with its cracks: OpenLayers shows tiles and lines; places are (row, col) outside.
import {
  CircleStyle, Feature, Fill, ImageLayer, ImageStatic, LineString, Map as OlMap, MultiLineString,
  Point, Projection, Stroke, Style, Text, TileLayer, VectorLayer, VectorSource, View, Zoomify,
  interactions,
} from "./vendor/ol/ol.js";

const BLUE = "#1769e0", RED = "#e5261b", GREEN = "#12813c", GREY = "#66717a", GOLD = "#ff9d00", PURPLE = "#b3259e";

/** A place of the picture as OpenLayers counts: x to the right, y upwards, pixel corners whole. */
export const toXy = ([row, col]) => [col + 0.5, -(row + 0.5)];
export const toPlace = ([x, y]) => [Math.round(10 * (-y - 0.5)) / 10, Math.round(10 * (x - 0.5)) / 10];

/** The two edges of a branch where its width is known, as lines of places. */
function edges(line, widths) {
  const sides = [[], []];
  for (const sign of [-1, 1]) {
    let run = [];
    line.forEach(([row, col], k) => {
      const before = line[Math.max(k - 1, 0)];
      const after = line[Math.min(k + 1, line.length - 1)];
      const [dr, dc] = [after[0] - before[0], after[1] - before[1]];
      const long = Math.hypot(dr, dc);
      if (widths[k] === null || widths[k] === undefined || !long) {
        if (run.length > 1) sides[0].push(run);
        run = [];
        return;
      }
      const half = (sign * widths[k]) / 2 / long;
      run.push([row - half * dc, col + half * dr]);
    });
    if (run.length > 1) sides[0].push(run);
  }
  return sides[0];
}

function otherStyle(lit) {
  return [
    new Style({ stroke: new Stroke({ color: "rgba(255,255,255,.55)", width: lit ? 6 : 4 }) }),
    new Style({ stroke: new Stroke({ color: lit ? GOLD : BLUE, width: lit ? 4 : 2, lineDash: [8, 5] }) }),
  ];
}

/** What is being drawn; one whose points are moved shows them. */
function sketchStyle(feature) {
  const line = new Style({ stroke: new Stroke({ color: PURPLE, width: 3, lineDash: [6, 6] }) });
  if (!feature.get("points")) return line;
  const image = new CircleStyle({ radius: 7, fill: new Fill({ color: "#fff" }), stroke: new Stroke({ color: PURPLE, width: 3 }) });
  return [line, ...feature.getGeometry().getCoordinates().map((at) => new Style({ geometry: new Point(at), image }))];
}

export class Picture {
  constructor(target, { base, width, height, tiled, describe }) {
    this.size = { width, height };
    this.describe = describe; // of a crack's id -> { verdict, section, hidden, chosen, lit, width }
    const extent = [0, -height, width, 0];
    const projection = new Projection({ code: "picture", units: "pixels", extent });
    this.photo = tiled
      ? new TileLayer({
        className: "photo",
        // Without a `tileIndex` in it the address would get that of a Zoomify server behind it.
        source: new Zoomify({ url: `${base}/tiles/{z}/{x}/{y}#{tileIndex}`, size: [width, height], tileSize: 512, transition: 0 }),
      })
      : new ImageLayer({
        className: "photo",
        source: new ImageStatic({ url: `${base}/photo.jpg`, imageExtent: extent, projection }),
      });
    this.cracks = new VectorSource();
    this.sketches = new VectorSource();
    this.lines = new VectorLayer({ source: this.cracks, style: (feature, resolution) => this.style(feature, resolution) });
    this.others = new VectorSource(); // joints and lines that are taken for no cracks
    this.othersLayer = new VectorLayer({ source: this.others, visible: false, style: (feature) => otherStyle(feature.get("lit")) });
    const sketch = new VectorLayer({ source: this.sketches, style: sketchStyle });
    this.map = new OlMap({
      target,
      controls: [],
      layers: [this.photo, this.othersLayer, this.lines, sketch],
      interactions: interactions({ altShiftDragRotate: false, pinchRotate: false, keyboard: false, doubleClickZoom: false }),
      view: new View({
        projection, extent: [-width / 2, -1.5 * height, 1.5 * width, height / 2], showFullExtent: true,
        smoothExtentConstraint: false, constrainOnlyCenter: true, enableRotation: false,
        center: [width / 2, -height / 2], resolution: Math.max(width, height) / 600, minResolution: 1 / 16,
        maxResolution: (2 * Math.max(width, height)) / 300,
      }),
    });
    this.map.on("moveend", () => { target.dataset.view = this.map.getView().getCenter().concat(this.map.getView().getResolution()).map((v) => v.toFixed(3)).join(" "); });
    new ResizeObserver(() => this.map.updateSize()).observe(target);
  }

  fit() {
    const { width, height } = this.size;
    this.map.updateSize();
    this.map.getView().fit([0, -height, width, 0], { padding: [4, 4, 4, 4] });
  }

  zoom(factor, at) { this.map.getView().adjustResolution(factor, at); }

  pan(right, down) {
    const view = this.map.getView();
    const [x, y] = view.getCenter();
    const [wide, high] = this.map.getSize();
    view.setCenter([x + 0.15 * right * wide * view.getResolution(), y - 0.15 * down * high * view.getResolution()]);
  }

  goTo({ row, col, height, width }) {
    const box = [col, -(row + height), col + width, -row];
    this.map.getView().fit(box, { padding: [40, 40, 40, 40], minResolution: 80 / Math.max(this.map.getSize()[0], 1) });
  }

  adjust(brightness, contrast) {
    const canvas = this.map.getTargetElement().querySelector(".photo");
    if (canvas) canvas.style.filter = brightness === 100 && contrast === 100 ? "" : `brightness(${brightness}%) contrast(${contrast}%)`;
  }

  showLines(on) { this.lines.setVisible(on); }

  redraw() { this.lines.changed(); }

  draw(cracks) {
    this.cracks.clear();
    for (const crack of cracks) {
      const lines = crack.centre_line.filter((line) => line.length > 1);
      if (!lines.length) continue;
      const outline = crack.centre_line.flatMap((line, k) => edges(line, crack.width_profile_px[k]));
      const course = new Feature({ geometry: new MultiLineString(lines.map((line) => line.map(toXy))), part: "course" });
      const rim = new Feature({ geometry: new MultiLineString(outline.map((line) => line.map(toXy))), part: "rim" });
      this.add(crack, rim);
      this.add(crack, course);
      if (crack.width_max_at) this.add(crack, new Feature({ geometry: new Point(toXy([crack.width_max_at.row, crack.width_max_at.col])), part: "widest" }));
    }
  }

  /** Show what is taken for no crack: `lines` are { what, id, centre_line, ... }. */
  drawOthers(lines) {
    this.others.clear();
    for (const line of lines) {
      const parts = line.centre_line.filter((part) => part.length > 1).map((part) => part.map(toXy));
      if (!parts.length) continue;
      const feature = new Feature({ geometry: new MultiLineString(parts) });
      feature.set("line", line);
      this.others.addFeature(feature);
    }
  }

  showOthers(on) { this.othersLayer.setVisible(on); }

  /** The joint or other line at a pixel of the screen, with the place on it, or null. */
  otherAt(pixel) {
    const [feature] = this.map.getFeaturesAtPixel(pixel, { hitTolerance: 10, layerFilter: (layer) => layer === this.othersLayer });
    if (!feature) return null;
    return { ...feature.get("line"), place: toPlace(feature.getGeometry().getClosestPoint(this.map.getCoordinateFromPixel(pixel))) };
  }

  lightOther(id, what) {
    for (const feature of this.others.getFeatures()) feature.set("lit", feature.get("line").id === id && feature.get("line").what === what);
  }

  add(crack, feature) {
    feature.set("crack", crack.id);
    feature.set("made", crack.correction || "");
    this.cracks.addFeature(feature);
  }

  style(feature, resolution) {
    const look = this.describe(feature.get("crack"));
    if (!look || look.hidden) return null;
    const colour = look.lit ? GOLD : look.verdict === "accept" ? GREEN : look.verdict === "reject" ? GREY : feature.get("made") ? PURPLE : RED;
    const dashed = look.verdict === "reject" || look.besides ? [5, 4] : undefined;
    const part = feature.get("part");
    if (part === "rim") return resolution > 1 ? null : new Style({ stroke: new Stroke({ color: colour, width: look.lit ? 2 : 1.2, lineDash: dashed }) });
    if (part === "widest") {
      if (!look.chosen && resolution > 2) return null;
      return new Style({
        zIndex: 3,
        image: new CircleStyle({ radius: 6, stroke: new Stroke({ color: colour, width: 2.5 }) }),
        text: look.chosen ? new Text({ text: look.width, offsetY: -18, font: "600 14px system-ui", fill: new Fill({ color: "#fff" }), stroke: new Stroke({ color: "#14181b", width: 4 }) }) : undefined,
      });
    }
    const wide = look.lit ? 3 : 2;
    const line = new Style({ zIndex: look.lit ? 2 : 1, stroke: new Stroke({ color: colour, width: resolution > 1 ? wide : 1, lineDash: dashed }) });
    // Near enough to see the edges, the crack itself must stay to be seen.
    return resolution > 1 ? [new Style({ stroke: new Stroke({ color: "rgba(255,255,255,.55)", width: wide + 2 }) }), line] : line;
  }

  /** The crack at a pixel of the screen, or null. */
  crackAt(pixel) {
    const features = this.map.getFeaturesAtPixel(pixel, { hitTolerance: 10, layerFilter: (layer) => layer === this.lines });
    return features.length ? features[0].get("crack") : null;
  }

  /** The place of a crack's centre line that is nearest to a place, for an edit that means it. */
  onCrack(id, place) {
    const course = this.cracks.getFeatures().find((f) => f.get("crack") === id && f.get("part") === "course");
    if (!course) return null;
    const near = place ? toXy(place) : course.getGeometry().getLineStrings()[0].getCoordinateAt(0.5);
    return toPlace(course.getGeometry().getClosestPoint(near));
  }

  sketch(places, points = false) {
    this.sketches.clear();
    if (places) this.sketches.addFeature(new Feature({ geometry: new LineString(places.map(toXy)), points }));
  }

  /** The places of what is sketched. */
  sketched() {
    return this.sketches.getFeatures()[0].getGeometry().getCoordinates().map(toPlace);
  }
}
