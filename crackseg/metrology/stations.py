"""Widths at stations about 1 px apart along the centre lines, from the photograph or the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line
from crackseg.metrology.columns import choose, concatenate, take
from crackseg.metrology.consistency import Judged, Reading, Settled, judge, settle
from crackseg.metrology.interior import Interior
from crackseg.metrology.partings import parting_px
from crackseg.metrology.readings import (
    Readings,
    Shown,
    Stations,
    average,
    known_interiors,
    parts_of,
    read_lines,
    show,
)
from crackseg.metrology.sampling import mask_edges, normals, read_profiles
from crackseg.records import Array, Window
from crackseg.runs import Mask

_BACKGROUND_PX = 11  # of concrete on either side of the crack in each profile
_CHUNK = 50_000  # stations sampled at a time: bounds memory on gigapixel pictures
_MEETING_PX = 20.0  # along a line, within which another may still lie beside it
_BETTER = 0.2  # by so much surer must another line of the crack be
# Standard uncertainty of a mask-orthogonal width: two edges on the pixel grid, and what masks are
# too fat or too lean by (mean error 0.73 px on real cracks, Ong et al. 2022).
_MASK_NOISE_U_PX, _MASK_MODEL_U_PX = 0.4, 0.75
# Masks are rather too fat than too lean: of labelled cracks that their photographs show 95 %, by up
# to so much.
_MASK_FAT_PX = 5.0


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
        stations = _from_mask(mask, lines, normal)
    else:
        stations = _judged(_read(lines, normal, group, mask, image), group)
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
        beyond_px=none,
        moved_px=none,
        sharp=np.zeros(len(none), dtype=bool),
        reading=np.full(len(none), int(Reading.LEFT_OUT), dtype=np.int8),
        edges=np.full((len(none), 2, 2), np.nan),
    )


def _judged(read: dict[int, Readings], group: Array) -> list[Stations]:
    """Return the stations of every line as the lines of its crack together say."""
    result: dict[int, Stations] = {}
    for name in np.unique(group):
        members = np.flatnonzero(group == name).tolist()
        readings = [read[k] for k in members]
        choices = settle([line.evidence for line in readings])
        settled = [_settled(line, choice) for line, choice in zip(readings, choices, strict=True)]
        judged = judge([line.evidence for line in settled])
        for k, line, read_as in zip(members, settled, judged, strict=True):
            result[k] = _chosen(line, read_as)
    return [result[k] for k in range(len(group))]


def _settled(read: Readings, choice: Settled) -> Readings:
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


def _chosen(read: Readings, judged: Judged) -> Stations:
    """Return the stations of one line, each as it is to be read."""
    reading = judged.reading
    lit = (reading == Reading.OPENING) & ~read.evidence.dark
    kinds = [
        (reading == Reading.NARROW, read.narrow),
        ((reading == Reading.MASK) | lit, read.across),
    ]
    chosen = choose(kinds, read.whole)
    alone = np.nan_to_num(chosen.width_px - judged.inner_px)
    narrower = np.maximum.reduce([chosen.narrower_px, judged.narrower_px, alone])
    return replace(chosen, reading=reading, narrower_px=narrower)


def _better_known(interior: dict[int, Interior], group: Array) -> dict[int, Interior]:
    """Return the darkness of the interior for lines of whose crack another line tells it better."""
    better: dict[int, Interior] = {}
    for name in np.unique(group):
        members = np.flatnonzero(group == name).tolist()
        known = interior[max(members, key=lambda k: interior[k].sure)]
        better |= {k: known for k in members if interior[k].sure < known.sure - _BETTER}
    return better


def _read(
    lines: list[Line],
    normal: list[Array],
    group: Array,
    mask: Mask,
    image: Callable[[Window], Array],
) -> dict[int, Readings]:
    """Return what is read along every line, as dark inside as a line of its crack tells best.

    Where it is too much to hold what is shown until all lines were seen, all are read at once, and
    those that another one tells better a second time.
    """
    alone = _alone(lines)
    across: dict[int, Stations] = {}
    interior: dict[int, Interior] = {}
    held: dict[int, tuple[Shown, slice]] = {}
    result: dict[int, Readings] = {}

    def read(chunk: list[int], shown: Shown, interiors: list[Interior]) -> None:
        some, across_px = [lines[k] for k in chunk], np.concatenate([normal[k] for k in chunk])
        masked = concatenate([across[k] for k in chunk])
        readings = read_lines(some, across_px, masked, shown, interiors)
        result.update(zip(chunk, readings, strict=True))

    few = sum(len(line.points) for line in lines) <= _CHUNK
    chunks = [*_chunks(lines, range(len(lines)))]
    for chunk in chunks:
        masked = _from_mask(mask, [lines[k] for k in chunk], [normal[k] for k in chunk])
        across.update(zip(chunk, masked, strict=True))
        shown = _show(lines, normal, chunk, across, mask.shape, image)
        sizes, free = [len(lines[k].points) for k in chunk], [alone[k] for k in chunk]
        interiors = known_interiors(shown, concatenate(masked), np.concatenate(free), sizes)
        interior.update(zip(chunk, interiors, strict=True))
        if few:
            held.update((k, (shown, part)) for k, part in zip(chunk, parts_of(sizes), strict=True))
        else:
            read(chunk, shown, interiors)
    better = _better_known(interior, group)
    for chunk in chunks if few else ():
        if own := [k for k in chunk if k not in better]:
            shown = concatenate([take(*held[k]) for k in own])
            read(own, shown, [interior[k] for k in own])
    for chunk in _chunks(lines, better):
        reach = 2 * _half([lines[k] for k in chunk]) + 1
        if few and all(held[k][0].profiles.shape[1] == reach for k in chunk):
            shown = concatenate([take(*held[k]) for k in chunk])
        else:
            shown = _show(lines, normal, chunk, across, mask.shape, image)
        read(chunk, shown, [better[k] for k in chunk])
    return result


def _half(lines: list[Line]) -> int:
    """Return how far profiles across lines reach to either side, px."""
    return int(np.ceil(max(_reach(line) for line in lines))) + _BACKGROUND_PX


def _show(
    lines: list[Line],
    normal: list[Array],
    chunk: list[int],
    across: dict[int, Stations],
    shape: tuple[int, int],
    image: Callable[[Window], Array],
) -> Shown:
    """Return what the photograph shows across the lines of a chunk."""
    some = [lines[k] for k in chunk]
    sizes = [len(line.points) for line in some]
    points = np.concatenate([line.points for line in some])
    across_px = np.concatenate([normal[k] for k in chunk])
    profiles = read_profiles(image, shape, points, across_px, _half(some))
    radius = np.repeat([line.radius_px for line in some], sizes)
    masked = np.concatenate([across[k].width_px for k in chunk])
    guess = np.where(np.isnan(masked), 2 * radius, masked)
    return show(average(profiles, sizes), guess)


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


def _from_mask(mask: Mask, lines: list[Line], normal: list[Array]) -> list[Stations]:
    """Return the widths across the mask."""
    sizes = [len(line.points) for line in lines]
    count = sum(sizes)
    if not count:
        return []
    points, across = np.concatenate([line.points for line in lines]), np.concatenate(normal)
    distance = mask_edges(mask, points, across, np.repeat([_reach(x) for x in lines], sizes))
    width = distance.sum(axis=1)
    stations = Stations(
        width_px=width,
        noise_u_px=np.full(count, _MASK_NOISE_U_PX),
        model_u_px=np.full(count, _MASK_MODEL_U_PX),
        lighter_px=np.zeros(count),
        narrower_px=np.minimum(width, _MASK_FAT_PX),
        beyond_px=np.zeros(count),
        moved_px=np.zeros(count),
        sharp=np.zeros(count, dtype=bool),
        reading=np.full(count, Reading.MASK),
        edges=points[:, None, :]
        + np.stack([-distance[:, :1] * across, distance[:, 1:] * across], axis=1),
    )
    return [take(stations, part) for part in parts_of(sizes)]


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


def _chunks(lines: list[Line], chosen: Iterable[int]) -> Iterator[list[int]]:
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
