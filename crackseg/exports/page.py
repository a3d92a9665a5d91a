"""A report becomes ``page.html``, one file that opens offline, and ``thumb.jpg`` for the gallery.

The page says in plain sentences what was found, how sure it is and what could not be measured.
"""

from __future__ import annotations

import base64
import functools
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined

from crackseg.exports import overlay, wording
from crackseg.exports.tables import BETWEEN_CLASSES, documents_of
from crackseg.imagery.files import OpenImage
from crackseg.metrology.classes import Document, read_documents
from crackseg.names import figures
from crackseg.records import Array, Crack, Report, Scale, Window

OVERLAY_PX = 1_800_000
THUMB_PX = 120_000
_MUCH = 0.2  # of a length along which nothing tells the width
CROPS = 40  # only the worst cracks get close-ups, so that the page stays small
CROP_HEIGHT_PX, CROP_WIDTH_PX = 240, 320  # of the close-up as shown

SOURCES = {
    "given": "given by the user",
    "geotiff": "georeferenced raster",
    "lrf": "laser distance and focal length in the image's metadata",
    "exif": "distance and focal length",
    "reference": "reference points",
    "marker": "marker in the picture",
    "plane": "camera pose and plane of the face",
}
FLAGS = {
    "touches_border": "leaves the picture",
    "touches_nodata": "ends at black or burnt-out pixels, no data or what was left out",
    "width_from_mask": "width from the mask alone",
    "not_dark": "no dark line in the photograph",
    "filled": "perhaps filled: its outline is wider than its dark line",
    "bridged": "crosses gaps",
    "joined": "joined by the photograph",
    "hidden": "not seen in part: something hides it",
    "runs_on": "runs on in a line that is not counted",
    "repeats": "looks like another place: perhaps a fitting or a joint",
    "blurred": "in a blurred place: the width may be that of the blur",
}


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``page.html`` and ``thumb.jpg``."""
    picture, factor = overlay.read_reduced(report, image, OVERLAY_PX)
    thumb = folder / "thumb.jpg"
    thumb.write_bytes(overlay.to_jpeg(_thumb(report, picture), 82))
    overlay.draw(report, picture, factor)
    page = folder / "page.html"
    page.write_text(_render(report, picture, image), encoding="utf-8", errors="replace")
    return [page, thumb]


@functools.cache
def templates(package: str = "crackseg.exports") -> Environment:
    """Return the templates of a package and this one's."""
    return environment(PackageLoader(package), PackageLoader("crackseg.exports"))


def environment(*loaders: BaseLoader) -> Environment:
    """Return templates with escaping on, in which a name that nobody gave is an error."""
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(report: Report, picture: Array, image: OpenImage | None) -> str:
    main = [crack for crack in report.cracks if crack.section == "main"]
    besides = [crack for crack in report.cracks if crack.section != "main"]
    documents = class_documents(report)
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            report=report,
            lead=lead(report),
            detection=wording.detection(report) if report.judged else None,
            facts=facts(report),
            totals=totals(report),
            overlay=_embed(overlay.to_jpeg(picture, 82)),
            labelled=min(len(main), overlay.NUMBERED),
            with_width=overlay.WITH_WIDTH,
            cracks=[
                _crack(report, crack, image if number < CROPS else None)
                for number, crack in enumerate(main)
            ],
            besides=[_crack(report, crack, None) for crack in besides],
            lines=[_line(report, line) for line in report.other_lines or ()],
            documents=documents,
            unmeasured=unmeasured(report),
            has_scale=report.scale is not None,
            one_sided=any(wording.one_sided(width) for crack in main for width in crack.widths),
            crops=CROPS,
            has_rejected=any(c.verdict and c.verdict.word == "rejected" for c in besides),
        )
    )


def lead(report: Report) -> str:
    """Return what was found in one sentence or two."""
    main, besides = report.totals.cracks, report.totals.also_marked
    text = {0: _nothing(report), 1: "One crack was found."}.get(main, f"{main} cracks were found.")
    text = text if report.judged else f"This picture cannot be judged. {text}"
    impaired = wording.impaired(report)
    if impaired and report.judged:
        text = f"{text} But fewer cracks are seen here than elsewhere: {impaired}."
    if report.other_lines:
        count = len(report.other_lines)
        lines = "One dark line was" if count == 1 else f"{count} dark lines were"
        stand = "stands" if count == 1 else "stand"
        text = f"{text} {lines} taken for no crack and {stand} under “Other lines”."
    if not besides:
        return text
    marks = "One doubtful mark stands" if besides == 1 else f"{besides} doubtful marks stand"
    return f"{text} {marks} under “Also marked”, in no figure of this page."


