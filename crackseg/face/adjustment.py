"""One least-squares adjustment of a whole block: poses and lenses that lay all ties on each other.

A tie is a point that two photographs show. What is made small is, for all ties at once, how far the
place that one photograph gives lies from the other's point, in px of that other; far ones count
less (Cauchy). Priors are the poses that the drone wrote, whose frame may be turned and off from the
face as a whole, and the focal length.

Source: Triggs et al., "Bundle adjustment - a modern synthesis" (2000), with the points taken out by
the plane that they lie on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from crackseg.face.cameras import Lens, Optics, meet_plane, project, rays
from crackseg.face.derivatives import Side, misses, slopes
from crackseg.records import Array

_STEPS = 60
_CONVERGED = 1e-7  # relative fall of the cost
_K_SIGMA = (0.15, 0.1)  # of k1, k2 about the prior: lenses of drones lie within
_FRAME_SIGMA_RAD = (0.04, 0.04, 0.02)  # pitch, yaw, roll of the face against the drone's compass
_EPSILON = 1e-6
_PORTION = 20_000  # ties at a time: some tens of MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """Points that two photographs show, in px of the whole pictures."""

    first: Array  # (N,) number of a photograph
    second: Array  # (N,)
    first_px: Array  # (N, 2) row, col
    second_px: Array  # (N, 2)
    sigma_px: Array  # (N,) of either point

    def take(self, chosen: Array | slice) -> Ties:
        """Return some of them."""
        parts = (self.first, self.second, self.first_px, self.second_px, self.sigma_px)
        names = ("first", "second", "first_px", "second_px", "sigma_px")
        return Ties(**{n: p[chosen] for n, p in zip(names, parts, strict=True)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The photographs' poses and lenses, and how the drone's frame lies against the face's."""

    axes: Array  # (N, 3, 3)
    positions_m: Array  # (N, 3)
    lenses: tuple[Lens, ...]
    lens_of: Array  # (N,)
    frame: Array  # (4,) turn of the priors (rad, 3) and their shift along the normal (m)

    def optics(self, numbers: Array) -> Optics:
        """Return the lens values of photographs of the given numbers."""
        values = [(x.focal_px, x.k1, x.k2) for x in self.lenses]
        focal, k1, k2 = np.array(values)[self.lens_of[numbers]].T
        centres = np.array([x.centre for x in self.lenses])[self.lens_of[numbers]]
        return Optics(focal, k1, k2, centres)

    def side(self, numbers: Array) -> Side:
        """Return what the photographs of given numbers see with."""
        return Side(self.axes[numbers], self.positions_m[numbers], self.optics(numbers))

    def places(self, numbers: Array, points_px: Array) -> Array:
        """Return (N, 2) places on the face of points of photographs."""
        straight = rays(self.optics(numbers), points_px)
        return meet_plane(self.axes[numbers], self.positions_m[numbers], straight)

    def pixels(self, numbers: Array, places_m: Array) -> Array:
        """Return (N, 2) points of photographs that show places."""
        axes, positions = self.axes[numbers], self.positions_m[numbers]
        return project(self.optics(numbers), axes, positions, places_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """What is known before any tie; nan where it is not."""

    axes: Array  # (N, 3, 3)
    axes_sigma_rad: Array  # (N, 3)
    positions_m: Array  # (N, 3)
    positions_sigma_m: Array  # (N, 3)
    focal_px: Array  # (M,)
    focal_sigma_rel: Array  # (M,)
    k: Array  # (M, 2)
    shift_sigma_m: float  # of the priors' frame along the normal


def residuals_px(block: Block, ties: Ties) -> Array:
    """Return (N, 2) by how much each tie is missed in its second photograph; nan where unseen."""
    parts = [
        misses(block.side(t.first), block.side(t.second), t.first_px, t.second_px)
        for t in (ties.take(part) for part in _portions(len(ties.first)))
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 2))


def _portions(count: int) -> Iterator[slice]:
    """Yield slices of so many ties that what is worked out of them fits into little memory."""
    yield from (slice(start, start + _PORTION) for start in range(0, count, _PORTION))


def gaps_mm(block: Block, ties: Ties) -> Array:
    """Return (N,) the distance on the face between the two places of each tie."""
    gaps = np.zeros(len(ties.first))
    for part in _portions(len(gaps)):
        own = ties.take(part)
        gap = block.places(own.first, own.first_px) - block.places(own.second, own.second_px)
        gaps[part] = 1000 * np.hypot(gap[:, 0], gap[:, 1])
    return gaps


