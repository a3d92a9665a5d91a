"""What the photograph shows at the stations of many lines, read at once.

Every profile is looked at by itself, so those of all lines are looked at together, some thousand at
a time. Where a line's interior comes to be known, its widths follow from what was seen already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.ndimage import binary_dilation

from crackseg.metrology.centreline import Line
from crackseg.metrology.columns import concatenate, put, take
from crackseg.metrology.consistency import (
    THIN_PX,
    THIN_SHARE,
    Evidence,
    Reading,
    no_line,
)
from crackseg.metrology.flanks import Banks, Flanks, banks, between, is_sharp
from crackseg.metrology.interior import Interior, fit_interiors, mean_profile
from crackseg.metrology.narrow import Narrow, narrow_widths
from crackseg.metrology.narrowing import AVERAGE, UNEVEN, halo_of_line, moved, sharpened, thinner
from crackseg.metrology.outline import beyond_px, lopsided_px, outline_px, step_px, stepped_px
from crackseg.metrology.strips import inner_px
from crackseg.metrology.twins import carried_on
from crackseg.metrology.width import (
    Seen,
    Widths,
    halo_px,
    lesser_line,
    look,
    widths_of,
)
from crackseg.records import Array

_BLOCK = 2048  # profiles looked at at once: what is made of them stays in the processor's cache
# Stations, and share of a line, that must show the interior before the rest is taken as dark.
_SHOWING, _SHOWING_SHARE = 5, 0.15
# Of a line's stations, those whose darkness is not in their core: it may be wide and pale.
_SOFT_SHARE = 0.5
_WIDE_SHARE = 0.5  # of a line's stations, the widest, whose mean profile is fitted
_STAIN_PX = 3.0  # a plateau this much wider than the mask is not the crack's
_DEEPEST = 0.9  # of the deepest darkness usual on a line: its interior is not lighter
_PALER = (0.45, 0.7)  # deepest darkness over that of the interior seen elsewhere on the crack

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stations:
    """Widths along one line; a bridge has none."""

    width_px: Array  # (N,) as it was read, nan where there is nothing to read
    noise_u_px: Array  # (N,) standard uncertainty that falls when stations are averaged
    model_u_px: Array  # (N,) standard uncertainty that neighbouring stations share
    lighter_px: Array  # (N,) by how much it is wider where the interior is as light as can be
    narrower_px: Array  # (N,) by how much it is narrower where it is not what it was taken for
    beyond_px: Array  # (N,) by how much it is wider if it is all that the mask's edges hold
    moved_px: Array  # (N,) by how much it is narrower if the camera's motion made its look
    sharp: Array  # (N,) bool, its own look says that nothing is blurred there
    reading: Array  # (N,) `Reading`
    edges: Array  # (N, 2, 2) edge points (row, col)

    @property
    def counted(self) -> Array:
        """Where a station tells the width of the crack, (N,) bool."""
        out = (self.reading == Reading.LEFT_OUT) | (self.reading == Reading.OPENING)
        counted: Array = np.isfinite(self.width_px) & ~out
        return counted

    @property
    def from_image(self) -> Array:
        """Where the width is that of the photograph, (N,) bool."""
        from_image: Array = self.reading != Reading.MASK
        return from_image


@dataclass(frozen=True, slots=True)
class Shown:
    """What profiles show before the darkness of the crack's interior is known."""

    profiles: Array  # (N, P) grey values
    guess_px: Array  # (N,) width of the mask
    seen: Seen
    widths: Widths
    lesser_px: Array  # (N,) darkness of the lesser of two lines in each, see ``lesser_line``
    halo_px: Array  # (N, 2) brightness of the shoulders, see ``width.halo_px``
    core: Narrow
    own: Banks


@dataclass(frozen=True, slots=True)
class Readings:
    """What the mask and the photograph say at the stations of one line, or of several."""

    across: Stations  # the mask
    whole: Stations  # the dark stretch
    narrow: Stations  # its narrow core
    flank: Stations  # between its own two flanks
    evidence: Evidence


def parts_of(sizes: Sequence[int]) -> list[slice]:
    """Return the rows of each line in a table of all of them."""
    stop = np.cumsum(sizes)
    return [slice(int(b - n), int(b)) for n, b in zip(sizes, stop, strict=True)]


