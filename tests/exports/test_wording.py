"""Figures carry the digits that their uncertainty justifies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg.exports import wording
from crackseg.records import Measure


@pytest.mark.parametrize(
    ("value", "u", "text"),
    [
        (2.413, 0.123, "2.41 ± 0.12 mm"),
        (2.413, 0.3, "2.4 ± 0.3 mm"),
        (628.2, 26.0, "628 ± 26 mm"),
        (0.1234, 0.0021, "0.123 ± 0.002 mm"),
        (5.0, None, "5.00 mm"),
        (None, None, "–"),
    ],
)
def test_quantity(value: float | None, u: float | None, text: str) -> None:
    assert wording.quantity(value, u, "mm") == text


def test_status_replaces_a_number() -> None:
    below = Measure(px=None, high_px=0.512, status="below_detection")
    assert wording.measured(below) == "below detection, < 0.52 px"
    below = Measure(px=None, high_px=0.512, high_mm=0.2, status="below_detection")
    assert wording.measured(below) == "below detection, < 0.20 mm"
    assert wording.measured(Measure(px=None, status="not_resolvable")) == "not resolvable"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.7999, "79 %"), (0.8, "80 %"), (0.29, "29 %"), (1.0, "100 %"), (None, "–")],
)
def test_a_certainty_is_never_rounded_up_to_a_limit(share: float | None, text: str) -> None:
    assert wording.certainty(share) == text


def test_an_interval_with_two_sides_shows_both() -> None:
    assert wording.measured(Measure(px=0.9, low_px=0.48, high_px=2.06)) == "0.9 px (0.5 to 2.1)"
    assert wording.measured(Measure(px=2.4, low_px=2.2, high_px=2.62)) == "2.4 ± 0.2 px"
    wide = Measure(px=2.0, mm=0.4, low_px=1.5, high_px=3.0, low_mm=0.3, high_mm=0.6)
    assert wording.measured(wide) == "0.40 mm (0.30 to 0.60)"


@pytest.mark.parametrize("value", [0.0123, 0.2, 0.999, 1.0, 4.21, 12.3, 123.4])
def test_a_bound_is_never_rounded_down(value: float) -> None:
    below = Measure(px=None, high_px=value, status="below_detection")
    text = wording.measured(below).removeprefix("below detection, < ").removesuffix(" px")
    assert value <= float(text) <= 1.1 * value + 0.05 * (value > 10)


def test_long_lengths_are_in_metres() -> None:
    assert wording.length(Measure(px=9000, mm=2250, u_px=80, u_mm=46)) == "2.25 ± 0.05 m"


@given(st.floats(1e-3, 1e6))
def test_scale_bar_is_round_and_fits(limit_mm: float) -> None:
    length = wording.round_length(limit_mm)
    assert 0.3999 * limit_mm <= length <= limit_mm * (1 + 1e-6)
    assert f"{length:e}"[0] in "125"


def test_a_sum_of_lengths_is_never_said_to_be_nothing() -> None:
    said = [wording.total_length(mm, 0) for mm in (1.16, 9.96, 86.4, 999.4, 999.6, 4270)]
    assert said == ["1.2 mm", "10 mm", "86 mm", "999 mm", "1.00 m", "4.27 m"]
    assert wording.total_length(None, 41.7) == "42 px"
