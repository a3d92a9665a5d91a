"""Numbers of a report in words: unit, uncertainty and what could not be measured."""

from __future__ import annotations

import math
from datetime import datetime

from crackseg.detection import detection_text
from crackseg.imagery.clarity import is_worth_a_word
from crackseg.names import figures
from crackseg.records import Crack, Measure, Report

_ONE_SIDED = 1.25  # from this ratio of its sides on an interval is written with both ends
_STATUS = {"below_detection": "below detection", "not_resolvable": "not resolvable"}


def digits_for(uncertainty: float | None, value: float) -> int:
    """Return the decimals that an uncertainty justifies: its first digit, two if that is a 1."""
    size = uncertainty if uncertainty else abs(value) / 100
    if not size or not math.isfinite(size):
        return 1
    first = math.floor(math.log10(size))
    return min(max(-first + (1 if size / 10**first < 2 else 0), 0), 3)


def quantity(value: float | None, u: float | None, unit: str) -> str:
    """Return ``2.41 ± 0.12 mm``; a dash where there is no value."""
    if value is None:
        return "–"
    digits = digits_for(u, value)
    if u is None:
        return f"{value:.{digits}f} {unit}"
    return f"{value:.{digits}f} ± {u:.{digits}f} {unit}"


def interval(value: float, low: float | None, high: float | None, unit: str) -> str:
    """Return ``2.41 ± 0.12 mm``, or ``0.9 mm (0.5 to 2.1)`` where the sides differ.

    Where they differ a little the larger one is given for both.
    """
    if low is None or high is None:
        return quantity(value, None, unit)
    down, up = value - low, high - value
    if up <= _ONE_SIDED * down:
        return quantity(value, max(down, up), unit)
    digits = digits_for(down, value)
    return f"{value:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})"


def impaired(report: Report, *, little: bool = False) -> str:
    """Return which shares of a picture show cracks less well, and why; "" where that is little.

    Args:
        report: of the picture.
        little: tell of any share.
    """
    shares = {part.code: part.share for part in report.impaired}
    if not little and not is_worth_a_word(shares):
        return ""
    return ", ".join(f"{figures(100 * share, 2)} % {code}" for code, share in shares.items())


def measured(measure: Measure) -> str:
    """Return a measure in mm where it has mm, else in px, or why there is none and its bound."""
    if measure.mm is None and measure.high_mm is None:
        return worded(measure.px, measure.low_px, measure.high_px, "px", measure.status)
    return worded(measure.mm, measure.low_mm, measure.high_mm, "mm", measure.status)


def worded(
    value: float | None, low: float | None, high: float | None, unit: str, status: str
) -> str:
    """Return a value with its interval, or why there is none and its bound."""
    if value is not None:
        return interval(value, low, high, unit)
    limit = "" if high is None else f", < {upper_bound(high)} {unit}"
    return _STATUS.get(status, "–") + limit


def one_sided(measure: Measure) -> bool:
    """Say whether the interval of a measure reaches clearly further up than down."""
    if measure.px is None or measure.low_px is None or measure.high_px is None:
        return False
    return measure.high_px - measure.px > _ONE_SIDED * (measure.px - measure.low_px)


def upper_bound(value: float) -> str:
    """Return an upper bound to two figures, never rounded down."""
    if value <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:.{max(digits, 0)}f}"


def length(measure: Measure) -> str:
    """Return a length in m, mm or px with its uncertainty."""
    if measure.mm is not None and measure.mm >= 1000:
        u_m = None if measure.u_mm is None else measure.u_mm / 1000
        return quantity(measure.mm / 1000, u_m, "m")
    if measure.mm is not None:
        return quantity(measure.mm, measure.u_mm, "mm")
    return quantity(measure.px, measure.u_px, "px")


def detection(report: Report) -> str | None:
    """Return from which width on cracks are found in this picture; None for a given mask.

    This is the one place that says it: page, ``report.json`` and survey have it from here.
    """
    if report.model is None:
        return None
    mm_per_px = None if report.scale is None else report.scale.mm_per_px
    used, card = report.thresholds, report.model
    if used is not None and used != (card.threshold, card.threshold_low):
        return detection_text(None, mm_per_px)
    return detection_text(card.detection, mm_per_px)


def openings(crack: Crack) -> str:
    """Return where a crack is open for a short way, or an empty text."""
    if not crack.openings:
        return ""
    count = len(crack.openings)
    places = "one place" if count == 1 else f"{count} places"
    return f"open at {places}, up to {measured(crack.openings[0].width)}"


def label(crack: Crack) -> str:
    """Return the short label of a crack in a picture: number and largest width."""
    return f"{crack.id}: {measured(crack.width_max)}"


def made_by(crack: Crack) -> tuple[str, ...]:
    """Return ``drawn by A. Meier, 4 May 2026``; nothing of a crack that is as it was measured."""
    made = crack.correction
    if made is None:
        return ()
    day = datetime.fromisoformat(made.at)
    return (f"{made.change} by {made.by}, {day.day} {day:%B %Y}",)


def judged_by(crack: Crack) -> tuple[str, ...]:
    """Return ``rejected by A. Meier, 4 May 2026: lift joint``; nothing where nobody judged."""
    verdict = crack.verdict
    if verdict is None:
        return ()
    day = datetime.fromisoformat(verdict.at)
    note = f": {verdict.note}" if verdict.note else ""
    return (f"{verdict.word} by {verdict.by}, {day.day} {day:%B %Y}{note}",)


def certainty(share: float | None) -> str:
    """Return a certainty in whole per cent, never rounded up; a dash where it is not known."""
    return "–" if share is None else f"{math.floor(100 * share + 1e-9)} %"


def round_length(limit: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... that is not longer than ``limit``."""
    power = 10.0 ** math.floor(math.log10(limit))
    return power * max(step for step in (1, 2, 5) if step * power <= limit * (1 + 1e-9))


def total_length(mm: float | None, px: float | None) -> str:
    """Return a sum of lengths, as ``4.27 m``, ``86 mm`` or ``1.2 mm``; without mm in px."""
    if mm is None:
        return f"{px or 0:.0f} px"
    if mm >= 999.5:
        return f"{mm / 1000:.2f} m"
    return f"{mm:.{0 if mm >= 9.95 or mm == 0 else 1}f} mm"


def plain_length(mm: float) -> str:
    """Return a round length in the unit that suits it: ``50 cm``."""
    if mm >= 1000:
        return f"{mm / 1000:g} m"
    return f"{mm / 10:g} cm" if mm >= 10 else f"{mm:g} mm"
