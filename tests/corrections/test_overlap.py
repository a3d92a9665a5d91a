"""A line that comes onto the list of cracks counts nothing that is counted already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from walls import Wall, edit, rough

from crackseg.corrections.apply import apply
from crackseg.corrections.edits import parse_edits
from crackseg.errors import DataError
from crackseg.exports.reading import read_report
from crackseg.imagery.files import open_image
from crackseg.records import Report


def corrected(wall: Wall, edits: Sequence[Any], **more: Any) -> Report:
    with open_image(wall.photo) as image:
        return apply(read_report(wall.folder), image, parse_edits(edits, "test"), **more)


def along(wall: Wall, stroke: int, start: float, end: float) -> list[Any]:
    """Return places along a stroke between two shares of its length."""
    points = wall.strokes[stroke].points
    at = np.linspace(start * (len(points) - 1), end * (len(points) - 1), 4).round().astype(int)
    return points[at].round(1).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("off_px", [0.0, 6.0])
def test_a_line_along_a_whole_crack_takes_its_place(wall: Wall, off_px: float) -> None:
    before = read_report(wall.folder)
    line = rough(wall.strokes[0], 5, np.random.default_rng(3), off_px)
    after = corrected(wall, [edit(1, "draw", line=line)])
    assert after.totals.cracks == before.totals.cracks
    assert after.totals.length_px == pytest.approx(before.totals.length_px, rel=0.03)
    assert after.corrections is not None
    (old,) = after.corrections.replaced
    assert old.crack.id not in {crack.id for crack in after.cracks}


def test_a_line_takes_the_place_of_all_the_pieces_that_it_joins(wall: Wall) -> None:
    before = read_report(wall.folder)
    (row, col), (row_2, col_2) = along(wall, 0, 0.4, 0.7)[::3]
    gap = [[row - 20, col], [row_2 - 20, col_2], [row_2 + 20, col_2], [row + 20, col]]
    pieces = [edit(1, "erase", area=gap)]
    assert corrected(wall, pieces).totals.cracks == before.totals.cracks + 1
    after = corrected(wall, [*pieces, edit(2, "draw", line=along(wall, 0, 0, 1))])
    assert after.totals.cracks == before.totals.cracks
    assert after.totals.length_px == pytest.approx(before.totals.length_px, rel=0.03)


@pytest.mark.parametrize("part", [(0.1, 0.5), (0.3, 0.9)])
def test_a_line_on_a_part_of_a_crack_is_refused(wall: Wall, part: tuple[float, float]) -> None:
    draw = edit(1, "draw", line=along(wall, 0, *part))
    with pytest.raises(DataError, match=r"lies on crack \d of the list for \d+% of its length"):
        corrected(wall, [draw])
    # A list of an earlier release is done as it is; on another analysis the line is left out.
    assert corrected(wall, [draw], done_before=1).totals.cracks == 3
    left = corrected(wall, [draw], skip=True)
    assert left.notices[-1].code == "corrections_left_out"
    assert left.totals.cracks == 2


def test_what_is_missing_of_a_crack_may_be_drawn_from_its_end(wall: Wall) -> None:
    (row, col), (row_2, col_2) = along(wall, 0, 0.4, 1)[::3]
    rest = [[row - 40, col], [row_2 - 40, col_2 + 9], [row_2 + 40, col_2 + 9], [row + 40, col]]
    line = along(wall, 0, 0.3, 1)  # begins on what is left of it
    after = corrected(wall, [edit(1, "erase", area=rest), edit(2, "draw", line=line)])
    assert after.totals.cracks == 3


def test_a_line_that_crosses_a_crack_stands_beside_it(wall: Wall) -> None:
    row, col = wall.strokes[0].points[150]
    line = [[row - 60, col - 5], [row, col], [row + 60, col + 5]]
    after = corrected(wall, [edit(1, "draw", line=line, snap=False)])
    assert after.totals.cracks == 3
    row, col = along(wall, 0, 0.5, 1)[0]
    ends = [[[row - 40, col + a], [row - 40, col + b], [row + 40, col + b], [row + 40, col + a]]
            for a, b in ((-400, -7), (7, 400))]  # fmt: skip
    short = [edit(k, "erase", area=area) for k, area in enumerate(ends)]
    assert corrected(wall, short).totals.cracks == 2  # a piece of 14 px
    crossing = [[row - 60, col], [row + 60, col]]
    after = corrected(wall, [*short, edit(9, "draw", line=crossing, snap=False)])
    assert after.totals.cracks == 3


def test_a_line_that_is_moved_onto_a_crack_or_called_one_again_counts_once(wall: Wall) -> None:
    missed = rough(wall.strokes[2], 4, np.random.default_rng(2))
    point = wall.strokes[2].points[150].tolist()
    drawn = edit(1, "draw", line=missed)
    moved = edit(2, "redraw", point=point, line=along(wall, 0, 0, 1))
    assert corrected(wall, [drawn, moved]).totals.cracks == 2
    joint = edit(2, "joint", point=point)
    again = [drawn, joint, edit(3, "draw", line=missed), edit(4, "crack", point=point)]
    with pytest.raises(DataError, match=r"edit 4 \(crack\): the line lies on crack"):
        corrected(wall, again)
    assert len(corrected(wall, again, skip=True).joints) == 1  # where it was
