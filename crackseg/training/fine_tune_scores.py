"""What the judge says of a model before and after it was fine-tuned: table, refusal, warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crackseg.errors import TrainingError

NEAR = 0.01  # by the judge: thresholds stay where others gain no more; no list may lose more
LOSS = 0.05  # share of the length of drawn cracks: what is lost beyond is said
OWN, DRAWN, WALLS, CHECK = "own", "drawn", "rendered", "visible"
_TITLES = {
    OWN: "own, held out",
    DRAWN: "cracks drawn on them",
    WALLS: "rendered walls",
    CHECK: "visible lists",
}


def as_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the lines that compare what the judge said before and after."""
    lines = [
        f"{'':28}{'score':>16}{'precision':>16}{'recall':>16}{'invented px/MP':>18}{'alarms':>14}"
    ]
    for of, title in _TITLES.items():
        if of not in after:
            continue
        scores = f"{before[of]['score']:.3f} {after[of]['score']:.3f}"
        head = f"{title}, {after[of]['pictures']} pictures"
        lines.append(f"{head:28}{scores:>16}")
        for name, now in after[of]["sets"].items():
            was = before[of]["sets"][name]
            cells = [_cell(was[key], now[key]) for key in ("score", "precision", "recall")]
            false = _cell(was["false_px_per_megapixel"], now["false_px_per_megapixel"], 0)
            alarms = f"{was['listed']} {now['listed']} of {now['free']}"
            row = "".join(f"{cell:>16}" for cell in cells)
            lines.append(f"  {name[:25]:26}{row}{false:>18}{alarms:>14}")
    return lines


def require_no_worse(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse a model that lost on what it was judged by.

    Raises:
        TrainingError: names the photographs and both scores.
    """
    for of, title in _TITLES.items():
        if of == DRAWN or of not in after:  # see `as_loss`
            continue
        if after[of]["score"] < before[of]["score"] - NEAR:
            raise TrainingError(
                f"the model that learned is worse than its parent on {title}, "
                f"{after[of]['score']:.3f} after {before[of]['score']:.3f} by the judge, so "
                "nothing is written: stay with the parent, or look through more photographs, with "
                "real cracks among them, and try again."
            )


def as_loss(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what is to be said of cracks that are missed since, "" where next to none are.

    Rejected tendrils teach that thin winding lines are none: what looks like them goes with them.
    """
    was, now = (of[DRAWN]["sets"][DRAWN]["recall"] or 0.0 for of in (before, after))
    if now >= was - LOSS:
        return ""
    return (
        f"Beware: of cracks drawn on the photographs held out it finds {now:.0%} of the length, "
        f"its parent {was:.0%}. Where this site shows cracks that look like what was rejected, "
        "they are missed: accept and draw more real ones, or read such photographs with the parent."
    )


def _cell(was: float | None, now: float | None, digits: int = 3) -> str:
    return " ".join("-" if value is None else f"{value:.{digits}f}" for value in (was, now))
