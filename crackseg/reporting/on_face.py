"""What a map of the face adds to a report: where photographs lie, and which marks are one crack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crackseg.reporting.gather import Gathered, SurveyCrack
from crackseg.words import Words


def on_map(crack: SurveyCrack, face: Mapping[str, Any] | None, words: Words) -> str:
    """Return what the map says of the crack that a mark is part of: number, length, width, views.

    Its figures are in mm also where the photograph has no scale of its own. Nothing where no map
    knows the mark.
    """
    for merged in (face or {}).get("cracks", ()):
        if any(_key(crack) == (p["folder"], n) for p in merged["photographs"] for n in p["ids"]):
            size = f"{words.number(merged['length_mm'] / 1000, 2)} m"
            if merged["width_max_mm"] is not None:
                width, unsure = (words.number(merged[f"width_max_{part}"], 2)
                                 for part in ("mm", "u_mm"))  # fmt: skip
                size += f", {width} ± {unsure} mm"
            views = len(merged["photographs"])
            return words("map.crack", n=views, number=str(merged["id"]), size=size)
    return ""


def each_once(gathered: Gathered, most: int) -> list[SurveyCrack]:
    """Return the worst cracks, of those that the map of the face knows to be one the worst mark."""
    owner = {
        (part["folder"], number): merged["id"]
        for merged in (gathered.face or {}).get("cracks", ())
        for part in merged["photographs"]
        for number in part["ids"]
    }
    listed: set[int] = set()
    worst: list[SurveyCrack] = []
    for crack in gathered.cracks:
        merged = owner.get(_key(crack))
        if merged not in listed:
            worst.append(crack)
        if merged is not None:
            listed.add(merged)
        if len(worst) == most:
            break
    return worst


def map_sentences(gathered: Gathered, words: Words) -> Iterable[str]:
    """Yield what the map of the face counts, or that it is of other results than these."""
    if gathered.face:
        once = _counted(gathered)
        cracks = words("general.cracks", n=len(once))
        length_m = sum(merged["length_mm"] for merged in once) / 1000
        yield words("lead.face_map", cracks=cracks, length=words.number(length_m, 2))
    if gathered.face_is_old:
        yield words("lead.face_map_old")


def _counted(gathered: Gathered) -> list[Mapping[str, Any]]:
    """Return the cracks of the map that count, each once, as inspectors left them.

    Those of its main list, less those whose every mark was rejected, and those with a doubtful mark
    that was accepted.
    """
    rejected = {_key(crack) for crack in gathered.rejected}
    accepted = {_key(crack) for crack in gathered.cracks if crack.verdict == "accept"}
    counting = []
    for merged in (gathered.face or {}).get("cracks", ()):
        marks = {(part["folder"], n) for part in merged["photographs"] for n in part["ids"]}
        is_main = merged.get("section", "main") == "main"
        if (is_main and not marks <= rejected) or marks & accepted:
            counting.append(merged)
    return counting


def places_m(face: Mapping[str, Any] | None) -> dict[str, tuple[float, float]]:
    """Return by sha256 where photographs lie, m: to the right as seen from outside, and height."""
    if face is None:
        return {}
    sign = 1 if face["face"]["rightwards"] else -1
    return {
        photograph["sha256"]: (sign * photograph["station_m"], photograph["elevation_m"])
        for photograph in face["photographs"]
        if photograph["station_m"] is not None
    }


def _key(crack: SurveyCrack) -> tuple[str, int]:
    folder = crack.photograph.folder
    return ("" if folder is None else folder.name, crack.id)
