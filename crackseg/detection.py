"""From which width a model finds cracks, as its card holds it and as every report says it.

``crackseg evaluate --pod`` measures it; see ``training.pod``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crackseg.errors import ModelError

UNTESTED = "From which width on this model finds cracks was not tested: thin ones may be missed."


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthShare:
    """How many labelled pieces of crack of one class of width were found."""

    width: str  # the class, in px
    below_px: float | None  # its upper edge; None: the widest class
    pieces: int
    found: float  # share, with its 95 % interval
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The probability of detection of one model, with the thresholds and readings of its card.

    ``width_90_px`` is the width from which cracks of the contrasts that thin ones had are found
    with 90 % probability, ``width_90_95_px`` the same with 95 % confidence; None where no curve
    fits or none of the tested widths is found so surely.
    """

    tested_on: str
    curve: Mapping[str, float] | None  # intercept, log_width_px, log_contrast: logistic
    contrasts: tuple[float, ...] = ()  # of the thin cracks tested, over the surface's roughness
    width_50_px: float | None = None
    width_90_px: float | None = None
    width_90_95_px: float | None = None
    width_90_faint_px: float | None = None  # for the faintest quarter of them, 95 % confidence
    classes: tuple[WidthShare, ...] = ()

    def __post_init__(self) -> None:
        widths = (self.width_50_px, self.width_90_px, self.width_90_95_px, self.width_90_faint_px)
        if not all(width is None or 0 < width < math.inf for width in widths):
            raise ModelError(f"`detection` must hold widths above 0 px, got {widths}.")


def detection_text(detection: Detection | None, mm_per_px: float | None) -> str:
    """Return in plain words from which width cracks are found, and that thinner ones may be missed.

    Args:
        detection: of the model's card; None: never tested.
        mm_per_px: None where the scale is not known.

    Example:
        >>> detection_text(None, 0.4)
        'From which width on this model finds cracks was not tested: thin ones may be missed.'
    """
    if detection is None:
        return UNTESTED
    if detection.width_90_95_px is None:
        return _shares(detection, mm_per_px)
    faint = detection.width_90_faint_px
    besides = (
        ", the faintest quarter of them less surely at any width"
        if faint is None
        else f", faint ones from {_width(faint, mm_per_px)} on"
    )
    return (
        "Cracks like those tested are found with 90 % probability from a width of "
        f"{_width(detection.width_90_95_px, mm_per_px)} on{besides}. "
        f"Thinner ones may be missed.{'' if mm_per_px else _NO_SCALE}"
    )


_NO_SCALE = " What that is in mm cannot be said without a scale."


def _shares(detection: Detection, mm_per_px: float | None) -> str:
    parts = (
        f"{part.found:.0%} ({part.low:.0%} to {part.high:.0%}) of those under "
        f"{_width(part.below_px, mm_per_px)}"
        for part in detection.classes
        if part.below_px is not None and part.pieces
    )
    shares = ", ".join(parts).replace("%", " %")
    if not shares:
        return UNTESTED
    return (
        f"Of cracks like those tested were found: {shares} of width, each class without the one "
        "before. Thin ones may be missed; from which width on 90 % are found is not known."
        f"{'' if mm_per_px else _NO_SCALE}"
    )


def _width(px: float, mm_per_px: float | None) -> str:
    """Return a width in mm with its px, never rounded down; in px alone without a scale."""
    if mm_per_px is None:
        return f"{_up(px)} px"
    return f"{_up(px * mm_per_px)} mm ({_up(px)} px)"


def _up(value: float) -> str:
    digits = max(1 - math.floor(math.log10(value)), 0)
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:.{digits}f}"
