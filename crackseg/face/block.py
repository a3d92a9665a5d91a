"""Photographs are placed on the face: by their poses, by what neighbours show alike, or by both.

One adjustment takes the whole block. A photograph that does not fit is set aside with a sentence,
and a block that does not hold together is an error, never a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crackseg.errors import DataError
from crackseg.face.adjustment import (
    Block,
    Priors,
    Ties,
    adjust,
    expected_poses,
    gaps_mm,
    residuals_px,
)
from crackseg.face.cameras import FRONTAL, Lens
from crackseg.face.matching import Features, Match, find_features, shrink_factor
from crackseg.face.neighbours import (
    AROUND_M,
    distance_m,
    each_once,
    match_all,
    of_this_face,
    with_files,
)
from crackseg.face.photographs import Photograph
from crackseg.face.plane import FacePlane, facing_deg, placed_by_drone
from crackseg.face.starting import lay_on_neighbours
from crackseg.records import Array, Notice

_TIE_PX = 0.5  # standard deviation of a feature, in px of the picture that was searched
_PAIR_TIES = 60  # of a pair, spread over what both show
_AROUND_DEG = 3.0  # what a gimbal may be off before any tie is known
_ANGLE_DEG = 1.5  # of a gimbal and compass
_FRONTAL_DEG = 12.0  # without a pose: from looking squarely at the face
_LOOSE = 1e3  # sigma of what is not known, m or rad
_WRONG_PX = 6.0  # median miss, in px searched, of a photograph that does not belong
_CONFIRMED_LEAST = 0.5  # of a photograph's likes: on a plane wall nine of ten are confirmed
_FLAT_SHARE = 0.75  # of all likes; fewer mean that the face is not flat
_BROKEN_PX = 3.0  # median miss of a block that does not hold together
_BROKEN_SHARE = 0.34  # of photographs that had to be set aside
_MOSAIC_SHARE_PX = 600_000_000  # what a mosaic of 60 megapixels takes of all, shown ten times over
_WORTH_SHRINKING_PX = 2_000_000  # of a share; a larger one is read from the photograph again
_NOMINAL_MM = 1.0  # size of a pixel in a block without any scale, until one is put on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Photographs on the face, before a scale from references is put on them."""

    photographs: tuple[Photograph, ...]
    block: Block
    ties: Ties
    tied: Array  # (N,) bool: held by neighbours; False: by its pose alone
    aside: tuple[tuple[str, str], ...]  # name and sentence of photographs that are not on the map
    notices: tuple[Notice, ...]
    pose_misses_m: float | None  # by how much the drone's places miss the block, rms
    posed: int  # photographs with a pose
    median_px: float | None  # miss of the ties in px searched


def place(
    photographs: Sequence[Photograph],
    plane: FacePlane,
    listen: Callable[[str, float], None] = lambda step, share: None,
    small: Path | None = None,
) -> Placed:
    """Return the photographs placed on the face.

    Args:
        photographs: with files; rasters excepted.
        plane: what is known of the face.
        listen: is told of the step and the share of it that is done.
        small: folder to keep photographs in that were shrunk, for a mosaic of many; None: none.

    Raises:
        DataError: nothing holds the photographs together, or they contradict each other.
    """
    aside: list[tuple[str, str]] = []
    usable = with_files(each_once(photographs, aside), aside)
    azimuth = plane.azimuth_deg if plane.azimuth_deg is not None else facing_deg(usable)
    usable = of_this_face(usable, plane, azimuth, aside)
    if not usable:
        raise DataError(f"no photograph can be placed on the face: {_sentences(aside)}")
    small_px = _MOSAIC_SHARE_PX // len(usable)
    if small is not None and small_px < _WORTH_SHRINKING_PX:
        usable = [replace(p, small=small / f"{n}.jpg") for n, p in enumerate(usable)]

    def find(number: int) -> Features:
        photograph = usable[number]
        return find_features(photograph.path, photograph.small, small_px)  # type: ignore[arg-type]

    matches, plain = match_all(usable, find, plane, azimuth, listen)
    listen("adjustment", 0.0)
    return _Placing(usable, matches, plain, plane, azimuth, aside).run()