def adjust(block: Block, ties: Ties, priors: Priors, robust_px: float) -> Block:
    """Return the block whose poses and lenses fit ties and priors best.

    Args:
        block: where to start.
        ties: of all photographs at once.
        priors: each photograph's and lens's.
        robust_px: in sigmas of a tie; ties that are missed by more count less and less.
    """
    damping, cost = 1e-4, _cost(block, ties, priors, robust_px)
    for _ in range(_STEPS):
        normal, gradient = _normal_equations(block, ties, priors, robust_px)
        while damping < 1e8:
            step = _solve(normal, gradient, damping)
            trial = _moved(block, step)
            fresh = _cost(trial, ties, priors, robust_px)
            if fresh < cost:
                break
            damping *= 10
        else:
            return block
        fall, block, cost = (cost - fresh) / max(cost, 1e-12), trial, fresh
        damping = max(damping / 10, 1e-9)
        if fall < _CONVERGED:
            return block
    return block


def _solve(normal: sparse.csc_matrix, gradient: Array, damping: float) -> Array:
    diagonal = normal.diagonal()
    damped = normal + sparse.diags(damping * diagonal + 1e-12 * diagonal.max())
    return np.asarray(splu(damped.tocsc()).solve(-gradient))


def _cost(block: Block, ties: Ties, priors: Priors, robust_px: float) -> float:
    missed = residuals_px(block, ties) / ties.sigma_px[:, None]
    square = (missed**2).sum(axis=1)
    limit = robust_px**2
    far = np.where(np.isfinite(square), square, 1e6 * limit)
    own = _prior_residuals(block, priors)
    return float(limit * np.log1p(far / limit).sum() + (own**2).sum())


