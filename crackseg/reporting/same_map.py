"""Whether a map of the face is of the results that a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crackseg.survey import Survey, is_of_another_face

if TYPE_CHECKING:
    from crackseg.reporting.gather import Photograph, SurveyCrack


def is_of(
    face: Mapping[str, Any],
    photographs: Sequence[Photograph],
    cracks: Sequence[SurveyCrack],
    survey: Survey,
) -> bool:
    """Say whether a map was made of these photographs and this face, with the cracks listed now.

    The verdicts that it heeded must stand; of what was said since, the report knows. A map of a
    release that kept no digest of the cracks is held against the photographs alone.
    """
    here = {photograph.image.get("sha256") for photograph in photographs}
    counting = [p for p in photographs if not p.copy_of]
    marked = {(p.image.get("sha256"), p.marks_sha256) for p in counting}
    named = {(p.image.get("sha256"), p.folder and p.folder.name) for p in counting}
    placed = {(p["sha256"], p["folder"]) for p in face["photographs"] if "folder" in p}
    laid = {photograph["sha256"] for photograph in face["photographs"]}
    read = {(p["sha256"], p["marks_sha256"]) for p in face["photographs"] if "marks_sha256" in p}
    is_whole = laid <= here and len(laid) + len(face["set_aside"]) >= len(here - {None})
    said = {(c.photograph.image.get("sha256"), c.id, c.verdict) for c in cracks}
    heeded = {
        (p["sha256"], v["crack"], v["verdict"])
        for p in face["photographs"]
        for v in p.get("verdicts", ())
    }
    is_here = not is_of_another_face(face.get("survey"), survey)
    return is_here and is_whole and placed <= named and read <= marked and heeded <= said
