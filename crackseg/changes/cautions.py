"""What to mind of a comparison: dates in the wrong order, one survey twice, maps out of date."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from crackseg.changes.records import Comparison
from crackseg.records import Notice
from crackseg.words import Words

_COARSER = 1.3  # from this ratio of pixel sizes on the two dates do not show the same


def cautions(comparison: Comparison, words: Words) -> list[Notice]:
    """Return what to mind of a comparison of two dates of a face.

    Args:
        comparison: of two maps.
        words: the language.
    """
    old, new = comparison.old, comparison.new
    dams = [str((values["survey"] or {}).get("dam") or "") for values in (old, new)]
    notices = [*_same_photographs(old, new, words), *_order(old, new, words)]
    if all(dams) and dams[0].casefold() != dams[1].casefold():
        notices.insert(0, _notice("other_dam", words, old=dams[0], new=dams[1]))
    sides = zip(("old", "new"), comparison.outdated, strict=True)
    notices += [_notice(f"outdated_{side}", words) for side, is_outdated in sides if is_outdated]
    if comparison.registration.source == "coordinates":
        u_mm = 2000 * comparison.registration.sigma_m
        notices.append(_notice("loosely_laid", words, u=words.figures(u_mm, 2)))
    sizes = [size_mm(values) for values in (old, new)]
    if max(sizes) > _COARSER * min(sizes):
        before, now = (words.figures(size, 2) for size in sizes)
        notices.append(_notice("other_scale", words, old=before, new=now))
    models = [models_of(values) for values in (old, new)]
    if models[0] != models[1]:
        before, now = (", ".join(sorted(m)) or words("general.not_known") for m in models)
        notices.append(_notice("other_model", words, old=before, new=now))
    return notices


def _notice(code: str, words: Words, **values: Any) -> Notice:
    return Notice(code=code, message=words(f"caution.{code}", **values))


def _same_photographs(old: Mapping[str, Any], new: Mapping[str, Any], words: Words) -> list[Notice]:
    before, now = ({p["sha256"] for p in values["photographs"]} for values in (old, new))
    both = before & now
    return [_notice("same_photographs", words, n=len(both))] if both else []


def _order(old: Mapping[str, Any], new: Mapping[str, Any], words: Words) -> list[Notice]:
    dates = [date_of(values) for values in (old, new)]
    if None in dates:
        return [_notice("date_not_known", words)]
    before, now = (str(d) for d in dates)
    return [_notice("order", words, old=before, new=now)] if before > now else []


def date_of(values: Mapping[str, Any]) -> str | None:
    """Return the day of a survey: as survey.toml says, else of its first photograph."""
    day = (values["survey"] or {}).get("inspected_on")
    times = sorted(p["taken_at"] for p in values["photographs"] if p["taken_at"])
    return day or (times[0][:10] if times else None)


def size_mm(values: Mapping[str, Any]) -> float:
    """Return the median size of a pixel of a map's photographs."""
    return float(statistics.median(p["mm_per_px"] for p in values["photographs"]))


def models_of(values: Mapping[str, Any]) -> set[str]:
    """Return the models that a map's photographs were analyzed by; empty where it is not known."""
    return {p["model"] for p in values["photographs"] if p.get("model")}
