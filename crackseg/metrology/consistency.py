"""Decide which stations tell the width of a crack, and which tell that of something beside it.

A thin crack passes stains, tone edges, shadows and pores. There the dark stretch of the profile is
not the crack alone. A station counts as it was read where its profile is one dark line: most of
its darkness in its core, or as dark across as the crack is elsewhere; and where its neighbours
along the line agree, so that a crack may widen gradually to any width, or stay wide, but not jump
for a few pixels. Where it does not agree, the narrow core is measured instead; where there is none,
the station is left out, and so it is where the picture is black from the crack on and shows one
edge at most; where the crack is truly open for a short way (a pore, a chip), that is a place of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from scipy.ndimage import binary_propagation, grey_opening, maximum_filter1d

from crackseg.metrology.columns import concatenate
from crackseg.metrology.width import INTERIOR
from crackseg.records import Array


class Reading(IntEnum):
    """How a station was read."""

    WHOLE = 0  # the dark stretch of its profile
    NARROW = 1  # the narrow core of it
    LEFT_OUT = 2  # nothing there tells the crack's width
    OPENING = 3  # the crack is open there, for a short way
    MASK = 4  # across the mask


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the profiles of one line say, before they are held against each other."""

    width_px: Array  # (N,) of the dark stretch
    narrow_px: Array  # (N,) of the narrow core
    core: Array  # (N,) darkness of the core by that of the stretch
    mask_px: Array  # (N,) across the mask, nan where that is not to be had
    dark: Array  # (N,) bool, there is a dark line at all
    clear: Array  # (N,) bool, the narrow core stands out from its shoulders
    deepest: Array  # (N,) 0..1, deepest darkness
    middle: Array  # (N,) median darkness of the middle half of the stretch
    blind: Array  # (N,) bool, one edge is not to be seen: the picture is black from the crack on
    flank_px: Array  # (N,) between its own two flanks, whatever lies beyond them
    two: Array  # (N,) bool, it has both flanks
    even: Array  # (N,) 0..1, how alike its darkness is against both shoulders
    inner_px: Array  # (N,) of a line seen within the dark stretch, nan where none is


# Share of a crack's stations that must show it for the others to be left out; of a crack that is
# seen at fewer the mask tells the width.
SEEN_SHARE = 0.5
THIN_PX = 3.0  # up to here the stretch and the core read alike
_TYPICAL = 30  # percentile of the widths that is the crack's usual one: it may widen over half
# Of the darkness that the core must hold for the profile to be one line: up to a width nearly all,
# as on 480 of 487 cracks that were measured on the wall.
_LINE_SHARE, THIN_SHARE, _CORE_PX = 0.6, 0.8, 6.0
# How dark a wide place is by the deepest darkness of a crack of some px: what opens gets darker,
# since a thin crack shows less than its interior's darkness, and a stain does not. Half way
# between the two for a blur of 0.9 px; of a wide crack debris may be lighter.
_USUAL_PX, _OPEN_DARK = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5), (2.2, 1.6, 1.3, 1.18, 1.05, 0.75)
_HOLE = 0.6  # darkness: no stain is darker
_INSIDE_DARK = 1.05  # where the mask is as wide
_TWO_LEVELS = 0.75  # of the deepest darkness of a profile: its middle is a level of its own
# A wide place has a line in it where it is lighter than this share of its deepest darkness, or
# where flanks lie within this share of it; and so far along the line from there.
_UNEVEN_FLOOR, _WITHIN, _BESIDE_PX = 0.9, 0.5, 15
_SHADE = 0.7  # of the crack's deepest darkness: a lighter shoulder about a line is a stain
_BEYOND_PX = 3.0  # a station may be wider than the mask by so much more than is usual
_LEAN_PX = 2.0  # beyond twice the mask no lean mask explains a width
_FAT_PX = 8.0  # a mask up to so wide may hold a thin crack
_JUMP_REL, _JUMP_PX = 1.5, 1.5  # wider than its surroundings by this: a jump
# Beside a jump what is wider than its surroundings by this, up to so far from it, belongs to it.
_SLOPE_REL, _SLOPE_PX, _SLOPE_LONG_PX = 1.2, 0.5, 6
_JUMP_FROM_PX = 4.5  # surroundings up to here: a wide crack may change as it likes
_PLACE_SHAPE = 3  # a place is at most so many times as long as wide; longer is the crack's width
_SPANS = (15, 31, 61, 121)  # px along the line over which jumps are looked for
_OFF_PX, _OFF_REL = 0.8, 0.2  # stretch and flanks disagree from here on
_LESS_PX = 0.5  # from here on flanks that the mask allows tell how wide it may be as well
_ALIKE = 0.6  # darkness against one shoulder by that against the other: two sides of one line
_CLOSE = 0.6  # flanks so near to a stretch as wide as its mask are not those of debris in it
_SHORT, _SHORT_PX = 1.1, 0.3  # a core takes so much more light away than the whole stretch, px
_AGREES_PX = 2.0  # a width so near to what the mask says is the mask's
_FITS_PX = 1.0  # a line that only its flanks show is not wider than the mask says by more
# The width is another one than the outline tells from here on: masks are as unsure.
_OUT_PX, _OUT_REL = 1.0, 0.1
# A mask so wide is no centre line: it outlines the crack, and is too lean by so little.
_DRAWN_PX, _LEAN_MASK_PX = 3.5, 1.0
_MASK_OFF_PX = 4.0  # a mask is at most so much too fat or too lean throughout
# A pore is about as long as wide: rises up to so many times that are looked for over these spans.
_ROUND, _ROUND_SPANS = 1.5, (9, 13, 19, 27, 39, 55, 77)
_BULGE_PX, _BULGE_REL = 1.25, 0.2  # a crack's own width changes by less over such a way
_INNER_SURE = 0.8  # of the width of a line within a strip: it may be so much thinner than fitted
_FEW = 5  # stations: fewer tell nothing of what is usual


