"""The probability of detection as ``detection.md`` and ``detection.png``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crackseg.detection import Detection, WidthShare, detection_text
from crackseg.records import ModelCard
from crackseg.training.pod import (
    PIECE_PX,
    REAL,
    WIDE_PX,
    Curve,
    Expected,
    Piece,
    fitting_groups,
    held_out_shares,
    parted,
    width_shares,
)

_TEXT = """# From which width cracks are found

Written by `crackseg evaluate --pod` for the model {name} {version},
thresholds {high:g} and {low:g}.

**{sentence}**

Tested on {about}.

As non-destructive testing states it (MIL-HDBK-1823A, hit or miss): labelled cracks are cut into
pieces of {piece:g} px; a piece is hit when half of its centre line lies within 3 px of a marked
one. What orders hits is the width, as the photograph shows it, together with the *contrast*: how
much darker the line is than the concrete beside it, over the standard deviation of that concrete.
Width alone does not: a faint stained crack is missed where a sharp one of half its width is found.
Every set counts alike; intervals are 95 %, over sets and the photographs in them, since a structure
that is still to be flown is one more set. *Unread* are pieces along which the photograph shows no
dark line whose width can be read.

| width px | real: pieces | found | curve without these | drawn: pieces | found |
|---|---|---|---|---|---|
{rows}

![share of pieces that are found, over their width](detection.png)

Logistic regression of hit on the logarithms of width (px) and contrast, pieces under {wide:g} px:

| | pieces | intercept | log width | log contrast | a50 | a90 | a90/95 | a90/95, faint |
|---|---|---|---|---|---|---|---|---|
{curves}

a50 and a90 are the widths in px from which 50 % and 90 % of the cracks are found whose contrast is
that of the thin real ones (under 2.5 px) of these pictures; a90/95 holds with 95 % confidence;
*faint* is the quarter with the least contrast. *Curve without these* is what curves expect that
were fitted without the photographs, and where the share found of so many pieces then lies 95 times
in 100; {within}.
No width below the narrowest 5 % of the pieces is stated. A dash: no width up to
{wide:g} px suffices.
The larger of real and drawn is stated in every report: real cracks tell the truth of these
pictures, drawn ones reach fainter and thinner than people label.

What it does not say: labels leave out cracks that people did not see; blur, stains, moss and shade
unlike these pictures hide wider ones. A site that none of these sets resembles can be harder: take
the figure for the better case until pictures of your own are tested. That takes an hour:
label some photographs ([](own-model.md)) and run the command on them.
"""


def as_markdown(
    card: ModelCard, tested: Detection, pieces: Sequence[Piece], levels: tuple[float, float]
) -> str:
    """Return the page on the probability of detection of a model."""
    shares = held_out_shares(pieces)
    return _TEXT.format(
        name=card.name,
        version=card.version,
        high=levels[0],
        low=levels[1],
        sentence=detection_text(tested, None),
        about=tested.tested_on,
        piece=PIECE_PX,
        wide=WIDE_PX,
        rows="\n".join(_rows(pieces, shares)),
        within=_within(pieces, shares),
        curves="\n".join(_curves(tested, pieces)),
    )


def _rows(pieces: Sequence[Piece], shares: Mapping[str, Expected]) -> list[str]:
    real, drawn_parts = map(width_shares, parted(pieces).values())
    drawn = {part.width: part for part in drawn_parts}
    return [
        f"| {part.width} | {part.pieces} | {_interval(part)} | "
        f"{_interval(shares.get(part.width))} | "
        f"{drawn[part.width].pieces if part.width in drawn else 0} | "
        f"{_interval(drawn.get(part.width))} |"
        for part in real
    ]


def _curves(tested: Detection, pieces: Sequence[Piece]) -> list[str]:
    rows = []
    contrasts = np.array(tested.contrasts)
    for name, group in fitting_groups(pieces).items():
        curve = Curve.of(group)
        widths = (
            curve.width(0.5, contrasts),
            curve.width(0.9, contrasts),
            curve.sure_width(0.9, contrasts),
            curve.sure_width(0.9, contrasts[: len(contrasts) // 4]),
        )
        beta = " | ".join(f"{value:+.2f}" for value in curve.beta)
        cells = " | ".join("–" if math.isinf(width) else f"{width:.2f}" for width in widths)
        rows.append(f"| {name} | {len(group)} | {beta} | {cells} |")
    return rows


def _within(pieces: Sequence[Piece], shares: Mapping[str, Expected]) -> str:
    """Return in words in how many classes the share found is one that the curve lets expect."""
    found = [p for p in width_shares(parted(pieces)[REAL]) if p.width in shares]
    inside = [shares[p.width].low <= p.found <= shares[p.width].high for p in found]
    if not inside:
        return "there were too few photographs to say it here"
    return f"it does in {sum(inside)} of {len(inside)} classes"


def _interval(part: WidthShare | Expected | None) -> str:
    if part is None:
        return "–"
    share = part.found if isinstance(part, WidthShare) else part.share
    return f"{share:.1%} ({part.low:.0%} to {part.high:.0%})"


def plot(tested: Detection, pieces: Sequence[Piece], file: Path) -> None:
    """Draw the share found over the width: classes with intervals, and the curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    widths, contrasts = np.geomspace(0.2, WIDE_PX, 100), np.array(tested.contrasts)
    for colour, (name, group) in zip(("C0", "C1"), parted(pieces).items(), strict=True):
        parts = [p for p in width_shares(group) if p.below_px is not None]
        at = [math.sqrt(p.below_px * max(p.below_px / 2, 0.2)) for p in parts if p.below_px]
        shares = np.array([p.found for p in parts])
        spread = [shares - [p.low for p in parts], np.array([p.high for p in parts]) - shares]
        axes.errorbar(at, shares, spread, fmt="o", ms=4, lw=1, color=colour, label=name)
        if name in fitting_groups(pieces) and len(contrasts):
            curve = Curve.of(fitting_groups(pieces)[name])
            axes.plot(widths, curve.probability(widths, contrasts), color=colour)
    axes.axhline(0.9, color="0.6", lw=0.8, ls=":")
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="width, px", ylabel="share that is found")
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], labels=["0.25", "0.5", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.grid(alpha=0.2)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(file, dpi=100)
