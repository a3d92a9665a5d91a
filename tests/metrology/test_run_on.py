"""A crack that goes on as a line that was taken for none says so."""

from typing import Any

import numpy as np
import pytest

from crackseg.metrology.phantoms import Look, Stroke, draw
from crackseg.metrology.run_on import flag_run_on
from crackseg.records import Crack

SHAPE = (200, 400)


def line(cracks_of: Any, *points: tuple[float, float]) -> Crack:
    """Return what is measured of a straight mask of 5 px between points."""
    stroke = Stroke(points=np.array(points, float), width_px=np.full(len(points), 5.0))
    mask = draw(SHAPE, [stroke], Look(noise=0, blur_px=0), np.random.default_rng(0)).mask
    (crack,) = cracks_of(mask)
    return crack


@pytest.mark.parametrize(
    ("other", "runs_on"),
    [
        (((104.0, 205.0), (120.0, 380.0)), True),  # goes on, a few degrees off
        (((120.0, 380.0), (104.0, 205.0)), True),
        (((104.0, 260.0), (104.0, 380.0)), False),  # far beyond the end
        (((20.0, 206.0), (180.0, 206.0)), False),  # a joint across
        (((106.0, 200.0), (180.0, 206.0)), False),  # turns off square
        (((130.0, 20.0), (130.0, 380.0)), False),  # a joint beside
    ],
)
def test_a_crack_runs_on_where_ends_meet_and_look_at_each_other(
    cracks_of: Any, other: tuple[tuple[float, float], ...], runs_on: bool
) -> None:
    crack = line(cracks_of, (100.0, 20.0), (102.0, 196.0))
    (flagged,) = flag_run_on([crack], [line(cracks_of, *other)])
    assert ("runs_on" in flagged.flags) == runs_on


def test_no_other_lines_change_nothing(cracks_of: Any) -> None:
    crack = line(cracks_of, (100.0, 20.0), (100.0, 196.0))
    assert flag_run_on([crack], ()) == (crack,)