@dataclass(frozen=True, slots=True)
class Settled:
    """Which of two widths the stations of one line take: the stretch's or that of the flanks."""

    flank: Array  # (N,) bool, the flanks tell it
    blind: Array  # (N,) bool, neither does: one edge is not to be seen
    narrower_px: Array  # (N,) by how much it is narrower if the other one is right
    wider_px: Array  # (N,) by how much it is wider if the other one is right


def settle(lines: list[Evidence]) -> list[Settled]:
    """Return which width the stations of the lines of one crack take.

    The dark stretch is held against the concrete ten pixels off. Where a shadow, a dark fitting or
    a second crack begins beside the crack, that is not the crack's. The two agree on plain
    concrete; where they do not, the flanks are believed if they are alike, else what is nearer to
    the mask, and the interval holds both.

    Args:
        lines: at least one, in any order.
    """
    beyond = np.concatenate(
        [(e.width_px - e.mask_px)[e.dark & e.two & ~_disputed(e)] for e in lines]
    )
    beyond = beyond[np.isfinite(beyond)]
    usual = float(np.clip(np.median(beyond), -_MASK_OFF_PX, _MASK_OFF_PX)) if len(beyond) else 0.0
    return [_settle(line, usual if len(beyond) >= _FEW else 0.0) for line in lines]


def _disputed(line: Evidence) -> Array:
    """Return where stretch and flanks disagree."""
    off = np.abs(line.width_px - line.flank_px)
    disputed: Array = line.two & (off > np.maximum(_OFF_PX, _OFF_REL * line.flank_px))
    return disputed


