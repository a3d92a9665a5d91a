"""One least-squares adjustment of a whole block: poses and lenses that lay all ties on each other.

A tie is a point that two photographs show. What is made small is, for all ties at once, how far the
place that one photograph gives lies from the other's point, in px of that other; far ones count
less (Cauchy). Priors are the poses that the drone wrote, whose frame may be turned and off from the
face as a whole, and the focal length.

Source: Triggs et al., "Bundle adjustment - a modern synthesis" (2000), with the points taken out by
the plane that they lie on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from crackseg.face.cameras import Lens, Optics, meet_plane, project, rays
from crackseg.records import Array

_STEPS = 60
_CONVERGED = 1e-7  # relative fall of the cost
_K_SIGMA = (0.15, 0.1)  # of k1, k2 about the prior: lenses of drones lie within
_FRAME_SIGMA_RAD = (0.04, 0.04, 0.02)  # pitch, yaw, roll of the face against the drone's compass
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """Points that two photographs show, in px of the whole pictures."""

    first: Array  # (N,) number of a photograph
    second: Array  # (N,)
    first_px: Array  # (N, 2) row, col
    second_px: Array  # (N, 2)
    sigma_px: Array  # (N,) of either point

    def take(self, chosen: Array) -> Ties:
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
    return block.pixels(ties.second, block.places(ties.first, ties.first_px)) - ties.second_px


def gaps_mm(block: Block, ties: Ties) -> Array:
    """Return (N,) the distance on the face between the two places of each tie."""
    one = block.places(ties.first, ties.first_px)
    gap = one - block.places(ties.second, ties.second_px)
    distance: Array = 1000 * np.hypot(gap[:, 0], gap[:, 1])
    return distance


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
    """Return J'WJ and J'Wr over [poses (6 each), lenses (3 each), frame (4)]."""
    missed = residuals_px(block, ties) / ties.sigma_px[:, None]
    square = (missed**2).sum(axis=1)
    weight = np.where(np.isfinite(square), 1 / (1 + square / robust_px**2), 0.0)
    missed = np.where(np.isfinite(missed), missed, 0.0)
    jacobian = _tie_jacobian(block, ties)
    own, own_jacobian = _prior_residuals(block, priors), _prior_jacobian(block, priors)
    weights = sparse.diags(np.repeat(weight, 2))
    normal = jacobian.T @ weights @ jacobian + own_jacobian.T @ own_jacobian
    gradient = jacobian.T @ (weights @ missed.ravel()) + own_jacobian.T @ own
    return normal.tocsc(), gradient


def _tie_jacobian(block: Block, ties: Ties) -> sparse.csr_matrix:
    """Return the derivatives of all ties by differences: each side moved by itself."""
    count, rows = len(block.axes), np.arange(2 * len(ties.first))
    still = (block, block)
    data, columns = [], []
    for part in range(9):
        moved = _moved_all(block, part)
        for side, numbers in ((0, ties.first), (1, ties.second)):
            pair = (moved, still[1]) if side == 0 else (still[0], moved)
            slope = (_missed(*pair, ties) - _missed(*still, ties)) / _EPSILON
            slope /= ties.sigma_px[:, None]
            column = 6 * numbers + part
            if part >= 6:
                column = 6 * count + 3 * block.lens_of[numbers] + part - 6
            data.append(np.where(np.isfinite(slope), slope, 0.0).ravel())
            columns.append(np.repeat(column, 2))
    shape = (len(rows), _size(block))
    places = (np.tile(rows, len(data)), np.concatenate(columns))
    return sparse.csr_matrix((np.concatenate(data), places), shape=shape)


def _missed(one: Block, other: Block, ties: Ties) -> Array:
    return other.pixels(ties.second, one.places(ties.first, ties.first_px)) - ties.second_px


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
