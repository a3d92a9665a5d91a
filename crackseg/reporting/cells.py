"""The cells of a report's tables in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crackseg.exports.survey import NO_RESULT
from crackseg.exports.tables import read_measure
from crackseg.reporting import sums
from crackseg.reporting.gather import COPY, NOT_JUDGED, Photograph, SurveyCrack
from crackseg.survey import WidthBins
from crackseg.words import Words


def crack(number: int, entry: SurveyCrack, words: Words) -> tuple[str, ...]:
    """Return the row of a crack."""
    return (
        str(number),
        entry.photograph.name,
        str(entry.id),
        words.length(entry.measure("length")),
        words.measured(entry.measure("width_mean")),
        words.measured(entry.measure("width_p95")),
        words.measured(entry.measure("width_max")),
        certainty(entry, words),
        direction(entry, words),
        place(entry, words),
        flags(entry, words),
        verdict(entry, words),
        entry.note,
    )


def photograph(entry: Photograph, words: Words) -> tuple[str, ...]:
    """Return the row of a photograph."""
    row = {**NO_RESULT, **entry.row}
    if entry.folder is None:
        failed = words(f"status.{entry.status}")
        return (
            str(entry.number),
            entry.name,
            "–",
            "–",
            "–",
            "–",
            failed,
            "–",
            "–",
            "–",
            "–",
            words.sentence(entry.reason).replace("`", ""),
        )
    scale, counts = entry.scale, row["cracks"] and entry.status != COPY
    nothing_said = entry.status == NOT_JUDGED and not row["cracks"]  # 0 would say "no crack"
    length = (
        metres(row["length_mm"], words)
        if row["length_mm"]
        else f"{words.number(row['length_px'])} px"
    )
    return (
        str(entry.number),
        entry.name,
        words.time(entry.image.get("taken_at")),
        position(entry, words),
        "–" if scale is None else words.figures(scale["mm_per_px"]),
        "–" if scale is None else words.code("source", scale["source"]),
        judged(entry, words),
        "–" if entry.status == COPY or nothing_said else str(row["cracks"]),
        length if counts else "–",
        words.measured(read_measure(row, "width_max")) if counts else "–",
        others(entry, words),
        ", ".join(dict.fromkeys(words.code("notice", n["code"]) for n in entry.notices)),
    )


def others(entry: Photograph, words: Words) -> str:
    """Return how many lines of a photograph are taken for no crack, and how long they are."""
    if entry.others is None or not entry.others.count or entry.status == COPY:
        return "–"
    mm = entry.others.length_mm
    length = f"{words.number(entry.others.length_px)} px" if mm is None else metres(mm, words)
    return f"{entry.others.count}: {length}"


def judged(entry: Photograph, words: Words) -> str:
    """Return how much of a photograph was judged."""
    if entry.status == COPY:
        return words("status.copy", name=entry.copy_of)
    if entry.status == NOT_JUDGED:
        return f"{words('status.not_judged')}: {unjudged(entry, words)}"
    return share(1 - sum(part for _, part in entry.unjudged), words)


def unjudged(entry: Photograph, words: Words) -> str:
    """Return which shares of a photograph were not judged, and why."""
    return shares(entry.unjudged, words)


def shares(parts: Sequence[tuple[str, float]], words: Words) -> str:
    """Return shares of a photograph and why they are told apart."""
    return ", ".join(
        words(
            "judged.share_of", share=words.figures(100 * part, 2), why=words.code("unjudged", code)
        )
        for code, part in parts
    )


def position(entry: Photograph, words: Words) -> str:
    """Return where the camera was: latitude, longitude, height."""
    gps = entry.image.get("gps")
    if not gps:
        return "–"
    point = f"{gps['lat_deg']:.6f}, {gps['lon_deg']:.6f}"  # a decimal point: programs read it
    alt = gps.get("alt_m")
    return point if alt is None else f"{point}, {words.number(alt)} m"


def certainty(entry: SurveyCrack, words: Words) -> str:
    """Return a certainty in whole per cent, never rounded up."""
    sure = entry.facts["certainty"]
    if sure is None:
        return words("certainty.unknown")
    return words("general.share", value=math.floor(100 * sure + 1e-9))


def certainty_group(name: str, words: Words) -> str:
    """Return the name of a group by certainty."""
    if name == "unknown":
        return words("certainty.unknown")
    return f"≥ {words('general.share', value=name)}"


def direction(entry: SurveyCrack, words: Words) -> str:
    """Return the direction of a crack as an engineer names it, with its angle."""
    angle = entry.facts["orientation_deg"]
    name = words(f"direction.{sums.direction(angle)}")
    return name if angle is None else f"{name}, {words.number(angle)}°"


def place(entry: SurveyCrack, words: Words) -> str:
    """Return where in its photograph a crack's widest place lies."""
    facts, image = entry.facts, entry.photograph.image
    row, col = facts["width_max_row"], facts["width_max_col"]
    if row is None:
        row, col = facts["row"] + facts["height"] / 2, facts["col"] + facts["width"] / 2
    down, across = row / image["height_px"], col / image["width_px"]
    vertical = "top" if down < 1 / 3 else "bottom" if down > 2 / 3 else ""
    sideways = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    parts = [words(f"place.{name}") for name in (vertical, sideways) if name]
    at = words("place.at", row=round(row), col=round(col))
    return f"{' '.join(parts) or words('place.centre')} ({at})"