def _settle(line: Evidence, beyond: float) -> Settled:
    measured = np.isfinite(line.mask_px)
    usual = float(np.median(line.mask_px[measured])) if measured.any() else np.inf
    expected = np.where(measured, line.mask_px, usual) + beyond
    off = line.width_px - expected
    wide = (line.mask_px > _FAT_PX) & (np.abs(off) <= _AGREES_PX)
    lighter = line.middle < _TWO_LEVELS * line.deepest
    disputed = line.dark & _disputed(line) & ~(wide & ~lighter)
    fits = line.flank_px <= expected + _FITS_PX
    hidden = ~line.dark & line.two & (line.even >= _ALIKE) & fits
    nearer = np.abs(line.flank_px - expected) < np.abs(off)
    alike = line.even >= _ALIKE
    # The concrete ten pixels off is darker than what the line lies in: it reads too little.
    short = (
        line.dark & line.two & (line.core > _SHORT) & (line.narrow_px > line.width_px + _SHORT_PX)
    )
    flank = (disputed & nearer & ~wide) | hidden | short
    beyond_mask = np.abs(off) > _BEYOND_PX
    sure = flank & alike & (beyond_mask | (line.width_px < line.flank_px))
    close = line.dark & line.two & wide & alike & (line.flank_px >= _CLOSE * line.width_px)
    gap = np.where((disputed & ~sure) | close, line.width_px - line.flank_px, 0)
    gap = np.where(flank, gap, -gap)
    # A second crack or a tone within the concrete that it is held against makes a stretch narrower,
    # by too little for a dispute.
    less = line.dark & line.two & alike & ~flank & (line.width_px > THIN_PX)
    less &= line.flank_px > line.width_px + _LESS_PX
    less &= line.flank_px <= np.nan_to_num(line.mask_px) + _FITS_PX
    # Where another dark thing crosses the crack, one dark stretch is both; the outline is not.
    drawn = line.mask_px > _DRAWN_PX
    outline = np.where(drawn, np.minimum(expected, line.mask_px + _LEAN_MASK_PX), expected)
    unsure = np.where(np.isfinite(outline), np.maximum(_OUT_PX, _OUT_REL * outline), 0)
    out = np.where(flank, line.flank_px, line.width_px) - outline
    out = np.where((line.dark | flank) & (out > unsure), out + unsure, 0)
    return Settled(
        flank=flank,
        blind=line.dark & ~line.two & (off > _AGREES_PX),
        narrower_px=np.maximum(-gap, out),
        wider_px=np.maximum(gap, np.where(less, line.flank_px - line.width_px, 0)),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """How the stations of one line are read."""

    reading: Array  # (N,) `Reading`
    narrower_px: Array  # (N,) by how much it is narrower if only the line in it is the crack
    inner_px: Array  # (N,) width of a line within it, nan where none is


def judge(lines: list[Evidence]) -> list[Judged]:
    """Return how every station of the lines of one crack is read.

    Args:
        lines: at least one, in any order.
    """
    usual = _usual(concatenate(lines))
    return [_judge(line, usual) for line in lines]


@dataclass(frozen=True, slots=True)
class _Usual:
    """What is usual for a crack."""

    width_px: float
    deepest: float  # darkness; 0 where too few stations tell
    beyond_px: float  # by which it is wider than its mask
    visible: bool  # it shows at most of its stations
    inner_px: float  # of a line within it that most stations show, nan where they do not

    @property
    def thin(self) -> bool:
        return self.width_px < THIN_PX

    @property
    def open_dark(self) -> float:
        """How dark it must be where it is open."""
        least = self.deepest * float(np.interp(self.width_px, _USUAL_PX, _OPEN_DARK))
        return min(least, max(_HOLE, _OPEN_DARK[-1] * self.deepest))


def _usual(whole: Evidence) -> _Usual:
    """Return what is usual; places that are wider than the mask and no line count as their core."""
    odd = ((whole.core < _LINE_SHARE) & ~_credible(whole)) | no_line(whole)
    width = np.where(odd, whole.narrow_px, whole.width_px)[whole.dark]
    typical = float(np.percentile(width, _TYPICAL)) if len(width) else np.inf
    plain = whole.dark & (whole.width_px <= max(THIN_PX, _JUMP_REL * typical))
    beyond = (whole.width_px - whole.mask_px)[whole.dark & np.isfinite(whole.mask_px)]
    return _Usual(
        width_px=typical,
        deepest=_deepest(whole, plain) or _deepest(whole, whole.clear),
        beyond_px=max(float(np.percentile(beyond, _TYPICAL)), 0.0) if len(beyond) else np.inf,
        visible=bool(np.sum(whole.dark | whole.clear) >= SEEN_SHARE * np.sum(~whole.blind)),
        inner_px=_most(whole.inner_px, whole.dark),
    )


def _judge(line: Evidence, usual: _Usual) -> Judged:
    """Return how every station of one line is read."""
    mask = np.nan_to_num(line.mask_px)
    core = line.core >= _LINE_SHARE
    wide = line.dark & (line.width_px > max(THIN_PX, _JUMP_REL * usual.width_px))
    inside = _credible(line) & (line.width_px <= mask + usual.beyond_px + _BEYOND_PX)
    least = np.where(inside, min(_INSIDE_DARK * usual.deepest, usual.open_dark), usual.open_dark)
    foreign = wide & ~core & ~inside & (line.middle < least)
    unseen = np.full(len(mask), Reading.MASK)
    narrow = np.where(line.narrow_px > 0, Reading.NARROW, Reading.LEFT_OUT)
    if usual.thin:
        foreign |= wide & ~core & (line.middle < least * np.where(inside, _SHADE, 1))
        foreign |= wide & ~inside & _in_shade(line)
        foreign |= line.dark & no_line(line)
        out = (mask <= _FAT_PX) & (usual.visible | line.clear)
        unseen = np.where(out, np.where(line.clear, narrow, Reading.LEFT_OUT), unseen)
    reading = np.where(foreign, narrow, np.where(line.dark, Reading.WHOLE, unseen))
    width = np.where(reading == Reading.NARROW, line.narrow_px, line.width_px)
    reliable = line.dark | (reading == Reading.NARROW)
    # A spall or a cavity with light in it is as wide as the mask, and a place like a dark one.
    lit = (reading == Reading.MASK) & (mask > _FAT_PX)
    width = np.where(lit, mask, _filled(width, reliable))
    dark = (line.dark & ~foreign) | lit
    jump = _jumps(width) & dark
    slope = _slopes(jump, width) & dark
    beside = np.where(core, Reading.LEFT_OUT, narrow)
    opened = lit | (line.middle >= usual.open_dark)
    place = np.where(opened, Reading.OPENING, beside)
    reading = np.where(jump, place, reading)
    reading = np.where(line.blind, Reading.LEFT_OUT, reading)
    # A thin crack may be open there, or run through a stain that the mask holds, or into a place
    # that its profile has averaged in: both are held.
    uneven = line.middle < _UNEVEN_FLOOR * line.deepest
    uneven |= line.two & (line.flank_px < _WITHIN * line.width_px)
    through = (wide & _near(wide & uneven, _BESIDE_PX)) | slope
    through &= usual.thin & (reading == Reading.WHOLE)
    black = np.minimum(line.deepest / INTERIOR, 1)  # as narrow as that if its interior is black
    alone = black * np.minimum(line.narrow_px, usual.width_px)
    narrower = np.where(through, line.width_px - np.minimum(alone, line.width_px), 0)
    if not usual.thin:
        bulge = np.where(reading == Reading.WHOLE, _bulges_px(width), 0)
        narrower = np.maximum(narrower, bulge)
    inner = _INNER_SURE * np.fmin(line.inner_px, usual.inner_px)
    return Judged(reading=reading, narrower_px=narrower, inner_px=inner)


def _most(width: Array, dark: Array) -> float:
    """Return the median of widths if most of the dark stations have one, else nan."""
    some = width[np.isfinite(width)]
    return (
        float(np.median(some))
        if len(some) >= SEEN_SHARE * dark.sum() and len(some)
        else float("nan")
    )


def _deepest(line: Evidence, chosen: Array) -> float:
    return float(np.median(line.deepest[chosen])) if chosen.sum() >= _FEW else 0.0


def _credible(line: Evidence) -> Array:
    """Return where a width may be that of the mask, be it as lean as masks are."""
    mask = np.nan_to_num(line.mask_px)
    credible: Array = (line.width_px <= 2 * mask + _LEAN_PX) | (mask > _FAT_PX)
    return credible


def no_line(line: Evidence) -> Array:
    """Return where a thin line would hold its darkness in its core, and the profile does not."""
    spread: Array = (line.width_px <= _CORE_PX) & (line.core < THIN_SHARE)
    return spread


def _in_shade(line: Evidence) -> Array:
    """Return where a profile has two levels: a narrow line within a lighter stretch."""
    lighter = line.middle < _TWO_LEVELS * line.deepest
    shade: Array = line.clear & lighter & (line.core < _LINE_SHARE)
    return shade


def _near(chosen: Array, reach: int) -> Array:
    near: Array = maximum_filter1d(chosen.astype(np.uint8), 2 * reach + 1) > 0
    return near


def _filled(width: Array, reliable: Array) -> Array:
    """Return the widths with those that are not known put between their neighbours."""
    at = np.arange(len(width))
    return np.interp(at, at[reliable], width[reliable]) if reliable.any() else np.zeros(len(width))


def _jumps(width: Array) -> Array:
    """Return where a thin line is wider than its surroundings, for a way short for its width.

    The surroundings are what a morphological opening along the line leaves: it takes off every
    rise that is shorter than its span and leaves a gradual one.
    """
    jump = np.zeros(len(width), dtype=bool)
    least = 0.0
    for span in _SPANS:
        most = np.inf if span == _SPANS[-1] else span / _PLACE_SHAPE
        chosen = (width > least) & (width <= most)
        if chosen.any():
            around = grey_opening(width, size=span, mode="reflect")
            thin = around <= _JUMP_FROM_PX
            jump |= chosen & thin & (width > np.maximum(_JUMP_REL * around + _JUMP_PX, THIN_PX))
        least = most
    return jump


def _bulges_px(width: Array) -> Array:
    """Return by how much a wide crack is narrower if a round place is a pore beside it."""
    bulge = np.zeros(len(width))
    least = 0.0
    for span in _ROUND_SPANS:
        chosen = (width > least) & (width <= span / _ROUND)
        if chosen.any():
            around = grey_opening(width, size=span, mode="reflect")
            rise = width - around
            high = rise > np.maximum(_BULGE_PX, _BULGE_REL * around)
            unsure = np.maximum(_OUT_PX, _OUT_REL * around)
            bulge = np.where(chosen & high, rise + unsure, bulge)
        least = span / _ROUND
    return bulge


def _slopes(jump: Array, width: Array) -> Array:
    """Return the ways up to jumps: there a profile has averaged some of the place in."""
    if not jump.any():
        return jump
    around = grey_opening(width, size=_SPANS[-1], mode="reflect")
    rise = width > _SLOPE_REL * around + _SLOPE_PX
    grown: Array = binary_propagation(jump, mask=jump | rise)
    return grown & ~jump & _near(jump, _SLOPE_LONG_PX)
