"""Turn grey profiles across a crack into opening widths with their uncertainty.

One function for both ways in: ``cracks.measure`` samples profiles from the photograph along the
centre line, ``field_widths`` reads them from a file.

A thin crack is wider in the picture than on the wall, since lens and pixels spread it, but they
keep how much light it takes away: its width is the *integral* of darkness over that of a crack's
interior. A wide crack shows its two edges: its width is the distance between the *half levels*.
In between the two are blended. How dark the interior is, only a crack wide enough to show it can
tell, here or along its line (``interior``); a thinner one is taken to be as dark as `INTERIOR`.
Lime, dust and flat light make interiors as light as `LIGHTEST`, and such a crack is wider than it
reads: the interval reaches as far up as the profile allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crackseg.metrology.twins import lesser_of_two
from crackseg.records import Array

# Darkness of a crack's interior where the picture does not show it (1 = black). On the field
# profiles anything from 0.85 to 1.0 passes and 0.85 to 0.9 is best on both sites; a drawn or
# wet crack is black. The middle is taken, and its standard uncertainty covers the range.
INTERIOR, INTERIOR_U = 0.93, 0.04
# The lightest interior that an interval holds: grey 110 in concrete of 150, dusty or lime-filled.
LIGHTEST = 0.25
_BACKGROUND_PX = 10  # of concrete on either side that make the background level
SHORTEST_PROFILE = 9  # samples: fewer hold no background
_OUTER_PX = 5  # at either end of the profile: the background to begin with
_EDGE_SHARE = 0.3  # of the deepest darkness: where the crack's stretch of the profile ends
_EDGE_NOISE = 3.0  # ... but not within the noise of the background
_SEARCH_PX = 4.0  # the crack's middle is at most this far from the profile's
_BEYOND_MASK_PX = 5.0  # the crack reaches at most this far beyond the mask: else it is a pore
_FAINT = 0.04  # shallower than this is no dark line
_BLACK = 10.0  # grey value: nothing is seen in a profile that stays below it
_BLIND = 16.0  # grey value: a side as dark holds no concrete, also where JPEG has moved its black
_SOFT_FLANK_PX = 1.1  # a flank softer than this has a tail beyond the next sample
_HALO_PX = 4  # beside a dark stretch: as far as what sharpens a photograph brightens it
_ROUNDS = 3  # background and extent depend on each other and settle in three rounds
# Width of a flank over its slope tells a plateau from a blurred line (3.6 for a Gaussian).
_PLATEAU_RATIO, _PLATEAU_PX = (4.0, 5.0), (4.0, 6.0)
_HALF_LEVEL_PX = (3.0, 6.0)  # the integral below, the half-level width above, blended between
# What field measurements scatter beyond noise and interior: px, and per px of width.
# Fitted and checked by site (data/studies/accuracy.py, docs/accuracy.md).
MODEL_U_PX, MODEL_U_REL = 0.17, 0.10
_MODEL_WIDEST_PX = 6.0  # few field cracks are wider: from here the edges alone make the error


@dataclass(frozen=True, slots=True)
class Widths:
    """What (N,) profiles say of the crack's opening."""

    width_px: Array  # (N,) float
    noise_u_px: Array  # (N,) standard uncertainty that falls when stations are averaged
    model_u_px: Array  # (N,) standard uncertainty that neighbouring stations share
    lighter_px: Array  # (N,) by how much it is wider where the interior is as light as can be
    dark: Array  # (N,) bool, False where nothing is clearly darker than its surroundings
    centre_px: Array  # (N,) float, middle of the dark stretch from the profile's middle
    total_px: Array  # (N,) darkness of the dark stretch, in px of black
    darkest: Array  # (N,) int, sample of the profile where it is darkest
    interior: Array  # (N,) 0..1, deepest darkness seen
    middle: Array  # (N,) median darkness of the middle half of the dark stretch
    shown: Array  # (N,) 0..1, how far `interior` is the darkness of the crack's interior
    blind: Array  # (N,) bool, the dark stretch runs on into black: one edge is not to be seen
    apart_px: Array  # (N,) from edge to edge at half of the interior's darkness

    @property
    def u_px(self) -> Array:
        """Standard uncertainty (k = 1) of each width, (N,)."""
        u: Array = np.hypot(self.noise_u_px, self.model_u_px)
        return u

    @property
    def low_px(self) -> Array:
        """Lower end of the 95 % interval of each width, (N,)."""
        low: Array = np.maximum(self.width_px - 2 * self.u_px, 0)
        return low

    @property
    def high_px(self) -> Array:
        """Upper end of the 95 % interval of each width, (N,)."""
        high: Array = self.width_px + np.hypot(2 * self.u_px, self.lighter_px)
        return high