def _nothing(report: Report) -> str:
    """Return what is said where the main list is empty."""
    if report.totals.also_marked:
        return "No crack is certain enough for the main list."
    if not report.judged:
        return "That nothing is marked says nothing of cracks."
    if any(notice.code == "no_structure" for notice in report.notices):
        unsure = "nothing tells whether this picture is sharp: look at it."
        return f"Nothing is marked as a crack, and {unsure}"
    return "No crack was found."


def class_documents(report: Report) -> list[dict[str, Any]]:
    """Return what each document says of the main list: its title and its classes with cracks.

    The classes stand in the order of the widths that they hold, "between two classes" last.
    """
    main = [crack for crack in report.cracks if crack.section == "main"]
    options = report.options["measure"]
    documents = {d.name: d for d in read_documents((), options["width_classes"])}
    rows = []
    for name in documents_of(main):
        document = documents.get(name)
        classes: dict[str, list[int]] = {}
        for crack in sorted(main, key=lambda crack: crack.width_p95.px or 0.0):
            label = _label_of(crack, name)
            if label is not None:
                classes.setdefault(label, []).append(crack.id)
        between = classes.pop(BETWEEN_CLASSES, None)
        rows.append(
            {
                "name": name,
                "title": "" if document is None else _title(document),
                "note": "" if document is None else document.note,
                "verified": all(e.verified for c in main for e in c.width_classes
                                if e.document == name),
                "classes": [(label, sorted(ids)) for label, ids in classes.items()]
                + ([(BETWEEN_CLASSES, sorted(between))] if between else []),
            }
        )  # fmt: skip
    return rows


def _title(document: Document) -> str:
    edition = "" if document.edition in ("", "-") else f", {document.edition}"
    return f"{document.title}{edition}"


def _label_of(crack: Crack, document: str) -> str | None:
    """Return a crack's class by one document, None where no width could be classed."""
    for entry in crack.width_classes:
        if entry.document == document:
            return entry.label or BETWEEN_CLASSES
    return None


def facts(report: Report) -> list[tuple[str, str]]:
    """Return what the head of the page says: name and value."""
    info, rows = report.image, []
    rows.append(("Image", f"{info.path.name}, {info.width_px} × {info.height_px} px"))
    rows.append(
        ("Taken", info.taken_at.strftime("%d %B %Y, %H:%M") if info.taken_at else "not known")
    )
    rows.append(("Camera", info.camera or "not known"))
    if info.gps is not None:
        height = "" if info.gps.alt_m is None else f", {info.gps.alt_m:.0f} m"
        rows.append(("Position", f"{info.gps.lat_deg:.6f}, {info.gps.lon_deg:.6f}{height}"))
    rows.append(("Scale", scale_sentence(report.scale)))
    if report.region_files:
        names = (f"{Path(file['path']).name} ({file['role']})" for file in report.region_files)
        rows.append(("Region", ", ".join(names)))
    if report.joints:
        count = len(report.joints)
        lines = "one line runs" if count == 1 else f"{count} lines run"
        named = "a region or an inspector names" if report.corrections else "the region names"
        rows.append(("Joints", f"{lines} along joints that {named}; in no figure here"))
    if report.unjudged:
        rows.append(("Not judged", unjudged_sentence(report)))
    if impaired := wording.impaired(report, little=True):
        rows.append(("Seen less well", impaired))
    if report.model is None or report.thresholds is None:
        rows.append(("Mask", "given, no network was run"))
    else:
        high, low = report.thresholds
        rows.append(("Model", f"{report.model.name} {report.model.version}"))
        predict = report.options["predict"]
        bits = "in 8 bit" if predict.get("precision") == "int8" else "in float"
        rows.append(("Network run", f"{bits}, by {predict['runtime']}"))
        rows.append(("Thresholds", f"{high:.2f}, and {low:.2f} where joined to such pixels"))
    return rows


def unjudged_sentence(report: Report) -> str:
    """Return which share of the picture was left out, and why, in words."""
    parts = ", ".join(
        f"{figures(100 * part.share, 2)} % {part.code.replace('_', ' ')}"
        for part in report.unjudged
    )
    area = report.totals.left_out_mm2
    return parts if area is None else f"{parts} ({figures(area / 1e6, 3)} m² in all)"


