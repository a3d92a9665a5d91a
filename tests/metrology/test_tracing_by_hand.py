"""Skeletons typed by hand, and the chains that they are made of.

``#`` is a pixel. Junctions and rings are small enough to count lengths on the fingers: a straight
step is 1, a diagonal one sqrt(2), and a chain that ends in a junction reaches to its centre.
"""

from __future__ import annotations

import numpy as np
import pytest

from crackseg.metrology.pixels import list_pixels
from crackseg.metrology.skeleton import CLOSED, TIP, Chains, trace, without_short_cuts

D = 2**0.5  # a diagonal step

STRAIGHT = """
......
.####.
......
"""
STAIRS = """
#.....
.##...
...##.
.....#
"""
CORNER = """
###
..#
..#
"""
DOT = """
...
.#.
...
"""
RING = """
.##.
#..#
#..#
.##.
"""
FORK = """
#...#
.#.#.
..#..
..#..
..#..
"""
TEE = """
#####
..#..
..#..
"""
CROSS = """
..#..
..#..
#####
..#..
..#..
"""
LADDER = """
#.....#
.#...#.
..###..
.#...#.
#.....#
"""
TAILED_RING = """
..#....
.#.#...
#...###
.#.#...
..#....
"""
TWO = """
##.....
....###
"""


def traced(drawing: str) -> Chains:
    mask = np.array([[cell == "#" for cell in row] for row in drawing.split()])
    pixels = list_pixels(mask)
    points = np.column_stack([pixels.rows, pixels.cols]).astype(np.float64)
    return trace(points, without_short_cuts(pixels.table, np.arange(len(pixels))))


def summary(chains: Chains) -> list[tuple[str, float, int]]:
    """Return what each chain ends in (t, j, or a ring), its length and its pixels, in order."""
    names = {TIP: "t", CLOSED: "o"}
    kinds = ["".join(sorted(names.get(int(end), "j") for end in pair)) for pair in chains.ends]
    return sorted(zip(kinds, chains.length.tolist(), np.diff(chains.start).tolist(), strict=True))


@pytest.mark.parametrize(
    ("drawing", "junctions", "expected"),
    [
        pytest.param(STRAIGHT, [], [("tt", 3, 4)], id="straight"),
        pytest.param(STAIRS, [], [("tt", 2 + 3 * D, 6)], id="stairs"),
        # The short cut across the inside of a corner is no step.
        pytest.param(CORNER, [], [("tt", 4, 5)], id="corner"),
        pytest.param(DOT, [], [("tt", 0, 1)], id="dot"),
        pytest.param(RING, [], [("oo", 4 + 4 * D, 8)], id="ring"),
        pytest.param(FORK, [(2, 2)], [("jt", 2, 2), ("jt", 2 * D, 2), ("jt", 2 * D, 2)], id="fork"),
        pytest.param(TEE, [(0, 2)], [("jt", 2, 2)] * 3, id="tee"),
        pytest.param(CROSS, [(2, 2)], [("jt", 2, 2)] * 4, id="cross"),
        # A chain of one pixel between two junctions touches both.
        pytest.param(
            LADDER, [(2, 2), (2, 4)], [("jj", 2, 1)] + [("jt", 2 * D, 2)] * 4, id="ladder"
        ),
        pytest.param(
            TAILED_RING, [(2, 4)], [("jj", 8 * D, 7), ("jt", 2, 2)], id="ring with a tail"
        ),
        pytest.param(TWO, [], [("tt", 1, 2), ("tt", 2, 3)], id="two"),
    ],
)
def test_chains_of_a_drawing(
    drawing: str, junctions: list[tuple[int, int]], expected: list[tuple[str, float, int]]
) -> None:
    chains = traced(drawing)
    assert chains.junctions.tolist() == [list(map(float, place)) for place in junctions]
    pieces = summary(chains)
    assert [(kind, pixels) for kind, _, pixels in pieces] == [
        (kind, pixels) for kind, _, pixels in sorted(expected)
    ]
    assert [length for _, length, _ in pieces] == pytest.approx(
        [length for _, length, _ in sorted(expected)]
    )


@pytest.mark.parametrize("drawing", [STRAIGHT, STAIRS, RING, FORK, CROSS, LADDER, TAILED_RING])
def test_a_chain_runs_from_neighbour_to_neighbour(drawing: str) -> None:
    mask = np.array([[cell == "#" for cell in row] for row in drawing.split()])
    places = np.argwhere(mask)
    chains = traced(drawing)
    for first, stop in zip(chains.start[:-1], chains.start[1:], strict=True):
        path = places[chains.order[first:stop]]
        assert (np.abs(np.diff(path, axis=0)).max(axis=1, initial=0) == 1)[: len(path) - 1].all()
        assert len(np.unique(path, axis=0)) == len(path)


def test_touching_junction_pixels_are_one_junction() -> None:
    chains = traced("#..#\n.##.\n#..#")
    assert chains.junctions.tolist() == [[1.0, 1.5]]
    assert summary(chains) == [("jt", pytest.approx(np.hypot(1, 1.5)), 1)] * 4