@dataclass(frozen=True, slots=True)
class Seen:
    """What (N, P) profiles show, whatever the crack's interior is taken to be."""

    darkness: Array  # (N, P) float32
    core: Array  # (N, P) bool, the middle of a wide mask
    darkest: Array  # (N,) int, sample of the profile where it is darkest
    low: Array  # (N,) int, first sample of the dark stretch
    high: Array  # (N,) int, its last one
    noise: Array  # (N,) standard deviation of the darkness of concrete
    plateau: Array  # (N,) 0..1, deepest darkness seen
    shown: Array  # (N,) 0..1, how far that is the darkness of the crack's interior
    flank: Array  # (N,) standard deviation of the blur of the steeper flank, px
    total: Array  # (N,) darkness of the dark stretch and its tails, in px of black
    samples: Array  # (N,) int, of these
    dark: Array  # (N,) bool, False where nothing is clearly darker than its surroundings
    blind: Array  # (N,) bool, the dark stretch runs on into black

    @property
    def tail(self) -> Array:
        """Samples beyond the dark stretch that still count, (N,)."""
        return np.where(self.flank > _SOFT_FLANK_PX, 2, 1)


def widths_from_profiles(
    profiles: Array,
    guess_px: Array | None = None,
    interior: Array | None = None,
    sure: Array | None = None,
) -> Widths:
    """Return the crack width of each profile.

    Args:
        profiles: (N, P) grey values 0..255 at 1-px spacing, P >= 9, the crack near the middle.
        guess_px: (N,) width of the mask there: the crack is looked for within it.
        interior: (N,) darkness of the interior where the profile does not show it, nan where
            that is not known either; None: known nowhere.
        sure: (N,) 0..1, how far that is known; None: wholly where it is given.
    """
    return widths_of(look(profiles, guess_px), interior, sure)


def look(profiles: Array, guess_px: Array | None = None) -> Seen:
    """Return what profiles show; see ``widths_from_profiles``."""
    profiles = np.asarray(profiles, dtype=np.float32)
    search, reach = np.full(len(profiles), _SEARCH_PX), np.full(len(profiles), np.inf)
    if guess_px is not None:
        search = np.maximum(search, 0.5 * np.asarray(guess_px) + 2)
        reach = 0.5 * np.asarray(guess_px) + _BEYOND_MASK_PX
    darkest = _darkest(profiles, search, reach)
    offset = np.abs(np.arange(profiles.shape[1]) - (profiles.shape[1] - 1) / 2)
    beyond, core = offset > reach[:, None], offset < _core(guess_px)
    darkness, low, high, noise = _darkness(profiles, darkest, beyond, core)
    plateau, shown, flank = _interior(darkness, low, high, darkest)
    tail = np.where(flank > _SOFT_FLANK_PX, 2, 1)
    near = _between(darkness, low - tail, high + tail)
    total = np.clip(np.where(near, darkness, 0), -1, 1).sum(axis=1)
    dark = _at(darkness, darkest) > np.maximum(_FAINT, _EDGE_NOISE * noise)
    dark &= (total > 0) & (profiles.max(axis=1) >= _BLACK)
    return Seen(
        darkness=darkness,
        core=np.broadcast_to(core, darkness.shape),
        darkest=darkest,
        low=low,
        high=high,
        noise=noise,
        plateau=plateau,
        shown=shown,
        flank=flank,
        total=total,
        samples=near.sum(axis=1),
        dark=dark,
        blind=_blind(profiles, low, high),
    )


