"""The crack graph: tips, junctions, loops, spurs, orientation, pattern; skan as second opinion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skan import Skeleton

from crackseg.metrology.phantoms import Look, Stroke, draw, straight, wandering
from crackseg.metrology.pixels import label_pixels, list_pixels
from crackseg.metrology.skeleton import skeletonize
from crackseg.metrology.summary import orientation_deg
from crackseg.metrology.thinning import pose_table, thin


def mask_of(strokes: list[Stroke], shape: tuple[int, int] = (220, 220)) -> np.ndarray:
    return draw(shape, strokes, Look(), np.random.default_rng(0)).mask


def ring(radius: float, width: float, centre: float = 110.0) -> Stroke:
    turn = np.linspace(0, 2 * np.pi, 400)
    points = centre + radius * np.column_stack([np.sin(turn), np.cos(turn)])
    return Stroke(points=points, width_px=np.full(400, width))


def spoke(angle: float, length: float, width: float) -> Stroke:
    direction = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    points = 110 + np.linspace(0, length, 100)[:, None] * direction
    return Stroke(points=points, width_px=np.full(100, width))


@pytest.mark.parametrize("width", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("turn", [0, 17, 45])
def test_a_fork_has_three_branches(cracks_of: Any, width: float, turn: int) -> None:
    mask = mask_of([spoke(turn + a, 80, width) for a in (0, 120, 240)])
    (crack,) = cracks_of(mask)
    assert (crack.tips, crack.junctions, crack.loops) == (3, 1, 0)
    assert len(crack.branches) == 3
    assert crack.pattern == "branching"
    assert {branch.kind for branch in crack.branches} == {"tip-junction"}
    assert crack.length.px == pytest.approx(240, rel=0.015)


@pytest.mark.parametrize("width", [1.5, 5.0])
def test_a_ring_is_one_loop(cracks_of: Any, width: float) -> None:
    (crack,) = cracks_of(mask_of([ring(60, width)]))
    assert (crack.tips, crack.junctions, crack.loops) == (0, 0, 1)
    assert [branch.kind for branch in crack.branches] == ["loop"]
    assert crack.length.px == pytest.approx(2 * np.pi * 60, rel=0.01)
    assert crack.orientation_deg is None
    assert crack.tortuosity is None


def test_a_ring_with_a_tail(cracks_of: Any) -> None:
    tail = straight((110, 190), 0, 44, 3)
    (crack,) = cracks_of(mask_of([ring(60, 3), tail], (220, 240)))
    assert (crack.tips, crack.junctions, crack.loops) == (1, 1, 1)
    assert {branch.kind for branch in crack.branches} == {"loop", "tip-junction"}


def test_a_net_is_a_map_crack(cracks_of: Any) -> None:
    lines = [straight((110, at), 90, 190, 3) for at in (40, 110, 180)]
    lines += [straight((at, 110), 0, 190, 3) for at in (40, 110, 180)]
    (crack,) = cracks_of(mask_of(lines))
    assert crack.pattern == "map"
    assert crack.loops == 4
    assert crack.tips == 12


def test_bumps_are_pruned_and_branches_are_not(cracks_of: Any) -> None:
    mask = mask_of([straight((110, 110), 0, 180, 6)])
    for col in range(40, 180, 14):
        mask[103:107, col] = True
    bumps = cracks_of(mask)[0]
    assert (len(bumps.branches), bumps.tips) == (1, 2)
    twig = mask_of([straight((110, 110), 0, 180, 6), straight((95, 110), 90, 30, 2)])
    assert cracks_of(twig)[0].tips == 3


@pytest.mark.parametrize("angle", [0, 20, 45, 89, 90, 135, 179])
def test_orientation_is_counter_clockwise_from_a_row(cracks_of: Any, angle: float) -> None:
    (crack,) = cracks_of(mask_of([straight((110, 110), angle, 150, 3)]))
    difference = (crack.orientation_deg - angle + 90) % 180 - 90
    assert abs(difference) < 0.5
    assert 0 <= crack.orientation_deg < 180


def test_directions_are_averaged_as_axes() -> None:
    paths = [straight((0, 0), angle, 100, 1).points for angle in (170, 10)]
    angle = orientation_deg(paths)
    assert angle is not None
    assert min(angle, 180 - angle) < 1e-6
    crossed = [straight((0, 0), angle, 100, 1).points for angle in (0, 90)]
    assert orientation_deg(crossed) is None


def test_tortuosity_is_length_over_distance(cracks_of: Any) -> None:
    (plain,) = cracks_of(mask_of([straight((110, 110), 30, 150, 3)]))
    assert plain.tortuosity == pytest.approx(1, abs=0.002)
    turn = np.linspace(0, np.pi, 300)
    points = np.array([150.0, 110.0]) + 70 * np.column_stack([-np.sin(turn), np.cos(turn)])
    (half,) = cracks_of(mask_of([Stroke(points=points, width_px=np.full(300, 3.0))]))
    assert half.tortuosity == pytest.approx(np.pi / 2, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_skan_finds_the_same_pixel_length(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strokes = [wandering((40 + 60 * k, 15), 10 * k, 180, 3, rng) for k in range(3)]
    mask = mask_of(strokes)
    pixels = list_pixels(mask)
    count, label = label_pixels(pixels)
    table = pose_table(pixels, label, count)
    chains = skeletonize(pixels, label, table).chains
    alive = thin(table)
    image = np.zeros(mask.shape, bool)
    image[pixels.rows[alive], pixels.cols[alive]] = True
    theirs = Skeleton(image).path_lengths().sum()
    assert chains.length.sum() == pytest.approx(theirs, rel=0.04)


def test_nodes_join_the_branches(cracks_of: Any) -> None:
    mask = mask_of([spoke(a, 80, 3) for a in (0, 100, 200, 290)])
    (crack,) = cracks_of(mask)
    ends: dict[int, list[np.ndarray]] = {}
    for branch in crack.branches:
        for side in (0, 1):
            ends.setdefault(branch.nodes[side], []).append(branch.centre_line[-side])
    assert sorted(ends) == list(range(len(ends)))
    for points in ends.values():
        assert np.ptp(np.array(points), axis=0).max() < 1e-9
