"""Tell cracks from fittings, and part a crack from the one that its mask runs into.

A clamp or a bracket that a crack passes is often marked with it, and its width is then the crack's
largest. What stands a second time in the photograph is no crack (``repeats``): the mask is cut
there, and both sides are measured anew, each by itself. Joints between setts or slabs of any shape
form a net as map cracking does, so long that it is certain and not searched for repetition: of
nets the reader is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from crackseg.metrology.ranking import REPETITION, certainty, with_repetition
from crackseg.metrology.repeats import repeated_parts, repetitions
from crackseg.names import count
from crackseg.records import Array, Certainty, Crack, Notice, Window
from crackseg.runs import Runs

_ROUNDS = 3  # fittings along one crack that are parted from it


def part_fittings(
    cracks: tuple[Crack, ...],
    shape: tuple[int, int],
    image: Callable[[Window], Array],
    measure: Callable[[Runs], tuple[Crack, ...]],
) -> tuple[Crack, ...]:
    """Return the cracks, longest first, those that run into a fitting in parts.

    Args:
        cracks: of a photograph.
        shape: (H, W) of it.
        image: reads a window of it as (h, w, 3) uint8 RGB.
        measure: returns the cracks of a mask of the photograph.
    """
    asked, settled = list(cracks), []
    for _ in range(_ROUNDS):
        parts = repeated_parts(asked, shape, image)
        settled += [crack for number, crack in enumerate(asked) if number not in parts]
        asked = [
            piece
            for number, (window, alike) in parts.items()
            for mask, repetition in _parted(asked[number], window, shape, alike)
            for piece in _measured(mask, repetition, measure)
        ]
        if not asked:
            break
    if not asked and len(settled) == len(cracks):
        return cracks
    ordered = sorted((*settled, *asked), key=lambda crack: -(crack.length.px or 0.0))
    return tuple(replace(crack, id=number) for number, crack in enumerate(ordered, start=1))


def note_repeats(
    cracks: tuple[Crack, ...],
    card: Certainty | None,
    shape: tuple[int, int],
    image: Callable[[Window], Array],
) -> tuple[Crack, ...]:
    """Return the cracks with what stands a second time; only what the main list would hold.

    Args:
        cracks: of a photograph.
        card: how certain they are; nothing is looked at where it does not ask for it.
        shape: (H, W) of the photograph.
        image: reads a window of it as (h, w, 3) uint8 RGB.
    """
    if card is None or not card.weights.get(REPETITION):
        return cracks
    listed = [crack for crack in cracks if (certainty(crack, card) or 0.0) >= card.limit]
    alike = repetitions(listed, shape, image)
    repeats = {crack.id: with_repetition(crack, a) for crack, a in zip(listed, alike, strict=True)}
    return tuple(repeats.get(crack.id, crack) for crack in cracks)


def net_notices(cracks: Sequence[Crack]) -> list[Notice]:
    """Return what the report says of nets, which may be joints.

    Args:
        cracks: in their sections, as ``rank`` puts them; doubtful ones are in no figure anyway.
    """
    nets = sum(crack.section == "main" and crack.pattern == "map" for crack in cracks)
    if not nets:
        return []
    text = (
        f"{count(nets, 'crack')} of the main list {'forms a net' if nets == 1 else 'form nets'}: "
        "map cracking does, but so do joints between setts, slabs or tiles, and neither certainty "
        "nor widths tell one from the other. Look before it counts, or leave such parts out with "
        "a region."
    )
    return [Notice(code="may_be_joints", message=text)]


def _measured(
    mask: Runs, repetition: float | None, measure: Callable[[Runs], tuple[Crack, ...]]
) -> Iterator[Crack]:
    for piece in measure(mask):
        yield replace(piece, repetition=repetition)


def _parted(
    crack: Crack, window: Window, shape: tuple[int, int], alike: float
) -> list[tuple[Runs, float | None]]:
    """Return the masks of what of a crack lies outside of a window, and inside of it."""
    own = np.asarray(crack.mask[:, :])
    rows = crack.window.row + np.arange(crack.window.height)[:, None]
    cols = crack.window.col + np.arange(crack.window.width)
    inside = (rows >= window.row) & (rows < window.row + window.height)
    inside = inside & (cols >= window.col) & (cols < window.col + window.width)
    parts = [(Runs.of(own & ~inside), None), (Runs.of(own & inside), alike)]
    place = crack.window.row, crack.window.col
    return [(part.moved(*place, shape), value) for part, value in parts if part.any()]