def widths_of(seen: Seen, interior: Array | None = None, sure: Array | None = None) -> Widths:
    """Return the widths of what profiles show; see ``widths_from_profiles``."""
    plateau, shown, total, noise = seen.plateau, seen.shown, seen.total, seen.noise
    known, assumed, lightest = assumed_interior(plateau, interior, sure)
    depth = np.maximum(plateau, (1 - shown) * assumed + shown * plateau)
    integral = total / depth
    left, right = _crossings(np.where(seen.core, 1, seen.darkness), seen.darkest, 0.5 * depth)
    left, right = np.maximum(left, seen.low - seen.tail), np.minimum(right, seen.high + seen.tail)
    share = _ramp(integral, _HALF_LEVEL_PX)
    width = np.maximum((1 - share) * integral + share * (right - left), 0)
    spread = np.sqrt(seen.samples + seen.samples**2 / (2 * _BACKGROUND_PX))
    integral_u = noise * spread / depth
    half_u = noise * np.sqrt(2) * np.maximum(seen.flank, 0.5)  # level noise over the flank's slope
    interior_u = (1 - shown) * width * (1 - 0.5 * known) * INTERIOR_U / INTERIOR
    model_u = MODEL_U_REL * np.minimum(width, _MODEL_WIDEST_PX)
    return Widths(
        width_px=width,
        noise_u_px=(1 - share) * integral_u + share * half_u,
        model_u_px=np.sqrt(MODEL_U_PX**2 + model_u**2 + interior_u**2),
        lighter_px=(1 - shown) * width * np.maximum(depth / lightest - 1, 0),
        dark=seen.dark,
        centre_px=0.5 * (left + right) - (seen.darkness.shape[1] - 1) / 2,
        total_px=total,
        darkest=seen.darkest,
        interior=plateau,
        middle=_middle(seen.darkness, left, right),
        shown=shown,
        blind=seen.blind,
        apart_px=right - left,
    )


def halo_px(seen: Seen) -> Array:
    """Return how much brighter than the concrete a stretch's shoulders are, (N, 2) px of white.

    Sharpening keeps the light that a line takes away: what the line is darker for it stands as a
    bright halo on either side.
    """
    reach = seen.tail + _HALO_PX
    left = _between(seen.darkness, seen.low - reach, seen.low - seen.tail - 1)
    right = _between(seen.darkness, seen.high + seen.tail + 1, seen.high + reach)
    return np.stack([-np.where(side, seen.darkness, 0).sum(axis=1) for side in (left, right)], 1)


def lesser_line(seen: Seen, apart_px: Array) -> Array:
    """Return the (N,) darkness of the lesser of two lines in a stretch, px of black; nan: one line.

    Args:
        seen: what the profiles show.
        apart_px: (N,) from edge to edge.
    """
    near = _between(seen.darkness, seen.low - seen.tail, seen.high + seen.tail)
    stretch = _between(seen.darkness, seen.low, seen.high)
    return lesser_of_two(np.where(near, seen.darkness, 0), stretch, seen.noise, apart_px)


def assumed_interior(
    plateau: Array, interior: Array | None, sure: Array | None
) -> tuple[Array, Array, Array]:
    """Return how far the darkness is known (0..1), what it is taken to be, and the lightest.

    The interior is at least as dark as what is seen of it. What is half known lies, on a scale of
    ratios, half way: a crack does not jump in width where its darkness comes to be seen.
    """
    lightest = np.clip(plateau, LIGHTEST, 1)
    if interior is None:
        return np.zeros(len(plateau)), np.full(len(plateau), INTERIOR), lightest
    measured = np.isfinite(interior)
    known = np.where(measured, 1.0 if sure is None else sure, 0.0)
    darkness = np.where(measured, interior, INTERIOR)
    assumed = INTERIOR ** (1 - known) * darkness**known
    floor = np.maximum(darkness * (1 - 2 * INTERIOR_U), plateau)
    return known, assumed, lightest ** (1 - known) * floor**known