class _Placing:
    """The steps of an adjustment, which share what they were given."""

    def __init__(
        self,
        photographs: Sequence[Photograph],
        matches: Sequence[Match],
        plain: int,
        plane: FacePlane,
        azimuth: float | None,
        aside: list[tuple[str, str]],
    ) -> None:
        self.photographs, self.plain = list(photographs), plain
        self.matches, self.plane, self.azimuth = list(matches), plane, azimuth
        self.aside, self.notices = aside, list[Notice]()
        if azimuth is None:
            shape = (len(photographs), 3, 3)
            self.axes, self.positions = np.full(shape, np.nan), np.full(shape[:2], np.nan)
        else:
            self.axes, self.positions = placed_by_drone(photographs, plane, azimuth)

    def run(self) -> Placed:
        self._keep(self._connected())
        block = self._start()
        priors = self._priors(AROUND_M, _AROUND_DEG)
        loose = self._ties(block, None)
        for robust_px in (200.0, 30.0, 6.0):
            block = adjust(block, loose, priors, robust_px)
        sigma_m = self._pose_miss(block, priors)
        priors = self._priors(max(sigma_m or 0.0, 0.02), _ANGLE_DEG)
        ties = self._ties(block, 10 * _TIE_PX)
        block = adjust(block, ties, priors, 3.0)
        ties = self._ties(block, max(5 * _TIE_PX, 3 * self._median_px(block, ties)))
        block = adjust(block, ties, priors, 3.0)
        wrong = self._wrong(block)
        if wrong.any():
            self._set_aside_wrong(wrong)
            return self.run()
        return self._finish(block, ties, priors)

    # -- what is kept ---------------------------------------------------------------------------

    def _connected(self) -> Array:
        """Return which are of the block: all that poses hold, or a larger group without any."""
        count = len(self.photographs)
        pairs = np.array([(m.first, m.second) for m in self.matches]).reshape(-1, 2)
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        groups, group = connected_components(graph, directed=False)
        posed = np.isfinite(self.positions).all(axis=1)
        main = int(np.argmax(np.bincount(group, minlength=groups)))
        has_pose = np.bincount(group, weights=posed, minlength=groups) > 0
        by_pose, by_looks = np.asarray(has_pose[group]), np.asarray(group == main)
        if count > 1 and not posed.any() and (group == main).sum() < 2:
            why = (
                "nothing on them can be told apart: the wall shows no texture"
                if self.plain > count / 2
                else "no two of them show the same part of the face"
            )
            raise DataError(
                f"the {count} photographs cannot be placed: they have no pose and {why}; "
                "photograph with more than half overlap, or keep the drone's own files."
                f"{' Set aside: ' * bool(self.aside)}{_sentences(self.aside)}"
            )
        return by_pose if by_pose.sum() >= by_looks.sum() else by_looks

    def _keep(self, stays: Array) -> None:
        posed = np.flatnonzero(np.isfinite(self.positions).all(axis=1))
        for number in np.flatnonzero(~stays):
            text = "it has no pose and shows nothing that the other photographs show."
            if number in posed:
                text = "it has a pose, most others have none, and nothing ties it to them."
            self.aside.append((self.photographs[number].name, text))
        self._choose(stays)

    def _choose(self, stays: Array) -> None:
        new = np.cumsum(stays) - 1
        self.photographs = [p for p, k in zip(self.photographs, stays, strict=True) if k]
        self.axes, self.positions = self.axes[stays], self.positions[stays]
        self.matches = [
            replace(m, first=int(new[m.first]), second=int(new[m.second]))
            for m in self.matches
            if stays[m.first] and stays[m.second]
        ]

    def _wrong(self, block: Block) -> Array:
        """Return which photographs' likes the block does not confirm, or misses by far."""
        likes, confirmed = self._confirmed(block)
        with np.errstate(invalid="ignore"):
            wrong = np.asarray(confirmed / likes < _CONFIRMED_LEAST)
        everyone = self._ties(block, None)
        miss = np.tile(self._miss_px(block, everyone), 2)
        owner = np.concatenate([everyone.first, everyone.second])
        order = np.argsort(owner, kind="stable")
        numbers, starts = np.unique(owner[order], return_index=True)
        for number, own in zip(numbers, np.split(miss[order], starts[1:]), strict=False):
            wrong[number] |= np.median(own) > _WRONG_PX
        return wrong

    def _confirmed(self, block: Block) -> tuple[Array, Array]:
        """Return each photograph's likes with neighbours, and how many the block confirms."""
        likes, confirmed = np.zeros((2, len(self.photographs)))
        for match in self.matches:
            whole = _ties_of(match, match.first_px, match.second_px, self._sigma_px(match))
            good = self._miss_px(block, whole) < 10 * _TIE_PX
            for number in (match.first, match.second):
                likes[number] += len(good)
                confirmed[number] += good.sum()
        return likes, confirmed

    def _sigma_px(self, match: Match) -> float:
        lenses = [self.photographs[n].lens for n in (match.first, match.second)]
        return _TIE_PX * max(shrink_factor(x.height_px, x.width_px) for x in lenses)

    def _set_aside_wrong(self, wrong: Array) -> None:
        if wrong.sum() > max(_BROKEN_SHARE * len(wrong), 1):
            names = ", ".join(self.photographs[n].name for n in np.flatnonzero(wrong)[:5])
            raise DataError(
                f"the block does not hold together: {int(wrong.sum())} of {len(wrong)} photographs "
                f"contradict their neighbours ({names}, ...); they show no plane face, or several."
            )
        for number in np.flatnonzero(wrong):
            text = "what it shows contradicts its neighbours: no part of this plane, or moved."
            self.aside.append((self.photographs[number].name, text))
        self._choose(~wrong)

    # -- where it starts ------------------------------------------------------------------------

    def _lenses(self) -> tuple[tuple[Lens, ...], Array, Array, Array]:
        """Return one lens per camera and size, each photograph's, and the focal lengths' priors."""
        keys = [(p.camera, p.lens.height_px, p.lens.width_px, round(p.lens.focal_px))
                for p in self.photographs]  # fmt: skip
        names = list(dict.fromkeys(keys))
        first = [keys.index(name) for name in names]
        lenses = tuple(self.photographs[n].lens for n in first)
        sigma = np.array([self.photographs[n].focal_sigma_rel for n in first])
        return lenses, np.array([names.index(k) for k in keys]), sigma, np.zeros((len(first), 2))

    def _start(self) -> Block:
        """Return a first block: poses as written, the others laid on their neighbours."""
        lenses, lens_of, _, _ = self._lenses()
        self._drop_to_plane()
        axes, positions = self.axes.copy(), self.positions.copy()
        block = Block(axes=axes, positions_m=positions, lenses=lenses, lens_of=lens_of,
                      frame=np.zeros(4))  # fmt: skip
        if not np.isfinite(positions).all(axis=1).any():
            root = int(np.argmax(np.bincount(
                [n for m in self.matches for n in (m.first, m.second)] or [0],
                minlength=len(axes))))  # fmt: skip
            axes[root] = FRONTAL
            positions[root] = [0, 0, self._size_mm(root) * lenses[lens_of[root]].focal_px / 1000]
        lay_on_neighbours(block, self.matches)
        return block

    def _size_mm(self, number: int) -> float:
        own = self.photographs[number].mm_per_px
        return own[0] if own else _NOMINAL_MM

    def _drop_to_plane(self) -> None:
        """Put z = 0 on the face where its origin is not known: by distances that are."""
        finite = np.isfinite(self.positions).all(axis=1)
        if not finite.any() or self.plane.origin is not None:
            return
        far = [
            distance_m(self.photographs[n], self.positions[n], self.plane)
            * max(-self.axes[n, 2, 2], 0.2)
            for n in np.flatnonzero(finite)
        ]
        self.positions[:, 2] += float(np.median(far - self.positions[finite, 2]))

    # -- priors and ties ------------------------------------------------------------------------

    def _priors(self, sigma_m: float, sigma_deg: float) -> Priors:
        lenses, _, focal_sigma, k = self._lenses()
        count = len(self.photographs)
        finite = np.asarray(np.isfinite(self.positions).all(axis=1))
        axes = np.where(finite[:, None, None], self.axes, FRONTAL)
        turns = np.full((count, 3), np.radians(_FRONTAL_DEG))
        turns[finite] = np.radians(sigma_deg)
        places, sigmas = self.positions.copy(), np.full((count, 3), _LOOSE)
        for number in np.flatnonzero(finite):
            pose = self.photographs[number].pose
            sigma = pose.sigma_m if pose else None
            sigmas[number] = max(sigma, 0.02) if sigma else sigma_m
        if not finite.any():  # the first one holds the block where it lies
            start = self._start()
            root = int(np.argmin(np.abs(start.positions_m[:, :2]).sum(axis=1)))
            places[root], sigmas[root] = start.positions_m[root], 1e-4
        return Priors(
            axes=axes,
            axes_sigma_rad=turns,
            positions_m=places,
            positions_sigma_m=sigmas,
            focal_px=np.array([x.focal_px for x in lenses]),
            focal_sigma_rel=focal_sigma,
            k=k,
            shift_sigma_m=0.5 if self.plane.origin is not None else 50.0,
        )

    def _ties(self, block: Block, limit_px: float | None) -> Ties:
        """Return ties of all pairs: those that agree, or all likes that the block confirms."""
        parts: list[tuple[Array, ...]] = []
        for match in self.matches:
            a, b = match.first_px, match.second_px
            sigma = self._sigma_px(match)
            chosen = match.agrees
            if limit_px is not None:
                whole = _ties_of(match, a, b, sigma)
                chosen = self._miss_px(block, whole) < limit_px
            own = _ties_of(match, a[chosen], b[chosen], sigma).take(_spread_out(a[chosen]))
            parts.append((own.first, own.second, own.first_px, own.second_px, own.sigma_px))
        if not parts:
            empty, none = np.zeros(0, int), np.zeros((0, 2))
            return Ties(first=empty, second=empty, first_px=none, second_px=none,
                        sigma_px=np.zeros(0))  # fmt: skip
        one, other, a, b, sigmas = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Ties(first=one, second=other, first_px=a, second_px=b, sigma_px=sigmas)

    def _miss_px(self, block: Block, ties: Ties) -> Array:
        """Return (N,) the miss of ties in px of the pictures that were searched."""
        miss = np.hypot(*residuals_px(block, ties).T) / ties.sigma_px * _TIE_PX
        return np.where(np.isfinite(miss), miss, np.inf)

    def _median_px(self, block: Block, ties: Ties) -> float:
        return float(np.median(self._miss_px(block, ties))) if len(ties.first) else 0.0

    def _pose_miss(self, block: Block, priors: Priors) -> float | None:
        """Return the rms distance, per axis, of the drone's places from the block's."""
        finite = np.isfinite(self.positions).all(axis=1)
        if finite.sum() < 3:
            return AROUND_M if finite.any() else None
        _, expected = expected_poses(block, priors)
        apart = (block.positions_m - expected)[finite]
        robust = 1.4826 * np.median(np.abs(apart - np.median(apart, axis=0)))
        return float(max(robust, 0.3 * apart.std()))

    def _finish(self, block: Block, ties: Ties, priors: Priors) -> Placed:
        tied = np.zeros(len(self.photographs), bool)
        tied[ties.first] = tied[ties.second] = True
        median = self._median_px(block, ties) if len(ties.first) else None
        if median is not None and median > _BROKEN_PX:
            raise DataError(
                f"the block does not hold together: neighbours miss each other by {median:.1f} px "
                "in the median; the photographs show no plane face."
            )
        if len(tied) > 1 and not tied.all():
            names = ", ".join(p.name for p, t in zip(self.photographs, tied, strict=True) if not t)
            text = f"placed by the drone's pose alone, no neighbour confirms it: {names}."
            self.notices.append(Notice(code="placed_by_pose_alone", message=text))
        if len({p.camera for p in self.photographs}) > 1:
            names = ", ".join(sorted({p.camera for p in self.photographs}))
            text = f"photographs of different cameras ({names}): each has a lens of its own."
            self.notices.append(Notice(code="several_cameras", message=text))
        likes, confirmed = (part.sum() for part in self._confirmed(block))
        if likes and confirmed / likes < _FLAT_SHARE:
            text = (
                f"{100 * (1 - confirmed / likes):.0f} % of what neighbours show alike does not lie "
                "on one plane: the face is not flat, or something stands before it; places are "
                "less sure than the residuals say."
            )
            self.notices.append(Notice(code="not_flat", message=text))
        posed = int(np.isfinite(self.positions).all(axis=1).sum())
        return Placed(
            photographs=tuple(self.photographs),
            block=block,
            ties=ties,
            tied=tied,
            aside=tuple(self.aside),
            notices=tuple(self.notices),
            pose_misses_m=self._pose_miss(block, priors) if posed >= 3 else None,
            posed=posed,
            median_px=median,
        )


def _ties_of(match: Match, a: Array, b: Array, sigma_px: float) -> Ties:
    count = len(a)
    return Ties(
        first=np.full(count, match.first),
        second=np.full(count, match.second),
        first_px=a,
        second_px=b,
        sigma_px=np.full(count, sigma_px),
    )


def _spread_out(points: Array) -> Array:
    """Return numbers of at most ``_PAIR_TIES`` points, evenly from all parts that they cover."""
    if len(points) <= _PAIR_TIES:
        return np.arange(len(points))
    low, size = points.min(axis=0), np.ptp(points, axis=0) + 1e-9
    cell = ((points - low) / size * 9.999).astype(int)
    number = cell[:, 0] * 10 + cell[:, 1]
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], number[order])
    rank = np.arange(len(order)) - starts
    return np.sort(order[np.argsort(rank, kind="stable")[:_PAIR_TIES]])


def _sentences(aside: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"`{name}`: {why}" for name, why in aside[:3])


def tie_gaps_mm(placed: Placed) -> Array:
    """Return (N,) the distance on the face between the two places of each tie."""
    return gaps_mm(placed.block, placed.ties)
