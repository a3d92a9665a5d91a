"""Pieces are joined where the photograph shows the crack between them, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crackseg.config import MeasureOptions
from crackseg.errors import ConfigError
from crackseg.metrology.phantoms import Look, Phantom, Stroke, draw, straight, wandering

SHAPE = (220, 420)
LOOK = Look(blur_px=0.8, contrast=0.6)
GAPS = (180, 240)  # columns in which the mask is empty
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip rows": lambda a: a[::-1],
    "flip columns": lambda a: a[:, ::-1],
    "transpose": lambda a: np.swapaxes(a, 0, 1),
    "quarter turn": np.rot90,
}


def wall(strokes: list[Stroke], rng: np.random.Generator, look: Look = LOOK) -> Phantom:
    """Return strokes on concrete of uneven tone, as a real wall has it."""
    phantom = draw(SHAPE, strokes, look, rng)
    blotches = rng.normal(size=(SHAPE[0] // 10, SHAPE[1] // 10))
    tone = np.kron(blotches, np.ones((10, 10)))
    picture = np.clip(phantom.picture + 3.0 * tone[..., None], 0, 255).astype(np.uint8)
    return replace(phantom, picture=picture)


def gap_in(mask: np.ndarray, first: int = GAPS[0], last: int = GAPS[1]) -> np.ndarray:
    broken = mask.copy()
    broken[:, first:last] = False
    return broken


def faint_in_the_middle(seed: int, look: Look = LOOK) -> tuple[Stroke, Phantom]:
    """Return a crack that is thinner in the gap."""
    rng = np.random.default_rng(seed)
    course = wandering((110, 30), 0, 340, 2.5, rng, bend_deg=15, wave_px=80)
    between = (course.points[:, 1] > GAPS[0]) & (course.points[:, 1] < GAPS[1])
    stroke = Stroke(points=course.points, width_px=np.where(between, 1.2, 2.5))
    return stroke, wall([stroke], rng, look)


@pytest.mark.parametrize("seed", range(6))
def test_a_faint_line_is_followed(cracks_of: Any, seed: int) -> None:
    stroke, phantom = faint_in_the_middle(seed)
    (crack,) = cracks_of(gap_in(phantom.mask), phantom.picture)
    assert crack.length.px == pytest.approx(stroke.length_px, rel=0.02)
    assert crack.joined_length.px == pytest.approx(GAPS[1] - GAPS[0], rel=0.15)
    assert crack.bridged_length.px == 0
    assert "joined" in crack.flags
    assert (crack.tips, crack.junctions, crack.loops) == (2, 0, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gap", [12, 25, 50])
def test_a_smooth_crack_is_followed_where_it_is_much_fainter(
    cracks_of: Any, gap: int, seed: int
) -> None:
    """Its pieces are as straight as a joint, but one as straight and as dark as the other."""
    rng = np.random.default_rng(300 + seed)
    course = wandering((110, 30), 0, 340, 2.5, rng, bend_deg=12, wave_px=100)
    between = np.abs(course.points[:, 1] - 210) < gap / 2
    stroke = Stroke(points=course.points, width_px=np.where(between, 0.7, 2.5))
    phantom = draw(SHAPE, [stroke], LOOK, rng)
    first = 210 - gap // 2
    (crack,) = cracks_of(gap_in(phantom.mask, first, first + gap), phantom.picture)
    assert crack.joined_length.px + crack.bridged_length.px == pytest.approx(gap, abs=6)


def test_a_joined_stretch_has_the_width_that_the_photograph_shows(cracks_of: Any) -> None:
    _, phantom = faint_in_the_middle(1, Look(blur_px=0.8))  # as dark inside as is assumed
    (crack,) = cracks_of(gap_in(phantom.mask), phantom.picture)
    (joined,) = (branch for branch in crack.branches if branch.kind == "joined")
    inner = joined.width_px[10:-10]
    assert np.isfinite(inner).mean() > 0.8
    whole = cracks_of(phantom.mask, phantom.picture)[0]
    assert crack.width_mean.px == pytest.approx(whole.width_mean.px, rel=0.05)


def test_pieces_stay_apart_without_a_photograph_or_when_told_to(cracks_of: Any) -> None:
    _, phantom = faint_in_the_middle(2)
    broken = gap_in(phantom.mask)
    assert len(cracks_of(broken)) == 2
    assert len(cracks_of(broken, phantom.picture, join_px=0)) == 2
    assert len(cracks_of(broken, phantom.picture, join_px=40)) == 2
    assert len(cracks_of(broken, phantom.picture, join_px=100)) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gap", [20, 40, 80])
def test_plain_concrete_is_not_crossed(cracks_of: Any, seed: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    course = wandering((110, 40), 0, 260 + gap, 2.5, rng, bend_deg=15, wave_px=80)
    pieces = [
        Stroke(points=part, width_px=np.full(len(part), 2.5))
        for part in (course.points[:130], course.points[130 + gap :])
    ]
    phantom = wall(pieces, rng)
    cracks = cracks_of(phantom.mask, phantom.picture)
    assert len(cracks) == 2
    assert all(crack.joined_length.px == 0 for crack in cracks)
    assert all("joined" not in crack.flags for crack in cracks)


@pytest.mark.parametrize("aside", [8, 14, 25])
@pytest.mark.parametrize("past", [-20, 0, 20])
def test_lines_beside_each_other_are_two(cracks_of: Any, aside: int, past: int) -> None:
    rng = np.random.default_rng(aside)
    one = straight((100, 120), 0, 160, 2.5)
    two = straight((100 + aside, 280 - past), 0, 160, 2.5)
    phantom = wall([one, two], rng)
    assert len(cracks_of(phantom.mask, phantom.picture)) == 2


@pytest.mark.parametrize("aside", [0, 20, 45])
@pytest.mark.parametrize("seed", range(3))
def test_a_joint_that_a_crack_ends_at_is_not_followed(
    cracks_of: Any, aside: int, seed: int
) -> None:
    """A crack on either side of a wide joint, which is no crack and not marked."""
    rng = np.random.default_rng(seed)
    one = wandering((110, 50), 0, 140, 2.0, rng, bend_deg=10)
    edge = one.points[-1]
    start = (float(edge[0]) + aside, float(edge[1]) + 30)
    two = wandering(start, 0, 140, 2.0, rng, bend_deg=10)
    cracks = draw(SHAPE, [one, two], LOOK, rng).mask
    joint = straight((110, float(edge[1]) + 15), 90, 400, 8)
    picture = wall([one, two, joint], rng).picture
    assert len(cracks_of(cracks, picture)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_a_joint_in_line_with_a_crack_is_another_line(cracks_of: Any, seed: int) -> None:
    rng = np.random.default_rng(40 + seed)
    crack = wandering((110, 30), 0, 150, 2.0, rng, bend_deg=30, wave_px=50)
    end = crack.points[-1]
    joint = straight((float(end[0]), float(end[1]) + 90), 0, 180, 3.0)
    phantom = wall([crack, joint], rng)
    broken = gap_in(phantom.mask, int(end[1]) + 1, int(end[1]) + 50)
    assert len(cracks_of(broken, phantom.picture)) == 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("gap", [20, 50, 80])
def test_a_crack_does_not_run_on_in_a_joint_that_begins_where_it_ends(
    cracks_of: Any, width: float, gap: int, seed: int
) -> None:
    """Whatever the joint's width and darkness beside the crack's, and at any angle."""
    rng = np.random.default_rng(100 + seed)
    crack = wandering((110, 40), 0, 130, rng.uniform(1.5, 4.0), rng, bend_deg=20, wave_px=60)
    end, way = crack.points[-1], crack.points[-1] - crack.points[-12]
    way /= np.hypot(*way)
    middle = end + 100 * way
    angle = float(np.degrees(np.arctan2(-way[0], way[1])))
    joint = straight((float(middle[0]), float(middle[1])), angle, 200, width)
    phantom = wall([crack, joint], rng)
    broken = gap_in(phantom.mask, int(end[1]) + 1, int(end[1]) + gap)
    assert len(cracks_of(broken, phantom.picture)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_one_straight_line_is_one_whatever_it_is(cracks_of: Any, seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    phantom = wall([straight((110, 210), rng.uniform(-8, 8), 340, 2.5)], rng)
    (line,) = cracks_of(gap_in(phantom.mask), phantom.picture)
    assert "joined" in line.flags


def test_the_edge_of_a_shadow_is_no_line(cracks_of: Any) -> None:
    rng = np.random.default_rng(3)
    ends = [straight((110, 100), 0, 140, 2.5), straight((110, 320), 0, 140, 2.5)]
    phantom = wall(ends, rng)
    picture = phantom.picture.copy()
    picture[111:, 170:250] = (0.6 * picture[111:, 170:250]).astype(np.uint8)
    assert len(cracks_of(phantom.mask, picture)) == 2


def test_an_open_ring_is_closed_once(cracks_of: Any) -> None:
    rng = np.random.default_rng(5)
    angle = np.linspace(0, 2 * np.pi, 500)
    points = np.column_stack([110 + 80 * np.sin(angle), 210 + 80 * np.cos(angle)])
    phantom = wall([Stroke(points=points, width_px=np.full(500, 2.5))], rng)
    broken = phantom.mask.copy()
    broken[95:125, 270:310] = False
    (crack,) = cracks_of(broken, phantom.picture)
    assert crack.length.px == pytest.approx(2 * np.pi * 80, rel=0.02)
    assert (crack.tips, crack.loops) == (0, 1)
    (whole,) = cracks_of(phantom.mask, phantom.picture)
    assert whole.joined_length.px == 0


def test_cracks_that_leave_the_picture_are_not_joined_along_its_border(cracks_of: Any) -> None:
    rng = np.random.default_rng(6)
    lines = [straight((60, 30), 45, 200, 2.5), straight((100, 30), 135, 200, 2.5)]
    phantom = wall(lines, rng)
    picture = phantom.picture.copy()
    picture[:, :2] = 40  # a dark rim, as a scan or a lens leaves it
    mask = phantom.mask.copy()
    mask[60:110, :60] = False
    for crack in cracks_of(mask, picture):
        assert crack.joined_length.px == 0


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("seed", range(3))
def test_turning_joins_the_same(cracks_of: Any, turn: str, seed: int) -> None:
    _, phantom = faint_in_the_middle(seed)
    broken = gap_in(phantom.mask)
    (one,) = cracks_of(broken, phantom.picture)
    move = TURNS[turn]
    (other,) = cracks_of(np.ascontiguousarray(move(broken)), move(phantom.picture))
    assert other.joined_length.px == pytest.approx(one.joined_length.px, rel=5e-3)
    assert other.length.px == pytest.approx(one.length.px, rel=5e-3)
    assert other.width_mean.px == pytest.approx(one.width_mean.px, rel=5e-3)


def test_the_network_is_asked_again_at_low_probability(cracks_of: Any) -> None:
    """A line at the limit of what the photograph shows is joined where the network half sees it."""
    rng = np.random.default_rng(8)
    course = wandering((110, 30), 0, 340, 2.5, rng, bend_deg=15, wave_px=80)
    between = (course.points[:, 1] > GAPS[0]) & (course.points[:, 1] < GAPS[1])
    stroke = Stroke(points=course.points, width_px=np.where(between, 0.35, 2.5))
    phantom = wall([stroke], rng, Look(blur_px=0.8, contrast=0.6, noise=0.04))
    broken = gap_in(phantom.mask)
    assert len(cracks_of(broken, phantom.picture)) == 2
    line = draw(
        SHAPE, [Stroke(points=course.points, width_px=np.full(len(between), 3.0))], Look(), rng
    ).mask
    probability = np.where(line, 40, 0).astype(np.uint8)
    assert len(cracks_of(broken, phantom.picture, probability=probability)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_the_network_calls_another_is_not_followed(cracks_of: Any, seed: int) -> None:
    """Two cracks end at the same joint: only who knows joints can tell it from a crack."""
    rng = np.random.default_rng(seed)
    one = wandering((110, 40), 0, 140, 2.5, rng, bend_deg=15, wave_px=80)
    end = one.points[-1]
    two = wandering((float(end[0]), float(end[1]) + 60), 0, 140, 2.5, rng, bend_deg=15, wave_px=80)
    joint = straight((float(end[0]), 210), 0, 400, 2.0)
    phantom = wall([one, two, joint], rng)
    cracks = draw(SHAPE, [one, two], LOOK, rng).mask
    broken = gap_in(cracks, int(end[1]) + 1, int(end[1]) + 60)
    marks = draw(SHAPE, [joint], LOOK, rng).mask
    other = np.where(marks & ~broken, 255, 0).astype(np.uint8)
    probability = np.where(broken, 255, 5).astype(np.uint8)
    told = cracks_of(broken, phantom.picture, probability=probability, other=other)
    assert len(told) == 2
    # Where it takes the stretch for the crack's as much, the crack is followed.
    likely = np.maximum(probability, other)
    alike = cracks_of(broken, phantom.picture, probability=likely, other=other)
    untold = cracks_of(broken, phantom.picture, probability=likely)
    assert len(alike) == len(untold) == 1


@pytest.mark.parametrize("width_px", [140, 420])
def test_a_joint_goes_on_to_the_border(cracks_of: Any, width_px: int) -> None:
    middle = width_px / 2
    for seed in range(4):
        rng = np.random.default_rng(seed)
        cracks = [
            wandering((130, middle + off), turn, 140, 2.5, rng, bend_deg=8)
            for off, turn in ((-30, 205), (30, 25))
        ]
        joint = straight((130, middle), 0, width_px + 40, 3.0)
        shape = (260, width_px)
        picture = draw(shape, [*cracks, joint], Look(blur_px=0.8, contrast=0.6), rng).picture
        mask, line = (draw(shape, some, Look(), rng).mask for some in (cracks, [joint]))
        found = cracks_of(
            mask,
            picture,
            probability=np.where(mask, 230, 5).astype(np.uint8),
            other=np.where(line & ~mask, 255, 0).astype(np.uint8),
        )
        assert not any(crack.joined_length.px for crack in found)


@pytest.mark.parametrize("seed", range(4))
def test_a_stretch_of_the_crack_that_the_network_calls_another_line(
    cracks_of: Any, seed: int
) -> None:
    """It begins and ends where the crack does: no joint is so short."""
    rng = np.random.default_rng(seed)
    stroke = wandering((110, 30), 0, 340, 3.0, rng, bend_deg=15, wave_px=80)
    phantom = wall([stroke], rng)
    broken = gap_in(phantom.mask)
    other = np.where(phantom.mask & ~broken, 255, 0).astype(np.uint8)
    probability = np.where(broken, 255, 5).astype(np.uint8)
    (crack,) = cracks_of(broken, phantom.picture, probability=probability, other=other)
    assert "joined" in crack.flags


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 5000.0])
def test_a_reach_that_means_nothing_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="join_px"):
        MeasureOptions(join_px=value)
