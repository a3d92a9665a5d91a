"""From which width a model finds cracks, as its card holds it and as every report says it.

``crackseg evaluate --pod`` measures it; see ``training.pod``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crackseg.errors import ModelError
from crackseg.names import figures

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


def untested_text(detection: Detection | None, mm_per_px: float | None) -> str | None:
    """Return in plain words why a scale lies outside of what a model was tested for; None: inside.

    Too coarse is one at which 90 % of no width that documents limit is found; too fine one at which
    those widths are wider than the cracks that were tested in number.

    Args:
        detection: of the model's card; None: never tested.
        mm_per_px: None where the scale is not known.
    """
    if detection is None or mm_per_px is None:
        return None
    limit = detection.width_90_95_px
    if limit is not None and limit * mm_per_px > WIDEST_LIMIT_MM:
        return (
            f"One pixel covers {figures(mm_per_px, 3)} mm, which is too coarse for the cracks that "
            f"documents limit (up to {WIDEST_LIMIT_MM:g} mm). "
            f"{detection_text(detection, mm_per_px)}"
        )
    widest = max((part.below_px or 0.0 for part in detection.classes), default=0.0)
    wider = next((p for p in detection.classes if p.width == f"> {widest:g}"), None)
    if wider is None or widest * mm_per_px >= USUAL_LIMIT_MM:
        return None
    least_mm = figures(widest * mm_per_px, 2)
    return (
        f"One pixel covers {figures(mm_per_px, 2)} mm: cracks from {least_mm} mm on are "
        f"wider than {widest:g} px here. Of such wide ones the model was tested on {wider.pieces} "
        f"pieces alone and found {wider.found:.0%} ({wider.low:.0%} to {wider.high:.0%}): wide "
        "cracks may be missed; a picture made smaller shows them better."
    ).replace("%", " %")


# Widths that documents limit (metrology/width_classes.toml): none beyond, and the usual one.
WIDEST_LIMIT_MM, USUAL_LIMIT_MM = 1.0, 0.3
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
