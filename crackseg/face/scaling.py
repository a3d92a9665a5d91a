"""A placed block gets its scale, and its place, by the most certain of what is known.

References in photographs (lengths, points of known station and elevation), the places that the
drone wrote, the scales of the photographs' own reports. What is used, how sure it is and what
contradicts it stands in the result; a block without any scale is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crackseg.config import read_record
from crackseg.errors import ConfigError, DataError, ScaleError
from crackseg.face.adjustment import Block
from crackseg.face.block import Placed
from crackseg.face.cameras import View
from crackseg.face.plane import FacePlane
from crackseg.names import count, nearest
from crackseg.records import Array, Notice
from crackseg.scales import SIGMA_REL_MAX

_PICK_PX = 0.7  # standard deviation of a point picked by hand, each direction
_AGREE_SIGMAS, _AGREE_FLOOR = 3.0, 0.02
_GROSS_SIGMAS, _GROSS = 5.0, math.log(1.5)  # beyond both no map: a scale was typed wrong
FARTHEST_M = 1e7  # a place on a structure, or east and north of it: the Earth is no larger
_MISFIT_SIGMAS = 5.0  # of a reference point, beyond which it is named


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A pixel of a photograph."""

    image: str  # name of the file
    row: float
    col: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """A known distance along the face between two spots, in one photograph or in two."""

    length_m: float
    start: Spot
    end: Spot

    def __post_init__(self) -> None:
        if not 0 < self.length_m < 1e5:
            raise ConfigError(f"`length_m` must be larger than 0, got {self.length_m}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A spot of known place on the face."""

    image: str
    row: float
    col: float
    station_m: float
    elevation_m: float

    def __post_init__(self) -> None:
        for name in ("station_m", "elevation_m"):
            value = getattr(self, name)
            if not abs(value) <= FARTHEST_M:
                raise ConfigError(
                    f"`{name}` must be a finite number of m up to {FARTHEST_M:g}, got {value:g}."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What was measured on the face itself."""

    length: tuple[Length, ...] = ()
    point: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceScale:
    """How well lengths on the map are known, and by what."""

    source: str  # reference_length | reference_points | poses | photographs | orthomosaic
    sigma_rel: float
    detail: str
    placed: bool  # stations and elevations are those of the structure, not of the map alone
    misses_mm: tuple[float, ...] = ()  # of the references
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A scale that something offers for the block: what to multiply it by."""

    factor: float
    sigma_rel: float
    source: str
    detail: str


def read_references(path: Path) -> References:
    """Return the references of a TOML file: tables ``[[length]]`` and ``[[point]]``.

    Raises:
        ConfigError: a key or value does not fit, or the file holds neither.
    """
    references = read_record(References, path)
    if not references.length and not references.point:
        raise ConfigError(
            f"`{path.name}` holds no reference, expected tables `[[length]]` or `[[point]]`."
        )
    return references


def views_of(block: Block) -> list[View]:
    """Return the views of a block's photographs."""
    return [
        View(lens=block.lenses[int(lens)], axes=axes, position_m=position)
        for axes, position, lens in zip(block.axes, block.positions_m, block.lens_of, strict=True)
    ]


def put_scale(placed: Placed, references: References, plane: FacePlane) -> tuple[Block, FaceScale]:
    """Return the block at its true size and place, and how well that is known.

    Raises:
        ScaleError: nothing gives a scale.
        ConfigError: a reference names a photograph that is not on the map.
    """
    numbers = {p.name: n for n, p in enumerate(placed.photographs)}
    views = views_of(placed.block)
    if len(references.point) >= 2:
        return _by_points(placed, references, plane, numbers)
    choices = [
        *_of_lengths(references, views, numbers),
        *_of_poses(placed),
        *_of_reports(placed, views),
    ]
    if not choices:
        raise ScaleError(
            "the map has no scale: the photographs have no pose and no scale of their own; give "
            "one known length or two points in `--references`, or analyze with a scale."
        )
    best = min(choices, key=lambda c: c.sigma_rel)
    if best.sigma_rel > SIGMA_REL_MAX:
        raise ScaleError(
            f"the map's scale would be known to ±{200 * best.sigma_rel:.0f} % only "
            f"({best.detail}); give one known length in `--references`."
        )
    middle = np.zeros(2)
    if best.source != "poses" and placed.posed:
        middle = placed.block.positions_m[:, :2].mean(axis=0)
    block = _transformed(placed.block, best.factor, 0.0, middle - best.factor * middle)
    if len(references.point) == 1:
        block = _shifted_to(references.point[0], block, plane, numbers)
    scale = FaceScale(
        source=best.source,
        sigma_rel=best.sigma_rel,
        detail=best.detail,
        placed=bool(references.point) or (placed.posed > 0 and plane.origin is not None),
        notices=tuple(_contradictions(best, choices)),
    )
    return block, scale


def _contradictions(best: _Choice, choices: Sequence[_Choice]) -> list[Notice]:
    notices = []
    for other in choices:
        apart = abs(math.log(other.factor / best.factor))
        unsure = math.hypot(best.sigma_rel, other.sigma_rel)
        by = 100 * (other.factor / best.factor - 1)
        text = (
            f"by {other.detail} the face is {abs(by):.1f} % {'larger' if by > 0 else 'smaller'} "
            f"than by {best.detail}"
        )
        if apart > max(_GROSS_SIGMAS * unsure, _GROSS):
            raise ScaleError(
                f"{text}: one of the two is wrong; check lengths, rows and columns of references "
                "and the scale of the analysis. Where the drone's places are wrong, "
                "`--ignore-poses` leaves them out."
            )
        if apart > _AGREE_SIGMAS * unsure + _AGREE_FLOOR:
            text = f"{text}: the latter is taken; check both."
            notices.append(Notice(code="scales_disagree", message=text))
    return notices


def _of_lengths(
    references: References, views: Sequence[View], numbers: Mapping[str, int]
) -> list[_Choice]:
    if not references.length:
        return []
    factors, sigmas = [], []
    for length in references.length:
        (one, size_one), (two, size_two) = (
            _place_of(spot, views, numbers) for spot in (length.start, length.end)
        )
        measured = float(np.linalg.norm(one - two))
        if measured <= 4 * math.hypot(size_one, size_two):
            raise ConfigError("the two ends of a `[[length]]` must lie apart in the photographs.")
        factors.append(length.length_m / measured)
        sigmas.append(_PICK_PX * math.hypot(size_one, size_two) / measured)
    weights = 1 / np.square(sigmas)
    factor = float((np.array(factors) * weights).sum() / weights.sum())
    spread = max(abs(math.log(f / factor)) - 3 * s for f, s in zip(factors, sigmas, strict=True))
    if spread > _AGREE_FLOOR:
        deviations = ", ".join(f"{100 * (f / factor - 1):+.1f} %" for f in factors)
        raise ScaleError(
            f"the reference lengths contradict each other ({deviations} from their mean); check "
            "their rows, columns and lengths."
        )
    sigma = float(max(1 / math.sqrt(weights.sum()), max(spread, 0.0)))
    detail = count(len(factors), "reference length")
    return [_Choice(factor=factor, sigma_rel=sigma, source="reference_length", detail=detail)]


def _place_of(
    spot: Spot | Point, views: Sequence[View], numbers: Mapping[str, int]
) -> tuple[Array, float]:
    """Return the place of a spot and the size of its pixel, m."""
    if spot.image not in numbers:
        raise ConfigError(
            f"the references name `{spot.image}`, which is not on the map; on it are "
            f"{nearest(spot.image, list(numbers)[:50])}."
        )
    view = views[numbers[spot.image]]
    if not (0 <= spot.row < view.lens.height_px and 0 <= spot.col < view.lens.width_px):
        raise ConfigError(
            f"row {spot.row:g}, col {spot.col:g} lie outside of `{spot.image}` of "
            f"{view.lens.height_px} x {view.lens.width_px} px."
        )
    pixel = np.array([[spot.row, spot.col]])
    size = float(np.mean([view.m_per_px(pixel, np.eye(2)[[k]])[0] for k in (0, 1)]))
    return view.to_face(pixel)[0], size


def _of_poses(placed: Placed) -> list[_Choice]:
    if placed.pose_misses_m is None:
        return []
    tied = placed.block.positions_m[placed.tied]
    if len(tied) < 3:
        return []
    spread = float(np.sqrt(((tied[:, :2] - tied[:, :2].mean(axis=0)) ** 2).sum()))
    detail = f"the places of {count(placed.posed, 'photograph')} by the drone"
    sigma = max(placed.pose_misses_m, 0.02) / max(spread, 1e-9)
    return [_Choice(factor=1.0, sigma_rel=sigma, source="poses", detail=detail)]


def _of_reports(placed: Placed, views: Sequence[View]) -> list[_Choice]:
    own = [
        (photograph.mm_per_px, view.mm_per_px)
        for photograph, view in zip(placed.photographs, views, strict=True)
    ]
    ratios_and_sigmas = [(scale[0] / size, scale[1]) for scale, size in own if scale is not None]
    if not ratios_and_sigmas:
        return []
    ratios, sigmas = np.array(ratios_and_sigmas).T
    factor = float(np.exp(np.median(np.log(ratios))))
    scatter = float(np.log(ratios).std() / math.sqrt(len(ratios)))
    sigma = math.hypot(float(np.median(sigmas)), scatter)  # what they share does not average out
    detail = f"the scale of {count(len(ratios_and_sigmas), 'photograph')}"
    return [_Choice(factor=factor, sigma_rel=sigma, source="photographs", detail=detail)]


def _by_points(
    placed: Placed, references: References, plane: FacePlane, numbers: Mapping[str, int]
) -> tuple[Block, FaceScale]:
    """Return the block laid on its reference points by size, turn and shift."""
    views = views_of(placed.block)
    spots = [_place_of(point, views, numbers) for point in references.point]
    source = np.array([s[0] for s in spots])
    marks = np.array([[p.station_m, p.elevation_m] for p in references.point])
    target = plane.from_map(marks)
    a, b = (x[:, 0] + 1j * x[:, 1] for x in (source, target))
    if abs(np.ptp(source, axis=0)).max() < 1e-6 or np.ptp(target, axis=0).max() < 1e-6:
        raise ConfigError("the reference points must lie apart from each other.")
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = b.mean() - turn * a.mean()
    misses = np.abs(turn * a + shift - b)
    pick_m = _PICK_PX * float(np.mean([s[1] for s in spots])) * abs(turn)
    if len(a) == 2:
        misses = np.zeros(2)
    else:
        _check_points(references, misses, pick_m)
    extent = float(np.sqrt((np.abs(b - b.mean()) ** 2).sum()))
    sigma = max(pick_m, float(misses.std())) / extent
    block = _transformed(
        placed.block, float(abs(turn)), float(np.angle(turn)), np.array([shift.real, shift.imag])
    )
    best = _Choice(factor=float(abs(turn)), sigma_rel=sigma, source="reference_points",
                   detail=count(len(a), "reference point"))  # fmt: skip
    others = [*_of_poses(placed), *_of_reports(placed, views)]
    scale = FaceScale(
        source=best.source,
        sigma_rel=sigma,
        detail=best.detail,
        placed=True,
        misses_mm=tuple(float(1000 * m) for m in misses),
        notices=tuple(_contradictions(best, others)),
    )
    return block, scale


def _check_points(references: References, misses: Array, pick_m: float) -> None:
    worst = int(np.argmax(misses))
    if misses[worst] > max(_MISFIT_SIGMAS * pick_m, 0.05):
        point = references.point[worst]
        raise DataError(
            f"the reference points do not fit the block: `{point.image}` row {point.row:g}, col "
            f"{point.col:g} is {1000 * misses[worst]:.0f} mm away from where the others put it; "
            "check its row, column, station and elevation."
        )


def _shifted_to(point: Point, block: Block, plane: FacePlane, numbers: Mapping[str, int]) -> Block:
    place, _ = _place_of(point, views_of(block), numbers)
    target = plane.from_map(np.array([[point.station_m, point.elevation_m]]))[0]
    return _transformed(block, 1.0, 0.0, target - place)


def _transformed(block: Block, factor: float, turn_rad: float, shift_m: Array) -> Block:
    """Return the block with its plane stretched, turned and shifted, in that order."""
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    moved = factor * block.positions_m @ turn.T + np.append(shift_m, 0.0)
    return replace(block, axes=block.axes @ turn.T, positions_m=moved)
