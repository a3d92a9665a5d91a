"""A tip is joined to the side of another crack where the photograph shows it branch off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crackseg.metrology.phantoms import Look, Phantom, Stroke, draw, straight, wandering

SHAPE = (240, 320)
LOOK = Look(blur_px=0.8, contrast=0.6)
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip rows": lambda a: a[::-1],
    "transpose": lambda a: np.swapaxes(a, 0, 1),
    "quarter turn": np.rot90,
}


def fork(seed: int) -> tuple[Phantom, np.ndarray]:
    """Return a crack with a branch, and a mask that lost 20 px of the branch at the junction."""
    rng = np.random.default_rng(seed)
    trunk = wandering((120, 20), 0, 280, 3.0, rng, bend_deg=12, wave_px=80)
    foot = trunk.points[140]
    branch = wandering((float(foot[0]), float(foot[1])), 75, 100, 2.0, rng, bend_deg=10)
    phantom = draw(SHAPE, [trunk, branch], LOOK, rng)
    only_trunk = draw(SHAPE, [trunk], LOOK, rng).mask
    rows, cols = np.indices(SHAPE)
    lost = np.hypot(rows - foot[0], cols - foot[1]) < 22
    return phantom, (phantom.mask & ~lost) | only_trunk


def test_nearly_all_branches_are_led_to_their_cracks(cracks_of: Any) -> None:
    """Where the trunk swells its darkness hides the branch: that one stays apart."""
    pictures = [fork(seed) for seed in range(10)]
    assert sum(len(cracks_of(mask, phantom.picture)) == 1 for phantom, mask in pictures) >= 8


@pytest.mark.parametrize("seed", range(4))
def test_a_branch_is_led_to_its_crack(cracks_of: Any, seed: int) -> None:
    phantom, mask = fork(seed)
    (crack,) = cracks_of(mask, phantom.picture)
    assert (crack.tips, crack.junctions, crack.loops) == (3, 1, 0)
    assert crack.pattern == "branching"
    assert crack.joined_length.px == pytest.approx(21, abs=4)
    assert crack.length.px == pytest.approx(380, rel=0.02)
    assert len(cracks_of(mask)) == 2
    assert len(cracks_of(mask, phantom.picture, join_px=0)) == 2


def test_what_is_cut_keeps_its_length_and_pixels(cracks_of: Any) -> None:
    phantom, mask = fork(1)
    (whole,) = cracks_of(mask, phantom.picture)
    parts = cracks_of(mask, phantom.picture, join_px=0)
    apart = sum(crack.length.px for crack in parts)
    assert whole.length.px - whole.joined_length.px == pytest.approx(apart, rel=2e-3)
    paper = sum(crack.paper_length_px for crack in parts)
    assert whole.paper_length_px == pytest.approx(paper, rel=1e-9)
    assert whole.mask_area_px2 == sum(crack.mask_area_px2 for crack in parts)


@pytest.mark.parametrize("gap", [12, 20, 32])
@pytest.mark.parametrize("seed", range(4))
def test_a_crack_that_ends_before_another_is_left_alone(
    cracks_of: Any, gap: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    trunk = straight((150, 160), 0, 260, 3.0)
    branch = straight((150 - gap - 45, 160), 80, 90, 2.0)
    phantom = draw(SHAPE, [trunk, branch], LOOK, rng)
    assert len(cracks_of(phantom.mask, phantom.picture)) == 2


@pytest.mark.parametrize("turn", TURNS)
def test_turning_leads_to_the_same_junction(cracks_of: Any, turn: str) -> None:
    phantom, mask = fork(2)
    (one,) = cracks_of(mask, phantom.picture)
    move = TURNS[turn]
    (other,) = cracks_of(np.ascontiguousarray(move(mask)), move(phantom.picture))
    assert other.length.px == pytest.approx(one.length.px, rel=5e-3)
    assert (other.tips, other.junctions) == (one.tips, one.junctions)


def test_a_branch_meets_a_ring(cracks_of: Any) -> None:
    """A closed line that is cut in two stays one loop."""
    rng = np.random.default_rng(9)
    angle = np.linspace(0, 2 * np.pi, 400)
    ring = np.column_stack([120 + 60 * np.sin(angle), 130 + 60 * np.cos(angle)])
    strokes = [
        Stroke(points=ring, width_px=np.full(400, 3.0)),
        wandering((120, 190), 0, 110, 2.5, rng, bend_deg=15),
    ]
    phantom = draw(SHAPE, strokes, LOOK, rng)
    mask = phantom.mask.copy()
    mask[100:140, 194:214] = False
    (crack,) = cracks_of(mask, phantom.picture)
    assert (crack.loops, crack.junctions, crack.tips) == (1, 1, 1)
