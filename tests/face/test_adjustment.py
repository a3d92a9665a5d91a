"""Derivatives and normal equations of a block, held against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from crackseg.face import adjustment
from crackseg.face.adjustment import Block, Priors, Ties, adjust, gaps_mm, residuals_px
from crackseg.face.cameras import FRONTAL, Lens
from crackseg.face.derivatives import slopes


def block_of(rng: np.random.Generator, count: int = 5) -> Block:
    """Return photographs side by side by two cameras."""
    turns = Rotation.from_rotvec(rng.normal(0, 0.1, (count, 3))).as_matrix()
    positions = np.column_stack(
        [1.5 * np.arange(count), rng.normal(0, 0.2, count), 0 * turns[:, 0, 0] + 5]
    )
    lenses = (
        Lens(focal_px=1500.0, height_px=1500, width_px=2000, k1=-0.06, k2=0.02),
        Lens(focal_px=1200.0, height_px=1200, width_px=1600),
    )
    return Block(axes=FRONTAL @ turns, positions_m=positions, lenses=lenses,
                 lens_of=np.arange(count) % 2, frame=np.zeros(4))  # fmt: skip


def ties_of(block: Block, rng: np.random.Generator, noise_px: float = 0.0) -> Ties:
    """Return what neighbours show alike, one pair after the other."""
    parts = []
    for first in range(len(block.axes) - 1):
        numbers = np.full(40, first)
        a = rng.uniform(100, 1100, (40, 2))
        b = block.pixels(numbers + 1, block.places(numbers, a)) + rng.normal(0, noise_px, (40, 2))
        visible = np.isfinite(b).all(axis=1)
        parts.append(
            (
                numbers[visible],
                numbers[visible] + 1,
                a[visible],
                b[visible],
                np.full(visible.sum(), 0.7),
            )
        )
    first_, second, a, b, sigma = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Ties(first=first_, second=second, first_px=a, second_px=b, sigma_px=sigma)


def priors_of(block: Block) -> Priors:
    """Return loose priors at the block itself."""
    count = len(block.axes)
    return Priors(
        axes=block.axes,
        axes_sigma_rad=np.full((count, 3), 0.02),
        positions_m=block.positions_m,
        positions_sigma_m=np.full((count, 3), 0.1),
        focal_px=np.array([lens.focal_px for lens in block.lenses]),
        focal_sigma_rel=np.full(2, 0.05),
        k=np.array([[lens.k1, lens.k2] for lens in block.lenses]),
        shift_sigma_m=1.0,
    )


def test_derivatives_are_those_of_differences() -> None:
    rng = np.random.default_rng(0)
    block = block_of(rng)
    ties = ties_of(block, rng)
    derivatives = slopes(block.side(ties.first), block.side(ties.second), ties.first_px)
    step = 1e-6
    for column in range(18):
        own = np.zeros((len(ties.first), 2))
        for number in range(len(block.axes)):  # one photograph at a time, with a lens of its own
            alone = replace(
                block,
                lenses=tuple(block.lenses[n] for n in block.lens_of),
                lens_of=np.arange(len(block.axes)),
            )
            change = np.zeros(adjustment._size(alone))
            part = column % 9
            change[
                6 * number + part if part < 6 else 6 * len(block.axes) + 3 * number + part - 6
            ] = step
            high = residuals_px(adjustment._moved(alone, change), ties)
            low = residuals_px(adjustment._moved(alone, -change), ties)
            mine = (ties.first if column < 9 else ties.second) == number
            own[mine] = ((high - low) / (2 * step))[mine]
        scale = max(np.abs(own).max(), 1.0)
        assert derivatives[:, :, column] == pytest.approx(own, abs=1e-5 * scale)


def test_normal_equations_do_not_depend_on_the_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    block = block_of(rng)
    ties, priors = ties_of(block, rng, 0.5), priors_of(block)
    shuffled = ties.take(rng.permutation(len(ties.first)))
    whole, gradient = adjustment._normal_equations(block, ties, priors, 3.0)
    monkeypatch.setattr(adjustment, "_PORTION", 50)
    parts, other = adjustment._normal_equations(block, shuffled, priors, 3.0)
    assert abs(whole - parts).max() < 1e-9 * abs(whole).max()
    assert other == pytest.approx(gradient, abs=1e-9 * np.abs(gradient).max())
    assert gaps_mm(block, ties).shape == ties.first.shape


def test_the_gradient_is_that_of_the_cost() -> None:
    rng = np.random.default_rng(2)
    block = block_of(rng)
    ties, priors = ties_of(block, rng, 0.5), priors_of(block)
    _, gradient = adjustment._normal_equations(block, ties, priors, 3.0)
    for number in rng.integers(0, len(gradient), 12):
        change = np.zeros(len(gradient))
        change[number] = 1e-6
        high, low = (
            adjustment._cost(adjustment._moved(block, sign * change), ties, priors, 3.0)
            for sign in (1, -1)
        )
        assert 2 * gradient[number] == pytest.approx((high - low) / 2e-6, rel=1e-3, abs=1e-2)


def test_an_adjustment_finds_the_block_that_the_ties_are_of() -> None:
    rng = np.random.default_rng(3)
    true = block_of(rng, 8)
    ties, priors = ties_of(true, rng), priors_of(true)
    start = replace(
        true,
        axes=true.axes @ Rotation.from_rotvec(rng.normal(0, 0.01, (8, 3))).as_matrix(),
        positions_m=true.positions_m + rng.normal(0, 0.05, (8, 3)),
    )
    adjusted = adjust(start, ties, priors, 3.0)
    assert np.abs(residuals_px(adjusted, ties)).max() < 0.01
    assert adjusted.positions_m == pytest.approx(true.positions_m, abs=2e-3)