def flags(entry: SurveyCrack, words: Words) -> str:
    """Return what is to be minded of a crack."""
    remarks = [words("flag.no_wall")] if entry.photograph.may_show_no_wall else []
    remarks += [words("flag.net")] if entry.facts["pattern"] == "map" else []
    remarks += [words.code("flag", flag) for flag in entry.facts["flags"].split()]
    if entry.facts.get("openings"):
        in_mm = entry.facts["opening_max_mm"] is not None
        widest = words.figures(entry.facts["opening_max_mm" if in_mm else "opening_max_px"], 2)
        width = f"{widest} {'mm' if in_mm else 'px'}"
        remarks.append(words("flag.open", n=entry.facts["openings"], width=width))
    change = entry.facts.get("correction")
    if change:
        by = entry.facts.get("corrected_by") or words("general.not_known")
        remarks.append(words(f"correction.{change}", by=by))
    return ", ".join(remarks)


def verdict(entry: SurveyCrack, words: Words) -> str:
    """Return what an inspector said of a crack, and who; an empty text where nobody did."""
    if not entry.verdict:
        return ""
    word = words.code("verdict", entry.verdict)
    return f"{word} ({entry.verdict_by})" if entry.verdict_by else word


def bin_name(name: str, bins: WidthBins, words: Words) -> str:
    """Return the name of a bin of ``sums.bin_of`` in words."""
    if not name.isdigit():
        return words(f"bins.{name}")
    index = int(name)
    limits = [f"{limit:g}".replace(".", words.decimal) for limit in bins.limits_mm]
    if index == 0:
        return words("bins.up_to", high=limits[0])
    if index == len(limits):
        return words("bins.over", low=limits[-1])
    return words("bins.between", low=limits[index - 1], high=limits[index])


def group_length(group: sums.Group, words: Words) -> str:
    """Return the length of a group, a dash where none of its cracks has one in mm."""
    unknown = not group.length_mm and (group.cracks or group.share is None)
    return "–" if unknown else metres(group.length_mm, words)


def metres(length_mm: float, words: Words) -> str:
    """Return a length in m to the centimetre, one that would be 0.00 m in mm."""
    if 0 < length_mm < 5:
        return f"{words.number(length_mm, 1)} mm"
    return f"{words.number(length_mm / 1000, 2)} m"


def share(value: float | None, words: Words) -> str:
    """Return a share in per cent: 100 only where nothing is missing, 0 only where nothing is."""
    if value is None:
        return "–"
    percent = 100 * value
    if 0 < percent < 0.1:
        text = f"< {words.number(0.1, 1)}"
    elif 99.9 < percent < 100:
        text = f"> {words.number(99.9, 1)}"
    else:
        text = words.number(percent, 0 if percent in (0, 100) else 1)
    return words("general.share", value=text)
