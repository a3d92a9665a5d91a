"""Widths at stations about 1 px apart along the centre lines, from the photograph or the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line
from crackseg.metrology.columns import choose
from crackseg.metrology.consistency import (
    THIN_PX,
    THIN_SHARE,
    Evidence,
    Reading,
    Settled,
    judge,
    no_line,
    settle,
)
from crackseg.metrology.flanks import Flanks, flanks
from crackseg.metrology.interior import Interior, fit_interior
from crackseg.metrology.narrow import Narrow, narrow_widths
from crackseg.metrology.partings import parting_px
from crackseg.metrology.sampling import mask_edges, normals, read_profiles
from crackseg.metrology.twins import carried_on
from crackseg.metrology.width import INTERIOR, Widths, widths_from_profiles
from crackseg.records import Array, Window
from crackseg.runs import Mask

AVERAGE = 5  # neighbouring profiles averaged: noise falls, a bend of 5 px is still straight
_BACKGROUND_PX = 11  # of concrete on either side of the crack in each profile
_CHUNK = 50_000  # stations sampled at a time: bounds memory on gigapixel pictures
# Stations, and share of a line, that must show the interior before the rest is taken as dark.
_SHOWING, _SHOWING_SHARE = 5, 0.15
_SOFT_SHARE = (
    0.5  # of a line's stations whose darkness is not in their core: it may be wide and pale
)
_WIDE_SHARE = 0.5  # of a line's stations, the widest, whose mean profile is fitted
_STAIN_PX = 3.0  # a plateau this much wider than the mask is not the crack's
_DEEPEST = 0.9  # of the deepest darkness usual on a line: its interior is not lighter
# Widths up to which motion may have drawn a thin black crack as a wide pale one: longer motion, of
# the second number, is told (docs/quality.md).
_MOVED_PX = (6.0, 8.0)
_PALER = (0.45, 0.7)  # deepest darkness over that of the interior seen elsewhere on the crack
# Darkness of a line against the darker shoulder by that against the brighter one: wholly, and not
# at all, it may be the darker shoulder's alone; from so wide on its own edges are seen.
_UNEVEN, _SHOWN_PX = (0.6, 0.8), 4.5
_FAT_PX = (8.0, 10.0)  # a mask up to so wide may hold a thin crack
_MEETING_PX = 20.0  # along a line, within which another may still lie beside it
_BETTER = 0.2  # by so much surer must another line of the crack be
# Standard uncertainty of a mask-orthogonal width: two edges on the pixel grid, and what masks are
# too fat or too lean by (mean error 0.73 px on real cracks, Ong et al. 2022).
_MASK_NOISE_U_PX, _MASK_MODEL_U_PX = 0.4, 0.75


@dataclass(frozen=True, slots=True)
class Stations:
    """Widths along one line; a bridge has none."""

    width_px: Array  # (N,) as it was read, nan where there is nothing to read
    noise_u_px: Array  # (N,) standard uncertainty that falls when stations are averaged
    model_u_px: Array  # (N,) standard uncertainty that neighbouring stations share
    lighter_px: Array  # (N,) by how much it is wider where the interior is as light as can be
    narrower_px: Array  # (N,) by how much it is narrower where it is not what it was taken for
    moved_px: Array  # (N,) by how much it is narrower if the camera's motion made its look
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
class _Read:
    """What the mask and the photograph say at the stations of one line."""

    across: Stations  # the mask
    whole: Stations  # the dark stretch
    narrow: Stations  # its narrow core
    flank: Stations  # between its own two flanks
    evidence: Evidence
    interior: Interior


def measure_stations(
    lines: list[Line], group: Array, mask: Mask, image: Callable[[Window], Array] | None
) -> list[Stations]:
    """Return the stations of every line.

    Args:
        lines: centre lines.
        group: (N,) the crack of each line.
        mask: (H, W) bool.
        image: reads a window of the photograph, or None.
    """
    normal = [normals(line.points) for line in lines]
    if image is None:
        stations = [_from_mask(mask, line, n) for line, n in zip(lines, normal, strict=True)]
    else:
        alone = _alone(lines)
        read = _read(lines, dict.fromkeys(range(len(lines))), mask, image, alone)
        read |= _read(lines, _better_known(read, group), mask, image, alone)
        stations = _judged(read, group)
    result = []
    for line, n, station in zip(lines, normal, stations, strict=True):
        width = np.full(len(n), np.nan) if line.kind == "bridge" else station.width_px
        width = _without_cut(width, line.points, n, mask.shape)
        result.append(replace(station, width_px=width))
    return result


def no_stations(line: Line) -> Stations:
    """Return the stations of a line along which no width can be read."""
    none = np.full(len(line.points), np.nan)
    return Stations(
        width_px=none,
        noise_u_px=none,
        model_u_px=none,
        lighter_px=none,
        narrower_px=none,
        moved_px=none,
        reading=np.full(len(none), int(Reading.LEFT_OUT), dtype=np.int8),
        edges=np.full((len(none), 2, 2), np.nan),
    )


def _judged(read: dict[int, _Read], group: Array) -> list[Stations]:
    """Return the stations of every line as the lines of its crack together say."""
    result: dict[int, Stations] = {}
    for name in np.unique(group):
        members = np.flatnonzero(group == name).tolist()
        choices = settle([read[k].evidence for k in members])
        settled = [_settled(read[k], choice) for k, choice in zip(members, choices, strict=True)]
        readings = judge([line.evidence for line in settled])
        for k, line, reading in zip(members, settled, readings, strict=True):
            result[k] = _chosen(line, reading)
    return [result[k] for k in range(len(group))]


def _settled(read: _Read, choice: Settled) -> _Read:
    """Return a line whose stretches are its flanks where these tell the width."""
    whole = choose([(choice.flank, read.flank)], read.whole)
    evidence = read.evidence
    return replace(
        read,
        whole=replace(
            whole,
            lighter_px=np.hypot(whole.lighter_px, choice.wider_px),
            narrower_px=np.maximum(whole.narrower_px, choice.narrower_px),
        ),
        evidence=replace(
            evidence,
            width_px=whole.width_px,
            core=np.where(choice.flank, 1, evidence.core),
            middle=np.where(choice.flank, evidence.deepest, evidence.middle),
            dark=(evidence.dark | choice.flank) & ~choice.blind,
            clear=evidence.clear & ~choice.blind,
            blind=evidence.blind | choice.blind,
        ),
    )


def _chosen(read: _Read, reading: Array) -> Stations:
    """Return the stations of one line, each as it is to be read."""
    lit = (reading == Reading.OPENING) & ~read.evidence.dark
    kinds = [
        (reading == Reading.NARROW, read.narrow),
        ((reading == Reading.MASK) | lit, read.across),
    ]
    return replace(choose(kinds, read.whole), reading=reading)


def _better_known(read: dict[int, _Read], group: Array) -> dict[int, Interior | None]:
    """Return the darkness of the interior for lines of whose crack another line tells it better."""
    better: dict[int, Interior | None] = {}
    for name in np.unique(group):
        members = np.flatnonzero(group == name).tolist()
        best = max(members, key=lambda k: read[k].interior.sure)
        known = read[best].interior
        better |= {k: known for k in members if read[k].interior.sure < known.sure - _BETTER}
    return better


def _read(
    lines: list[Line],
    interior: dict[int, Interior | None],
    mask: Mask,
    image: Callable[[Window], Array],
    alone: list[Array],
) -> dict[int, _Read]:
    """Return what is read along lines whose interior is known from elsewhere, or None."""
    result: dict[int, _Read] = {}
    for chunk in _chunks(lines, list(interior)):
        sizes = np.array([len(lines[k].points) for k in chunk])
        points = np.concatenate([lines[k].points for k in chunk])
        normal = np.concatenate([normals(lines[k].points) for k in chunk])
        half = int(np.ceil(max(_reach(lines[k]) for k in chunk))) + _BACKGROUND_PX
        profiles = _average(read_profiles(image, mask.shape, points, normal, half), sizes)
        for k, part in zip(chunk, _parts(sizes), strict=True):
            across = _from_mask(mask, lines[k], normal[part])
            result[k] = _from_image(
                lines[k], normal[part], across, profiles[part], interior[k], alone[k]
            )
    return result


def _without_cut(width: Array, points: Array, normal: Array, shape: tuple[int, ...]) -> Array:
    """Return the widths, nan where the section across the crack leaves the picture.

    There one edge is not to be seen. A line that runs along the border keeps what it has.
    """
    half = (0.5 * np.nan_to_num(width) + 1)[:, None] * np.abs(normal)
    inside = (points - half >= -0.5) & (points + half <= np.array(shape) - 0.5)
    whole = inside.all(axis=1)
    return np.where(whole, width, np.nan) if whole.any() else width


def _reach(line: Line) -> float:
    return 1.2 * line.radius_max_px + 3


def _from_mask(mask: Mask, line: Line, normal: Array) -> Stations:
    """Return the widths across the mask."""
    count = len(line.points)
    distance = mask_edges(mask, line.points, normal, np.full(count, _reach(line)))
    return Stations(
        width_px=distance.sum(axis=1),
        noise_u_px=np.full(count, _MASK_NOISE_U_PX),
        model_u_px=np.full(count, _MASK_MODEL_U_PX),
        lighter_px=np.zeros(count),
        narrower_px=np.zeros(count),
        moved_px=np.zeros(count),
        reading=np.full(count, Reading.MASK),
        edges=line.points[:, None, :]
        + np.stack([-distance[:, :1] * normal, distance[:, 1:] * normal], axis=1),
    )


def _from_image(
    line: Line,
    normal: Array,
    across: Stations,
    profiles: Array,
    interior: Interior | None,
    alone: Array,
) -> _Read:
    """Return what the profiles of one line show."""
    guess = np.where(np.isnan(across.width_px), 2 * line.radius_px, across.width_px)
    widths = widths_from_profiles(profiles, guess)
    lesser = carried_on(widths.lesser_px, widths.width_px)
    if interior is None:
        core = narrow_widths(profiles, widths.darkest)
        evidence = _evidence(widths, core, flanks(profiles, guess, core.width_px), across)
        plain = alone & np.isnan(lesser) & (evidence.even >= _UNEVEN[0])
        interior = _known_interior(widths, evidence, guess, profiles, plain)
    if interior.two:
        lesser = np.where(np.isnan(lesser), 0.5 * widths.total_px, lesser)
    interiors = np.full((2, len(guess)), [[interior.darkness], [interior.sure]])
    filled = np.zeros(len(guess))
    if interior.sure > 0:
        # Where the line is much paler than that, it may be filled there: then all is open again.
        paler = 1 - np.interp(widths.interior / interior.darkness, _PALER, (0, 1))
        top = paler * (widths.width_px + widths.lighter_px)
        widths = widths_from_profiles(profiles, guess, *interiors)
        filled = np.maximum(top - paler * widths.width_px, 0)
    core = narrow_widths(profiles, widths.darkest, *interiors)
    own = flanks(profiles, guess, core.width_px)
    place = widths.darkest - (profiles.shape[1] - 1) / 2
    thin = widths.width_px < THIN_PX
    whole = Stations(
        width_px=widths.width_px,
        noise_u_px=widths.noise_u_px,
        model_u_px=widths.model_u_px,
        # Beside the edge of a tone the core may read more: the interval holds both.
        lighter_px=np.maximum(
            np.maximum(widths.lighter_px, filled),
            np.where(thin, core.width_px - widths.width_px, 0),
        ),
        narrower_px=_thinner(widths.width_px, guess, lesser, core, own),
        moved_px=_moved(widths.width_px, widths.total_px),
        reading=np.full(len(guess), Reading.WHOLE),
        edges=_edges(line.points, normal, widths.centre_px, widths.width_px),
    )
    narrow = replace(
        whole,
        width_px=core.width_px,
        noise_u_px=core.noise_u_px,
        model_u_px=core.model_u_px,
        lighter_px=np.maximum(core.lighter_px, filled),
        narrower_px=_thinner(core.width_px, guess, lesser, core, own),
        moved_px=_moved(core.width_px, core.total_px),
        edges=_edges(line.points, normal, place, core.width_px),
    )
    evidence = _evidence(widths, core, own, across)
    if np.mean(no_line(evidence)) > _SOFT_SHARE:
        top = whole.width_px + whole.lighter_px
        narrow = replace(narrow, lighter_px=np.maximum(narrow.lighter_px, top - narrow.width_px))
    between = replace(
        whole,
        width_px=own.width_px,
        model_u_px=np.maximum(whole.model_u_px, core.model_u_px),
        lighter_px=np.maximum(
            np.where(own.width_px < THIN_PX, core.lighter_px, 0),
            np.where(filled > 0, widths.width_px + filled - own.width_px, 0),
        ),
        narrower_px=_thinner(own.width_px, guess, lesser, core, own),
        moved_px=_moved(own.width_px, core.total_px),
        edges=_edges(line.points, normal, own.centre_px, own.width_px),
    )
    return _Read(
        across=across,
        whole=whole,
        narrow=narrow,
        flank=between,
        evidence=evidence,
        interior=interior,
    )


def _thinner(width: Array, guess: Array, lesser: Array, core: Narrow, own: Flanks) -> Array:
    """Return by how much widths are less if two lines, or the edge of a tone, are in them, (N,)."""
    uneven = np.interp(own.even, _UNEVEN, (1, 0)) * np.interp(guess, _FAT_PX, (1, 0))
    edges = own.clear & (own.width_px > _SHOWN_PX)
    in_shade = uneven * (width - np.where(edges, own.width_px, core.least_px))
    of_two = width - np.nan_to_num(lesser / INTERIOR, nan=np.inf)
    thinner: Array = np.maximum(np.maximum(in_shade, of_two), 0)
    return thinner


def _moved(width: Array, total: Array) -> Array:
    """Return by how much pale widths are less if they are black cracks that motion spread, (N,)."""
    moved: Array = np.maximum(width - np.maximum(total, 0) / INTERIOR, 0)
    return moved * np.interp(width, _MOVED_PX, (1, 0))


def _evidence(widths: Widths, core: Narrow, own: Flanks, across: Stations) -> Evidence:
    # Beside such a station a profile has averaged some of the black in.
    blind = binary_dilation(widths.blind, np.ones(2 * AVERAGE + 1))
    return Evidence(
        width_px=widths.width_px,
        narrow_px=core.width_px,
        core=core.total_px / np.maximum(widths.total_px, 1e-6),
        mask_px=across.width_px,
        dark=widths.dark & ~blind,
        clear=core.clear & ~blind,
        deepest=widths.interior,
        middle=widths.middle,
        blind=blind,
        flank_px=own.width_px,
        two=own.clear,
        even=own.even,
    )


def _edges(points: Array, normal: Array, centre: Array, width: Array) -> Array:
    """Return the (N, 2, 2) edge points of widths about a centre across the line."""
    sides = centre[:, None] + 0.5 * width[:, None] * np.array([-1.0, 1.0])
    edges: Array = points[:, None, :] + sides[:, :, None] * normal[:, None, :]
    return edges


def _alone(lines: list[Line]) -> list[Array]:
    """Return where each line is far enough from others that it meets, (N,) bool."""
    parting = parting_px(lines, _BACKGROUND_PX)
    result = []
    for number, line in enumerate(lines):
        at = arc.along(line.points)
        first, last = (
            0.0 if free else max(_MEETING_PX, parting.get((number, side), 0.0))
            for side, free in enumerate(line.free)
        )
        result.append((at >= first) & (at <= at[-1] - last))
    return result


def _known_interior(
    widths: Widths, evidence: Evidence, guess: Array, profiles: Array, alone: Array
) -> Interior:
    """Return how dark a line's interior is, and how surely.

    Stations that show a plateau tell it; else the shape of the mean profile where the line is
    widest. What is no line, or is wider than the mask and holds its darkness elsewhere, is a stain
    and tells nothing.
    """
    stain = (widths.width_px > guess + _STAIN_PX) & (evidence.core < THIN_SHARE)
    plain = evidence.dark & ~stain
    good = plain & ~no_line(evidence)
    if good.sum() < _SHOWING:
        good = plain  # soft all along its way: pale, wide and out of focus, if the fit says so
    good &= alone  # beside another line profiles are wider and paler than the crack
    if good.sum() < _SHOWING:
        return Interior()
    showing = np.flatnonzero((widths.shown >= 0.9) & good)
    deepest = float(np.median(widths.interior[good]))
    width = np.where(good, widths.width_px, np.nan)
    wide = np.flatnonzero(width >= np.nanquantile(width, 1 - _WIDE_SHARE))
    guess_px = float(np.median(widths.width_px[wide]))
    interior = fit_interior(profiles[wide], widths.centre_px[wide], guess_px)
    if len(showing) >= max(_SHOWING, _SHOWING_SHARE * len(good)):
        interior = replace(interior, darkness=float(np.median(widths.interior[showing])), sure=1.0)
    # No part of a crack is darker than its interior: a lighter plateau is not the crack's.
    return interior if interior.darkness >= _DEEPEST * deepest else Interior()


def _chunks(lines: list[Line], chosen: list[int]) -> Iterator[list[int]]:
    """Yield line numbers in groups of similar width and of bounded size."""
    order = sorted(chosen, key=lambda k: lines[k].radius_max_px)
    chunk: list[int] = []
    size = 0
    for k in order:
        line = lines[k]
        wide = chunk and line.radius_max_px > 1.5 * lines[chunk[0]].radius_max_px + 2
        if chunk and (wide or size + len(line.points) > _CHUNK):
            yield chunk
            chunk, size = [], 0
        chunk.append(k)
        size += len(line.points)
    if chunk:
        yield chunk


def _parts(sizes: Array) -> list[slice]:
    stop = np.cumsum(sizes)
    return [slice(int(b - n), int(b)) for n, b in zip(sizes, stop, strict=True)]


def _average(profiles: Array, sizes: Array) -> Array:
    """Return each profile averaged with its neighbours on the same line."""
    stop = np.repeat(np.cumsum(sizes), sizes)
    start = stop - np.repeat(sizes, sizes)
    at = np.arange(len(profiles))
    low, high = np.maximum(start, at - AVERAGE // 2), np.minimum(stop, at + AVERAGE // 2 + 1)
    total = np.zeros((len(profiles) + 1, profiles.shape[1]))
    np.cumsum(profiles, axis=0, out=total[1:])
    mean: Array = (total[high] - total[low]) / (high - low)[:, None]
    return mean