def _middle(darkness: Array, left: Array, right: Array) -> Array:
    """Return the (N,) median darkness of the middle half between two edges of each row."""
    rows = np.arange(len(darkness))[:, None]
    place = left[:, None] + (right - left)[:, None] * np.linspace(0.25, 0.75, 5)
    below = np.clip(np.floor(place).astype(np.intp), 0, darkness.shape[1] - 2)
    part = np.clip(place - below, 0, 1)
    values = (1 - part) * darkness[rows, below] + part * darkness[rows, below + 1]
    middle: Array = np.median(values, axis=1)
    return middle


def _blind(profiles: Array, low: Array, high: Array) -> Array:
    """Return where the picture stays black from the dark stretch on, to either side, (N,) bool.

    It is what a mosaic or a turned picture holds beyond its edge, or a shade in which nothing is
    seen. Where concrete lies between it and the crack, the crack's edge is seen.
    """
    steps = np.arange(_BACKGROUND_PX)
    blind = np.zeros(len(profiles), dtype=bool)
    for edge, sign in ((low, -1), (high, 1)):
        place = np.clip(edge[:, None] + sign * steps, 0, profiles.shape[1] - 1)
        blind |= np.take_along_axis(profiles, place, axis=1).max(axis=1) <= _BLIND
    return blind


def _core(guess_px: Array | None) -> Array:
    """Return the (N, 1) half width of the middle of a wide mask, px.

    Debris and lit flanks in it are brighter than the crack and do not end it.
    """
    if guess_px is None:
        return np.zeros((1, 1))
    core: Array = np.maximum(0, 0.4 * np.asarray(guess_px) - 3)[:, None]
    return core


def _between(rows: Array, low: Array, high: Array) -> Array:
    """Return the (N, P) mask of the samples from ``low`` to ``high``."""
    at = np.arange(rows.shape[1])
    between: Array = (at >= low[:, None]) & (at <= high[:, None])
    return between


def _darkest(profiles: Array, search: Array, reach: Array) -> Array:
    """Return the (N,) place of the darkest sample.

    Beyond ``search`` a sample must be darker by 5 grey values a px; beyond ``reach`` is none.
    """
    offset = np.abs(np.arange(profiles.shape[1]) - (profiles.shape[1] - 1) / 2)
    away = 5 * np.maximum(0, offset - search[:, None])
    away[offset > np.maximum(reach, 1)[:, None]] = np.inf
    place: Array = np.argmin(_blur(profiles) + away, axis=1)
    return place


def _blur(rows: Array) -> Array:
    """Return the rows smoothed by 1-2-1, their ends as they are."""
    smooth = rows.copy()
    smooth[:, 1:-1] = 0.25 * (rows[:, :-2] + rows[:, 2:]) + 0.5 * rows[:, 1:-1]
    return smooth


def _at(rows: Array, place: Array) -> Array:
    """Return the (N,) value of each row at its own place."""
    values: Array = np.take_along_axis(rows, np.clip(place, 0, rows.shape[1] - 1)[:, None], axis=1)
    return values[:, 0]


def _darkness(
    profiles: Array, darkest: Array, beyond: Array, core: Array
) -> tuple[Array, Array, Array, Array]:
    """Return darkness, first and last sample of the crack, and the noise of the background.

    Darkness is 1 - grey / background, 0 on the concrete and 1 where no light comes back. The
    background is a straight line between the levels of both sides, so that a slope of the light
    does not count as darkness. What is ``beyond`` is not the crack, what is ``core`` is.
    """
    outer = np.concatenate([profiles[:, :_OUTER_PX], profiles[:, -_OUTER_PX:]], axis=1)
    whole = np.median(outer, axis=1)  # of all samples, a wide crack's would be the darker half
    base = np.broadcast_to(whole[:, None], profiles.shape)
    noise = np.zeros(len(profiles), dtype=np.float32)
    for _ in range(_ROUNDS):
        darkness = 1 - profiles / np.maximum(base, 1)
        edge = np.maximum(_EDGE_SHARE * _at(darkness, darkest), _EDGE_NOISE * noise)
        outside = ((darkness <= edge[:, None]) & ~core) | beyond
        low, high = _stretch(outside, darkest)
        base, noise = _background(profiles, low, high, whole)
    return 1 - profiles / np.maximum(base, 1), low, high, noise