def scale_sentence(scale: Scale | None) -> str:
    """Return the scale with its source and error in words."""
    if scale is None:
        return "not known: everything is in pixels"
    error = f"± {figures(200 * scale.sigma_rel, 2)} % (k = 2)"
    where = " at the image centre" if scale.homography is not None else ""
    text = f"{figures(scale.mm_per_px, 4)} mm per px{where} {error}, {SOURCES[scale.source]}"
    return f"{text} ({scale.detail})" if scale.detail and scale.source != "given" else text


def totals(report: Report) -> list[tuple[str, str]]:
    """Return the figures at the top, of the main list: value and what it is."""
    sums = report.totals
    rows = [(str(sums.cracks), "crack" if sums.cracks == 1 else "cracks")]
    if not report.judged and not sums.cracks:
        rows = [("–", "cracks: this picture cannot be judged")]
    main = [crack for crack in report.cracks if crack.section == "main"]
    if main:
        rows.append((wording.total_length(sums.length_mm, sums.length_px), "total length"))
        widest = max(main, key=lambda crack: crack.width_max.px or 0.0)
        sure = (
            "" if widest.certainty is None else f", {wording.certainty(widest.certainty)} certain"
        )
        rows.append(
            (wording.measured(widest.width_max), f"largest width (crack {widest.id}{sure})")
        )
        if sums.area_mm2 is not None:
            rows.append((f"{sums.area_mm2 / 100:.1f} cm²", "crack area (length × mean width)"))
        if sums.density_m_per_m2 is not None:
            rows.append((f"{sums.density_m_per_m2:.2f} m/m²", "crack length per area seen"))
    if sums.also_marked:
        length = wording.total_length(sums.also_marked_length_mm, sums.also_marked_length_px)
        rows.append((str(sums.also_marked), f"also marked, {length} long, in no other figure"))
    return rows


def unmeasured(report: Report) -> list[str]:
    """Return sentences on what the report cannot say."""
    main = [crack for crack in report.cracks if crack.section == "main"]
    sentences = []
    if report.scale is None:
        sentences.append(
            "The scale of the picture is not known, so no length or width is given in millimetres."
        )
    for status, one, many in (
        ("below_detection", "is too fine", "are too fine"),
        ("not_resolvable", "has edges too unclear", "have edges too unclear"),
    ):
        ids = [crack.id for crack in main if crack.width_max.status == status]
        if ids:
            sentences.append(
                f"{_named(ids)} {one if len(ids) == 1 else many} for this picture to give a "
                f"width; {'its' if len(ids) == 1 else 'their'} length is given."
            )
    for flag, one, many in (
        ("touches_border", "leaves the picture", "leave the picture"),
        (
            "touches_nodata",
            "ends at an area that is black, burnt out, without data or left out",
            "end at an area that is black, burnt out, without data or left out",
        ),
    ):
        ids = [crack.id for crack in main if flag in crack.flags]
        if ids:
            sentences.append(
                f"{_named(ids)} {one if len(ids) == 1 else many}: the length is that of the "
                "visible part."
            )
    ids = [crack.id for crack in main if "runs_on" in crack.flags]
    if ids:
        sentences.append(
            f"{_named(ids)} {'runs' if len(ids) == 1 else 'run'} on in a dark line that was taken "
            "for a joint, a cable or an edge (under “Other lines”). If that is crack as well, it "
            "is longer, and may be wider, than listed."
        )
    ids = [crack.id for crack in main if "filled" in crack.flags]
    if ids:
        sentences.append(
            f"{_named(ids)}: the outline holds more than the dark line that was measured: it ends "
            "at edges that the photograph shows, or has room on one side alone. It may be a crack "
            "filled with lime, dust or light, as wide as its outline, or a line in a wider mark; "
            "the widths are those of the dark line, and their ranges hold both."
        )
    ids = [crack.id for crack in main if crack.width_left_out_px > _MUCH * (crack.length.px or 0)]
    if ids:
        sentences.append(
            f"{_named(ids)}: along more than a fifth of the length nothing tells the width, since "
            "the line is too faint or runs into a stain. The widths are those of the rest."
        )
    sentences.append(
        "The depth of a crack, and whether water passes through it, cannot be seen in a photograph."
    )
    return sentences


