"""Which crack of a new analysis takes over which verdict."""

from __future__ import annotations

from typing import Any

import pytest

from service.carry import matches

Line = list[list[float]]


def crack(number: int, *lines: Line) -> dict[str, Any]:
    """Return a crack as reports hold it."""
    return {"id": number, "centre_line": list(lines)}


def across(row: float, start: float, end: float) -> Line:
    """Return a line along a row, by its two ends."""
    return [[row, start], [row + 2, end]]


def verdict_rows(**verdicts: str) -> dict[int, dict[str, Any]]:
    """Return verdict rows, by names such as c1."""
    return {int(name[1:]): {"verdict": verdict, "note": ""} for name, verdict in verdicts.items()}


OLD = [crack(1, across(10, 0, 200)), crack(2, across(100, 0, 200)), crack(3, across(104, 195, 400))]


@pytest.mark.parametrize("verdict", ["accept", "reject", "open"])
@pytest.mark.parametrize(
    ("new", "taken"),
    [
        (across(10, 0, 200), True),
        (across(12, 3, 190), True),  # read a little otherwise
        (across(10, 0, 90), True),  # a part of it
        (across(40, 0, 200), False),  # beside it
        (across(10, 150, 400), False),  # mostly new
    ],
)
def test_a_crack_at_the_same_place_takes_the_verdict(verdict: str, new: Line, taken: bool) -> None:
    pairs = matches(OLD[:1], [crack(7, new)], verdict_rows(c1=verdict))
    assert pairs == ({7: {"verdict": verdict, "note": ""}} if taken else {})


def test_a_rejection_hides_nothing_that_was_not_rejected() -> None:
    longer = [crack(1, across(10, 0, 270))]  # three quarters of it were rejected
    assert matches(OLD[:1], longer, verdict_rows(c1="reject")) == {}
    assert matches(OLD[:1], longer, verdict_rows(c1="accept"))[1]["verdict"] == "accept"
    joined = [crack(1, across(100, 0, 200), across(104, 195, 400))]
    for verdicts in (
        verdict_rows(c2="reject"),
        verdict_rows(c2="reject", c3="accept"),
        verdict_rows(c2="accept", c3="reject"),
    ):
        assert matches(OLD, joined, verdicts) == {}
    assert (
        matches(OLD, joined, verdict_rows(c2="reject", c3="reject")) == {}
    )  # each is half of it only
    assert matches(OLD, joined, verdict_rows(c2="accept"))[1]["verdict"] == "accept"


def test_numbers_may_change_and_degenerate_lines_do_no_harm() -> None:
    new = [crack(1, across(104, 195, 400)), crack(2, []), crack(3, [[100.0, 50.0]])]
    pairs = matches(OLD, new, verdict_rows(c3="reject", c2="accept"))
    assert {number: row["verdict"] for number, row in pairs.items()} == {1: "reject", 3: "accept"}
    assert matches([], new, {}) == {}
    assert matches([crack(1, [])], new, verdict_rows(c1="reject")) == {}
