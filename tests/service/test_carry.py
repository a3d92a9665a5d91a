"""Which crack of a new analysis takes over which verdict."""

from __future__ import annotations

from typing import Any

import pytest

from service.carry import latest_words, left_over, matches
from service.offers import Offer, all_edits

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


def row_of(verdict: str, at: int) -> dict[str, Any]:
    """Return a verdict row with its time."""
    return {"verdict": verdict, "note": "", "updated_at": f"2026-05-{at:02}T10:00:00.000Z"}


WHOLE, PART = [crack(4, across(10, 0, 200))], [crack(9, across(10, 0, 80))]


@pytest.mark.parametrize(
    ("analyses", "taken"),
    [
        ([(WHOLE, {4: row_of("reject", 1)}), ([], {})], "reject"),  # not listed in between
        ([(WHOLE, {4: row_of("reject", 1)}), (OLD[1:], {2: row_of("accept", 2)})], "reject"),
        ([(WHOLE, {4: row_of("reject", 1)}), (WHOLE, {4: row_of("open", 2)})], "open"),
        ([(WHOLE, {4: row_of("reject", 3)}), (WHOLE, {4: row_of("accept", 2)})], "reject"),
        # who accepted a part later did not mean that the whole is none
        ([(WHOLE, {4: row_of("reject", 1)}), (PART, {9: row_of("accept", 2)})], None),
        ([(WHOLE, {4: row_of("accept", 1)}), (PART, {9: row_of("reject", 2)})], None),
        ([(PART, {9: row_of("accept", 1)}), (WHOLE, {4: row_of("reject", 2)})], "reject"),
    ],
)
def test_the_latest_word_of_all_analyses_counts(analyses: Any, taken: str | None) -> None:
    words = latest_words(analyses, [crack(1, across(10, 0, 200))])
    assert [row["verdict"] for row in words.values()] == ([taken] if taken else [])


def test_a_verdict_that_a_later_one_contradicts_is_named_with_the_reason() -> None:
    rows = [{**row_of("reject", 1), "by": "a", "crack_id": 4},
            {**row_of("accept", 2), "by": "b", "crack_id": 9}]  # fmt: skip
    new = [crack(1, across(10, 0, 200))]
    analyses = [(WHOLE, {4: rows[0]}), (PART, {9: rows[1]})]
    pairs = latest_words(analyses, new)
    assert pairs == {}
    assert left_over(rows, analyses, new, pairs) == [
        (rows[0], "something else was said later of a part of it"),
        (rows[1], "none lies like it in this one"),
    ]
    analyses.pop()
    assert left_over(rows[:1], analyses, new, latest_words(analyses, new)) == []


def edits(*ids: str) -> list[dict[str, Any]]:
    """Return edits by their ids."""
    return [{"id": name} for name in ids]


@pytest.mark.parametrize(
    ("analyses", "next_ones"),
    [
        ([(edits("a", "b"), None)], "ab"),
        # b was left out in between and keeps its place
        ([(edits("a", "b", "c"), None), (edits("a", "c"), Offer(edits=edits("a", "b", "c"),
          left_out=["b"]))], "abc"),
        # b was undone there
        ([(edits("a", "b"), None), (edits("a"), Offer(edits=edits("a", "b"), left_out=[]))], "a"),
        # c was made on the earlier one while the later one ran, d on the later one
        ([(edits("a", "c"), None), (edits("a", "d"), Offer(edits=edits("a"), left_out=[]))], "acd"),
        # an earlier release kept no offer: what is gone there was undone
        ([(edits("a", "b"), None), (edits("a"), None)], "a"),
        # left out twice
        ([(edits("a"), None), ([], Offer(edits=edits("a"), left_out=["a"])),
          ([], Offer(edits=edits("a"), left_out=["a"]))], "a"),
    ],
)  # fmt: skip
def test_an_edit_that_was_left_out_is_tried_again(analyses: Any, next_ones: str) -> None:
    assert [edit["id"] for edit in all_edits(analyses)] == list(next_ones)