def average(profiles: Array, sizes: Sequence[int]) -> Array:
    """Return each profile averaged with its neighbours on the same line."""
    stop = np.repeat(np.cumsum(sizes), sizes)
    start = stop - np.repeat(sizes, sizes)
    at = np.arange(len(profiles))
    low, high = np.maximum(start, at - AVERAGE // 2), np.minimum(stop, at + AVERAGE // 2 + 1)
    total = np.zeros((len(profiles) + 1, profiles.shape[1]))
    np.cumsum(profiles, axis=0, out=total[1:])
    mean: Array = (total[high] - total[low]) / (high - low)[:, None]
    return mean


def show(profiles: Array, guess_px: Array) -> Shown:
    """Return what profiles show.

    Args:
        profiles: (N, P) grey values at 1-px spacing, N >= 1.
        guess_px: (N,) width of the mask there.
    """
    return concatenate([_show(profiles[part], guess_px[part]) for part in _blocks(len(profiles))])


def _show(profiles: Array, guess_px: Array) -> Shown:
    seen = look(profiles, guess_px)
    widths = widths_of(seen)
    return Shown(
        profiles=profiles,
        guess_px=guess_px,
        seen=seen,
        widths=widths,
        lesser_px=lesser_line(seen, widths.apart_px),
        halo_px=halo_px(seen),
        core=narrow_widths(profiles, seen.darkest),
        own=banks(profiles, guess_px),
    )


def _blocks(count: int) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, count, _BLOCK)]


