"""Numbers of a report in words: unit, uncertainty and what could not be measured."""

from __future__ import annotations

import math

from crackseg.records import Crack, Measure

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


def measured(measure: Measure) -> str:
    """Return a measure in mm where it has mm, else in px, or why there is none."""
    if measure.status != "measured" or measure.px is None:
        limit = ""
        if measure.status == "below_detection" and measure.mm is not None:
            limit = f" (< {measure.mm:.2g} mm)"
        return _STATUS.get(measure.status, "–") + limit
    if measure.mm is not None:
        return quantity(measure.mm, measure.u_mm, "mm")
    return quantity(measure.px, measure.u_px, "px")


def length(measure: Measure) -> str:
    """Return a length in m, mm or px with its uncertainty."""
    if measure.mm is not None and measure.mm >= 1000:
        u_m = None if measure.u_mm is None else measure.u_mm / 1000
        return quantity(measure.mm / 1000, u_m, "m")
    return measured(measure)


def label(crack: Crack) -> str:
    """Return the short label of a crack in a picture: number and largest width."""
    return f"{crack.id}: {measured(crack.width_max)}"


def certainty(share: float | None) -> str:
    """Return a certainty in whole per cent, never rounded up; a dash where it is not known."""
    return "–" if share is None else f"{math.floor(100 * share + 1e-9)} %"


def count(number: int, noun: str) -> str:
    """Return ``1 crack`` or ``3 cracks``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def round_length(limit: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... that is not longer than ``limit``."""
    power = 10.0 ** math.floor(math.log10(limit))
    return power * max(step for step in (1, 2, 5) if step * power <= limit * (1 + 1e-9))


def plain_length(mm: float) -> str:
    """Return a round length in the unit that suits it: ``50 cm``."""
    if mm >= 1000:
        return f"{mm / 1000:g} m"
    return f"{mm / 10:g} cm" if mm >= 10 else f"{mm:g} mm"
