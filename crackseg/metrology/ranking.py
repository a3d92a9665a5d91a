"""The order of a list of cracks: how severe, how certain, and what stands under "also marked".

This is the one place that orders cracks; tables, pages, pictures and the service follow it.

Severity is the area of the opening, length times mean width: a short wide crack and a long fine
one can weigh alike. What is less certain weighs less. A mark whose certainty lies under the limit
of the model's card is not in the main list: it is in every file and in no headline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from crackseg.metrology.repeats import REPEATS
from crackseg.records import Certainty, Crack, Section

ALIKE = 0.5  # correlation up to which another place is no more alike than chance
REPETITION = "repetition"
FINE_PX = 0.5  # width that a crack too fine to be measured counts as: the limit of detection

FEATURES: dict[str, Callable[[Crack], float]] = {
    "log_length_px": lambda crack: math.log(max(crack.length.px or 0.0, 1.0)),
    "log_slenderness": lambda crack: math.log(
        math.hypot(crack.window.height, crack.window.width) / max(crack.paper_width_px, 0.5)
    ),
    "probability": lambda crack: crack.probability_mean or 0.0,
    "contrast": lambda crack: crack.contrast or 0.0,
    "step": lambda crack: crack.step or 0.0,
    REPETITION: lambda crack: max((crack.repetition or 0.0) - ALIKE, 0.0),
}


def certainty(crack: Crack, card: Certainty | None) -> float | None:
    """Return the share of marks like this one that are cracks, 0..1; None without a ``card``."""
    if card is None:
        return None
    terms = (weight * FEATURES[name](crack) for name, weight in card.weights.items())
    return 1 / (1 + math.exp(-min(max(card.intercept + sum(terms), -30.0), 30.0)))


def with_repetition(crack: Crack, alike: float | None) -> Crack:
    """Return the crack with how alike another place is, and the flag of one that repeats."""
    both = [value for value in (alike, crack.repetition) if value is not None]
    most = max(both, default=None)
    flags = (*crack.flags, "repeats") if most is not None and most >= REPEATS else crack.flags
    return replace(crack, repetition=most, flags=flags)


def severity(length: float | None, width_mean: float | None, fine: float = FINE_PX) -> float:
    """Return the area of an opening from its length and mean width, in the square of their unit.

    Args:
        length: of the centre line; None counts as nothing.
        width_mean: None where it could not be measured.
        fine: width to take then, in the same unit.
    """
    return (length or 0.0) * (fine if width_mean is None else width_mean)


def weight(crack: Mapping[str, Any], unit: str) -> float | None:
    """Return severity x certainty of a crack of ``report.json`` in ``unit`` squared.

    Where certainties are unknown all weigh by their severity. None where the report has no such
    unit.
    """
    length = crack[f"length_{unit}"]
    if length is None:
        return None
    per_px = length / crack["length_px"] if crack["length_px"] else 1.0
    area = severity(length, crack[f"width_mean_{unit}"], FINE_PX * per_px)
    sure = crack.get("certainty")
    return area * (1.0 if sure is None else sure)


def place(crack: Mapping[str, Any]) -> tuple[bool, float]:
    """Return the place of a crack of ``report.json`` among those of several pictures.

    Sort by it: cracks in mm come first, as px of two pictures cannot be compared with them.
    """
    mm2 = weight(crack, "mm")
    return mm2 is None, -(weight(crack, "px") or 0.0 if mm2 is None else mm2)


def rank(cracks: Iterable[Crack], card: Certainty | None) -> tuple[Crack, ...]:
    """Return the cracks numbered in their order: the main list, then what is also marked.

    They get their certainty in whole thousandths, never rounded up: no mark is 100 % certain, and
    no file says more than another.

    Args:
        cracks: measured ones, of any order.
        card: what the model's card says of certainty; None: all are of the main list.
    """
    rated = []
    for crack in cracks:
        sure = certainty(crack, card)
        doubtful = card is not None and sure is not None and sure < card.limit
        section: Section = "also_marked" if doubtful else "main"
        told = None if sure is None else math.floor(1000 * sure) / 1000
        rated.append(replace(crack, certainty=told, section=section))
    rated.sort(key=_place)
    return tuple(replace(crack, id=number) for number, crack in enumerate(rated, start=1))


def in_order(cracks: Iterable[Crack]) -> tuple[Crack, ...]:
    """Return rated cracks in the order of ``rank``, each with the number that it has."""
    return tuple(sorted(cracks, key=_place))


def _place(crack: Crack) -> tuple[bool, float, float]:
    area = severity(crack.length.px, crack.width_mean.px)
    sure = 1.0 if crack.certainty is None else crack.certainty
    return crack.section != "main", -area * sure, -(crack.length.px or 0.0)