def known_interiors(
    shown: Shown, across: Stations, alone: Array, sizes: list[int]
) -> list[Interior]:
    """Return how dark the interior of each line is, and how surely.

    Args:
        shown: at the stations of all lines.
        across: the same stations across the mask.
        alone: (N,) bool, no other line is near.
        sizes: stations of each line.
    """
    parts = parts_of(sizes)
    own = between(shown.own, shown.core.width_px)
    evidence = _evidence(shown.widths, shown.core, own, across.width_px, parts)
    one = np.isnan(_lesser(shown, parts))
    plain = alone & one & (evidence.even >= UNEVEN[0])
    stain = (shown.widths.width_px > shown.guess_px + _STAIN_PX) & (evidence.core < THIN_SHARE)
    dark, line = evidence.dark & ~stain, ~no_line(evidence)
    asked = [
        _asked(take(shown.widths, part), dark[part], line[part], plain[part]) for part in parts
    ]
    means = [
        mean_profile(shown.profiles[part][one.wide], one.centre_px, one.guess_px)
        for part, one in zip(parts, asked, strict=True)
        if one
    ]
    fitted = iter(fit_interiors(means))
    return [one.settled(next(fitted)) if one else Interior() for one in asked]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The stations of one line whose mean profile may tell its interior."""

    wide: Array  # (K,) numbers, where the line is widest
    centre_px: Array  # (K,) middle of the line from that of the profile
    guess_px: float  # width to start from
    deepest: float  # darkness usual on the line
    seen: float | None  # darkness of plateaus, where enough stations show one

    def settled(self, interior: Interior) -> Interior:
        """Return the interior by the plateaus, or else by the fit."""
        if self.seen is not None:
            interior = replace(interior, darkness=self.seen, sure=1.0)
        # No part of a crack is darker than its interior: a lighter plateau is not the crack's.
        return interior if interior.darkness >= _DEEPEST * self.deepest else Interior()


def _asked(widths: Widths, dark: Array, line: Array, alone: Array) -> _Asked | None:
    """Return the stations that may tell how dark a line's interior is; None where too few do.

    Stations that show a plateau tell it; else the shape of the mean profile where the line is
    widest. What is no line, or is wider than the mask and holds its darkness elsewhere, is a stain
    and tells nothing.

    Args:
        widths: of the stations of one line.
        dark: (N,) bool, there is something dark, and no stain.
        line: (N,) bool, it is a line.
        alone: (N,) bool, no other line is near.
    """
    good = dark & line
    if good.sum() < _SHOWING:
        good = dark  # soft all along its way: pale, wide and out of focus, if the fit says so
    good = good & alone  # beside another line profiles are wider and paler than the crack
    if good.sum() < _SHOWING:
        return None
    showing = np.flatnonzero((widths.shown >= 0.9) & good)
    enough = len(showing) >= max(_SHOWING, _SHOWING_SHARE * len(good))
    width = np.where(good, widths.width_px, np.nan)
    wide = np.flatnonzero(width >= np.nanquantile(width, 1 - _WIDE_SHARE))
    return _Asked(
        wide=wide,
        centre_px=widths.centre_px[wide],
        guess_px=float(np.median(widths.width_px[wide])),
        deepest=float(np.median(widths.interior[good])),
        seen=float(np.median(widths.interior[showing])) if enough else None,
    )


def read_lines(
    lines: list[Line],
    normal: Array,
    across: Stations,
    shown: Shown,
    interiors: list[Interior],
) -> list[Readings]:
    """Return what the profiles of each line say of its widths.

    Args:
        lines: centre lines.
        normal: (N, 2) unit normals of their stations.
        across: the same stations across the mask.
        shown: what the profiles show.
        interiors: what is known of each line's interior.
    """
    sizes = [len(line.points) for line in lines]
    parts = parts_of(sizes)
    lesser = _lesser(shown, parts)
    two = np.repeat([interior.two for interior in interiors], sizes)
    lesser = np.where(two & np.isnan(lesser), 0.5 * shown.widths.total_px, lesser)
    darkness = np.repeat([interior.darkness for interior in interiors], sizes)
    sure = np.repeat([interior.sure for interior in interiors], sizes)
    widths, core, filled = _with_interior(shown, darkness, sure)
    own = between(shown.own, core.width_px)
    evidence = _evidence(widths, core, own, across.width_px, parts)
    points = np.concatenate([line.points for line in lines])
    halo = np.concatenate([halo_of_line(shown.halo_px[part]) for part in parts])
    inner = inner_px(shown.profiles, widths.centre_px, widths.width_px, evidence.dark, parts)
    evidence = replace(evidence, inner_px=inner)
    whole, narrow, flank = _stations(points, normal, shown, widths, core, own, filled, lesser, halo)
    spread = no_line(evidence)
    share = [np.count_nonzero(spread[part]) / size for part, size in zip(parts, sizes, strict=True)]
    soft = np.repeat(np.array(share) > _SOFT_SHARE, sizes)
    top = whole.width_px + whole.lighter_px
    lighter = np.where(
        soft, np.maximum(narrow.lighter_px, top - narrow.width_px), narrow.lighter_px
    )
    sides = ((across.edges - points[:, None]) * normal[:, None]).sum(axis=2) * np.array([-1.0, 1.0])
    outline = np.concatenate([outline_px(shown.profiles[part], sides[part]) for part in parts])
    stepped = np.concatenate([stepped_px(shown.seen.darkness[part], sides[part]) for part in parts])

    def as_wide(stations: Stations, centre: Array) -> Stations:
        """Return the stations with what the mask is wider by, for a reason."""
        width, looks = stations.width_px, shown.own.looks_px
        beyond = [
            np.maximum.reduce(
                [
                    beyond_px(outline[part], width[part], looks[part]),
                    step_px(stepped[part], width[part]),
                    lopsided_px(sides[part], centre[part], width[part]),
                ]
            )
            for part in parts
        ]
        return replace(stations, beyond_px=np.concatenate(beyond))

    place = widths.darkest - (shown.profiles.shape[1] - 1) / 2
    readings = Readings(
        across=across,
        whole=as_wide(whole, widths.centre_px),
        narrow=as_wide(replace(narrow, lighter_px=lighter), place),
        flank=as_wide(flank, own.centre_px),
        evidence=evidence,
    )
    return [take(readings, part) for part in parts]


def _with_interior(shown: Shown, darkness: Array, sure: Array) -> tuple[Widths, Narrow, Array]:
    """Return the widths of stretches and cores, and how much of a stretch may be filled, px.

    Args:
        shown: what the profiles show.
        darkness: (N,) of the interior.
        sure: (N,) 0..1, how far that is known.
    """
    widths, core, filled = shown.widths, shown.core, np.zeros(len(sure))
    known = np.flatnonzero(sure > 0)
    if not len(known):
        return widths, core, filled
    sized = []
    for part in _blocks(len(known)):
        rows = known[part]
        interior = darkness[rows], sure[rows]
        again = widths_of(take(shown.seen, rows), *interior)
        sized.append((again, narrow_widths(shown.profiles[rows], again.darkest, *interior)))
    before, after = take(widths, known), concatenate([again for again, _ in sized])
    # Where the line is much paler than that, it may be filled there: then all is open again.
    paler = 1 - np.interp(before.interior / darkness[known], _PALER, (0, 1))
    top = paler * (before.width_px + before.lighter_px)
    filled[known] = np.maximum(top - paler * after.width_px, 0)
    cores = concatenate([again for _, again in sized])
    return put(widths, known, after), put(core, known, cores), filled


def _stations(
    points: Array,
    normal: Array,
    shown: Shown,
    widths: Widths,
    core: Narrow,
    own: Flanks,
    filled: Array,
    lesser: Array,
    halo: Array,
) -> tuple[Stations, Stations, Stations]:
    """Return the stations by the dark stretch, by its core and between its own flanks."""
    guess = shown.guess_px
    place = widths.darkest - (shown.profiles.shape[1] - 1) / 2
    thin = widths.width_px < THIN_PX

    def narrower(width: Array) -> Array:
        of_look = thinner(width, guess, lesser, core, own)
        return np.maximum(of_look, sharpened(width, widths.total_px, halo))

    whole = Stations(
        width_px=widths.width_px,
        noise_u_px=widths.noise_u_px,
        model_u_px=widths.model_u_px,
        # Beside the edge of a tone the core may read more: the interval holds both.
        lighter_px=np.maximum(
            np.maximum(widths.lighter_px, filled),
            np.where(thin, core.width_px - widths.width_px, 0),
        ),
        narrower_px=narrower(widths.width_px),
        beyond_px=np.zeros(len(guess)),
        moved_px=moved(widths.width_px, widths.total_px),
        sharp=is_sharp(shown.own.looks_px, shown.seen.flank, shown.seen.plateau),
        reading=np.full(len(guess), Reading.WHOLE),
        edges=_edges(points, normal, widths.centre_px, widths.width_px),
    )
    narrow = replace(
        whole,
        width_px=core.width_px,
        noise_u_px=core.noise_u_px,
        model_u_px=core.model_u_px,
        lighter_px=np.maximum(core.lighter_px, filled),
        narrower_px=narrower(core.width_px),
        moved_px=moved(core.width_px, core.total_px),
        edges=_edges(points, normal, place, core.width_px),
    )
    flank = replace(
        whole,
        width_px=own.width_px,
        model_u_px=np.maximum(whole.model_u_px, core.model_u_px),
        lighter_px=np.maximum(
            np.where(own.width_px < THIN_PX, core.lighter_px, 0),
            np.where(filled > 0, widths.width_px + filled - own.width_px, 0),
        ),
        narrower_px=narrower(own.width_px),
        moved_px=moved(own.width_px, core.total_px),
        edges=_edges(points, normal, own.centre_px, own.width_px),
    )
    return whole, narrow, flank


def _lesser(shown: Shown, parts: list[slice]) -> Array:
    """Return the (N,) darkness of the lesser of two lines, as a line's stations say together."""
    width, lesser = shown.widths.width_px, shown.lesser_px
    return np.concatenate([carried_on(lesser[part], width[part]) for part in parts])