def _stretch(outside: Array, darkest: Array) -> tuple[Array, Array]:
    """Return the first and last sample of the unbroken stretch around the darkest one."""
    at = np.arange(outside.shape[1], dtype=np.int16)
    middle = darkest[:, None].astype(np.int16)
    low = np.where(outside & (at < middle), at, np.int16(-1)).max(axis=1) + 1
    high = np.where(outside & (at > middle), at, np.int16(len(at))).min(axis=1) - 1
    return low.astype(np.intp), high.astype(np.intp)


def _background(profiles: Array, low: Array, high: Array, whole: Array) -> tuple[Array, Array]:
    """Return the (N, P) background and its (N,) relative noise from both sides of the crack.

    Where a side has too few samples the other one counts for both, or else ``whole``.
    """
    last = profiles.shape[1] - 1
    steps = np.arange(2, 2 + _BACKGROUND_PX)  # the sample beside the crack is a mixed one
    row = np.arange(len(profiles))[:, None] * (last + 1)
    sides, levels, middles = [], [], []
    for edge, sign in ((low, -1), (high, 1)):
        place = edge[:, None] + sign * steps
        values = np.take(profiles, row + np.clip(place, 0, last))
        enough = np.abs(np.clip(place[:, 2], 0, last) - place[:, 2]) == 0
        sides.append(values)
        levels.append(np.where(enough, np.median(values, axis=1), np.nan).astype(np.float32))
        middles.append(np.clip(edge + sign * steps.mean(), 0, last).astype(np.float32))
    left = np.where(np.isnan(levels[0]), levels[1], levels[0])
    right = np.where(np.isnan(levels[1]), levels[0], levels[1])
    left, right = np.where(np.isnan(left), whole, left), np.where(np.isnan(right), whole, right)
    rise = (right - left) / np.maximum(middles[1] - middles[0], 1)
    at = np.arange(last + 1, dtype=np.float32)
    base = left[:, None] + rise[:, None] * (
        np.clip(at, middles[0][:, None], middles[1][:, None]) - middles[0][:, None]
    )
    rest = np.abs(sides[0] - left[:, None]).sum(axis=1) + np.abs(sides[1] - right[:, None]).sum(
        axis=1
    )
    spread = 1.2533 * rest / (2 * _BACKGROUND_PX)  # standard deviation of a normal one
    return base, spread / np.maximum(0.5 * (left + right), 1)


def _interior(
    darkness: Array, low: Array, high: Array, darkest: Array
) -> tuple[Array, Array, Array]:
    """Return the (N,) deepest darkness, how far that is the interior's (0..1), and the blur.

    The blur is the standard deviation that the steeper flank would have as a blurred edge, px.
    """
    inside = _between(darkness, low, high)
    smooth = np.where(inside, _blur(darkness), -1).max(axis=1)
    deepest = np.where(inside, darkness, -1).max(axis=1)
    plateau = np.clip(np.where(high - low >= 4, smooth, deepest), 0.01, 1)
    near = _between(darkness[:, :-1], low - 1, high)
    slope = np.where(near, np.abs(np.diff(darkness, axis=1)), 0).max(axis=1)
    flank = plateau / np.maximum(np.sqrt(2 * np.pi) * slope, 1e-3)
    left, right = _crossings(darkness, darkest, 0.5 * plateau)
    shown = _ramp((right - left) / flank, _PLATEAU_RATIO) * _ramp(right - left, _PLATEAU_PX)
    return plateau, shown, flank


def _ramp(value: Array, ends: tuple[float, float]) -> Array:
    """Return 0 below the first end, 1 above the second, a straight line between."""
    ramp: Array = np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return ramp


def _crossings(darkness: Array, darkest: Array, level: Array) -> tuple[Array, Array]:
    """Return where darkness falls through ``level`` on either side, between samples."""
    low, high = _stretch(darkness < level[:, None], darkest)
    last = darkness.shape[1] - 1

    def reach(edge: Array, step: int) -> Array:
        inner, outer = _at(darkness, edge), _at(darkness, edge + step)
        part = np.clip((inner - level) / np.maximum(inner - outer, 1e-6), 0, 1)
        place: Array = np.clip(edge + step * part, 0, last)
        return place

    return reach(low, -1), reach(high, 1)