def _named(ids: list[int]) -> str:
    """Return ``Crack 4`` or ``Cracks 4 and 5``."""
    if len(ids) == 1:
        return f"Crack {ids[0]}"
    return f"Cracks {', '.join(map(str, ids[:-1]))} and {ids[-1]}"


def _line(report: Report, line: Crack) -> dict[str, Any]:
    """Return what the page says of a line that is taken for no crack."""
    points = np.concatenate([branch.centre_line for branch in line.branches])
    row, col = points.mean(axis=0)
    return {
        "id": line.id,
        "length": wording.length(line.length),
        "width": wording.measured(line.width_mean),
        "location": place_in_words(row / report.image.height_px, col / report.image.width_px),
    }


def _crack(report: Report, crack: Crack, image: OpenImage | None) -> dict[str, Any]:
    """Return what the table and the close-ups say of one crack."""
    row, col = overlay.widest_place(crack)
    angle = crack.orientation_deg
    values: dict[str, Any] = {
        "id": crack.id,
        "certainty": wording.certainty(crack.certainty),
        "location": place_in_words(row / report.image.height_px, col / report.image.width_px),
        "position": f"row {row:.0f}, column {col:.0f}",
        "length": wording.length(crack.length),
        "bridged": wording.length(crack.bridged_length) if crack.bridged_length.px else None,
        "joined": wording.length(crack.joined_length) if crack.joined_length.px else None,
        "hidden": wording.length(crack.hidden_length) if crack.hidden_length.px else None,
        "mean": wording.measured(crack.width_mean),
        "p95": wording.measured(crack.width_p95),
        "max": wording.measured(crack.width_max),
        "openings": wording.openings(crack),
        "pattern": crack.pattern,
        "direction": direction_in_words(angle),
        "class": next((e.label or BETWEEN_CLASSES for e in crack.width_classes), "–"),
        "flags": [
            *wording.judged_by(crack),
            *wording.made_by(crack),
            *(FLAGS.get(flag, flag.replace("_", " ")) for flag in crack.flags),
        ],
        "plain": None,
        "outlined": None,
    }
    if image is not None:
        values["plain"], values["outlined"] = _close_ups(report, crack, image, (row, col))
    return values


def place_in_words(down: float, across: float) -> str:
    """Return where in the picture a point lies, from its share of the height and width."""
    row = "top" if down < 1 / 3 else "bottom" if down > 2 / 3 else ""
    col = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    return f"{row} {col}".strip() or "centre"


def direction_in_words(angle_deg: float | None) -> str:
    """Return the direction of a crack as an engineer names it."""
    if angle_deg is None:
        return "no main direction"
    if min(angle_deg, 180 - angle_deg) <= 15:
        name = "horizontal"
    else:
        name = "vertical" if abs(angle_deg - 90) <= 15 else "diagonal"
    return f"{name}, {angle_deg:.0f}°"


def _close_ups(
    report: Report, crack: Crack, image: OpenImage, at: tuple[float, float]
) -> tuple[str, str]:
    """Return two embedded pictures of the widest place: as it is, and with the outline."""
    zoom = 3.0 if (crack.width_max.px or 0) < 6 else 2.0 if (crack.width_max.px or 0) < 20 else 1.0
    height = min(round(CROP_HEIGHT_PX / zoom), report.image.height_px)
    width = min(round(CROP_WIDTH_PX / zoom), report.image.width_px)
    top = min(max(round(at[0]) - height // 2, 0), report.image.height_px - height)
    left = min(max(round(at[1]) - width // 2, 0), report.image.width_px - width)
    crop = np.ascontiguousarray(image.read(Window(row=top, col=left, height=height, width=width)))
    plain = cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    outlined = plain.copy()
    overlay.draw_outline(outlined, crack, zoom, thickness=1, origin=(top, left))
    overlay.draw_close_up_bar(outlined, report.scale, at, zoom)
    return _embed(overlay.to_jpeg(plain, 80)), _embed(overlay.to_jpeg(outlined, 80))


def _thumb(report: Report, picture: Array) -> Array:
    """Return a small picture with the outlines alone: numbers would be too small to read."""
    shrink = min(1.0, math.sqrt(THUMB_PX / (picture.shape[0] * picture.shape[1])))
    size = (max(round(picture.shape[1] * shrink), 1), max(round(picture.shape[0] * shrink), 1))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    for crack in report.cracks:
        overlay.draw_outline(small, crack, size[0] / report.image.width_px, thickness=1)
    return np.asarray(small)


def _embed(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