def _evidence(
    widths: Widths, core: Narrow, own: Flanks, mask_px: Array, parts: list[slice]
) -> Evidence:
    # Beside such a station a profile has averaged some of the black in.
    blind = _by_line(widths.blind, parts, _beside)
    return Evidence(
        width_px=widths.width_px,
        narrow_px=core.width_px,
        core=core.total_px / np.maximum(widths.total_px, 1e-6),
        mask_px=mask_px,
        dark=widths.dark & ~blind,
        clear=core.clear & ~blind,
        deepest=widths.interior,
        middle=widths.middle,
        blind=blind,
        flank_px=own.width_px,
        two=own.clear,
        even=own.even,
        inner_px=np.full(len(own.even), np.nan),
    )


def _beside(blind: Array) -> Array:
    """Return the (N,) stations of a line whose averaged profile holds that of a blind one."""
    return binary_dilation(blind, np.ones(2 * AVERAGE + 1)) if blind.any() else blind


def _by_line(column: Array, parts: list[slice], made: Callable[[Array], Array]) -> Array:
    return np.concatenate([made(column[part]) for part in parts])


def _edges(points: Array, normal: Array, centre: Array, width: Array) -> Array:
    """Return the (N, 2, 2) edge points of widths about a centre across the line."""
    sides = centre[:, None] + 0.5 * width[:, None] * np.array([-1.0, 1.0])
    edges: Array = points[:, None, :] + sides[:, :, None] * normal[:, None, :]
    return edges