def _normal_equations(
    block: Block, ties: Ties, priors: Priors, robust_px: float
) -> tuple[sparse.csc_matrix, Array]:
    """Return J'WJ and J'Wr over [poses (6 each), lenses (3 each), frame (4)].

    Ties of one pair of photographs share their 18 unknowns: each pair gives one dense block.
    """
    own, own_jacobian = _prior_residuals(block, priors), _prior_jacobian(block, priors)
    normal = (own_jacobian.T @ own_jacobian).tocsc()
    gradient = own_jacobian.T @ own
    pair = ties.first.astype(np.int64) * len(block.axes) + ties.second
    order = np.argsort(pair, kind="stable")
    names, starts = np.unique(pair[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    for some in _runs(starts, ends):
        chosen = ties.take(order[starts[some][0] : ends[some][-1]])
        inner, outer = _of_pairs(block, chosen, ends[some] - starts[some], robust_px)
        columns = _columns(block, names[some] // len(block.axes), names[some] % len(block.axes))
        np.add.at(gradient, columns, outer)
        rows = np.broadcast_to(columns[:, :, None], inner.shape).ravel()
        cols = np.broadcast_to(columns[:, None, :], inner.shape).ravel()
        normal = normal + sparse.csc_matrix((inner.ravel(), (rows, cols)), shape=normal.shape)
    return normal, gradient


def _runs(starts: Array, ends: Array) -> Iterator[slice]:
    """Yield slices of pairs that hold about a portion of ties each."""
    begin = 0
    while begin < len(starts):
        stop = max(int(np.searchsorted(ends, starts[begin] + _PORTION, side="right")), begin + 1)
        yield slice(begin, stop)
        begin = stop


def _of_pairs(block: Block, ties: Ties, counts: Array, robust_px: float) -> tuple[Array, Array]:
    """Return (P, 18, 18) J'WJ and (P, 18) J'Wr of pairs whose ties follow each other."""
    first, second = block.side(ties.first), block.side(ties.second)
    missed = misses(first, second, ties.first_px, ties.second_px) / ties.sigma_px[:, None]
    square = (missed**2).sum(axis=1)
    weight = np.where(np.isfinite(square), 1 / (1 + square / robust_px**2), 0.0)
    root = np.sqrt(weight)[:, None]
    slope = slopes(first, second, ties.first_px) * (root / ties.sigma_px[:, None])[:, :, None]
    parts = np.concatenate([slope, (root * missed)[:, :, None]], axis=2)
    padded: Array = np.zeros((len(counts), int(counts.max()), 2, 19))
    pair = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded[pair, place] = np.where(np.isfinite(parts), parts, 0.0)
    padded = padded.reshape(len(counts), -1, 19)
    both = padded.swapaxes(1, 2) @ padded
    return both[:, :18, :18], both[:, :18, 18]


def _columns(block: Block, first: Array, second: Array) -> Array:
    """Return (P, 18) numbers of the unknowns of pairs: pose and lens of either photograph."""
    lenses = 6 * len(block.axes)
    parts = []
    for numbers in (first, second):
        parts.append(6 * numbers[:, None] + np.arange(6))
        parts.append(lenses + 3 * block.lens_of[numbers][:, None] + np.arange(3))
    return np.concatenate(parts, axis=1)


def _size(block: Block) -> int:
    return 6 * len(block.axes) + 3 * len(block.lenses) + 4


def _moved_all(block: Block, part: int) -> Block:
    """Return the block with one parameter of each photograph, or of each lens, a little larger."""
    step = np.zeros(_size(block))
    count = 6 * len(block.axes)
    if part < 6:
        step[part:count:6] = _EPSILON
    else:
        step[count + part - 6 : -4 : 3] = _EPSILON
    return _moved(block, step)


def _moved(block: Block, step: Array) -> Block:
    poses = step[: 6 * len(block.axes)].reshape(-1, 6)
    lenses = step[6 * len(block.axes) : -4].reshape(-1, 3)
    turned = block.axes @ Rotation.from_rotvec(poses[:, :3]).as_matrix()
    return replace(
        block,
        axes=turned,
        positions_m=block.positions_m + poses[:, 3:],
        lenses=tuple(
            replace(x, focal_px=x.focal_px * float(np.exp(s[0])), k1=x.k1 + s[1], k2=x.k2 + s[2])
            for x, s in zip(block.lenses, lenses, strict=True)
        ),
        frame=block.frame + step[-4:],
    )


def expected_poses(block: Block, priors: Priors) -> tuple[Array, Array]:
    """Return the priors' axes and positions on the face, their frame laid as the block has it."""
    turn = Rotation.from_rotvec(block.frame[:3]).as_matrix()
    finite = np.isfinite(priors.positions_m).all(axis=1)
    middle = priors.positions_m[finite].mean(axis=0) if finite.any() else np.zeros(3)
    middle = middle * [1, 1, 0]
    places = (priors.positions_m - middle) @ turn + middle + [0, 0, block.frame[3]]
    return priors.axes @ turn, places


def _prior_residuals(block: Block, priors: Priors) -> Array:
    """Return all of them: turns (3 a photograph), places (3), lenses (3 each), frame (4)."""
    axes, places = expected_poses(block, priors)
    apart = np.where(np.isfinite(axes), axes, block.axes).swapaxes(1, 2) @ block.axes
    turns = Rotation.from_matrix(apart).as_rotvec() / priors.axes_sigma_rad
    moves = (block.positions_m - places) / priors.positions_sigma_m
    lenses = [
        [np.log(x.focal_px / f) / s, (x.k1 - k[0]) / _K_SIGMA[0], (x.k2 - k[1]) / _K_SIGMA[1]]
        for x, f, s, k in zip(
            block.lenses, priors.focal_px, priors.focal_sigma_rel, priors.k, strict=True
        )
    ]
    frame = block.frame / [*_FRAME_SIGMA_RAD, priors.shift_sigma_m]
    parts = [turns.ravel(), moves.ravel(), np.ravel(lenses), frame]
    return np.asarray(np.nan_to_num(np.concatenate(parts), nan=0.0))


def _prior_jacobian(block: Block, priors: Priors) -> sparse.csr_matrix:
    count, size = len(block.axes), _size(block)
    base = _prior_residuals(block, priors)

    def own(moved: Block) -> Array:
        slope: Array = (_prior_residuals(moved, priors) - base) / _EPSILON
        return slope

    entries: list[tuple[Array, Array, Array]] = []
    numbers = np.arange(count)
    for part in range(6):
        slope = own(_moved_all(block, part))
        for start in (0, 3 * count):
            rows = start + np.arange(3 * count)
            entries.append((rows, 6 * np.repeat(numbers, 3) + part, slope[rows]))
    for part in range(6, 9):
        slope = own(_moved_all(block, part))
        rows = 6 * count + np.arange(3 * len(block.lenses))
        lens = np.repeat(np.arange(len(block.lenses)), 3)
        entries.append((rows, 6 * count + 3 * lens + part - 6, slope[rows]))
    for part in range(4):
        step = np.zeros(size)
        step[size - 4 + part] = _EPSILON
        slope = own(_moved(block, step))
        entries.append((np.arange(len(base)), np.full(len(base), size - 4 + part), slope))
    rows, columns, data = (np.concatenate(part) for part in zip(*entries, strict=True))
    return sparse.csr_matrix((data, (rows, columns)), shape=(len(base), size))
