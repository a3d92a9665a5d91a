"""What ``corrections.json`` may hold, and the sentence for everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from walls import AT, BY, edit

from crackseg.corrections.edits import (
    KINDS,
    parse_corrections,
    parse_edits,
    to_file,
    to_plain,
)
from crackseg.errors import DataError

PLACES: dict[str, Any] = {
    "line": [[1, 2], [3.5, 4]],
    "area": [[1, 2], [3, 4], [5, 0]],
    "point": [7, 8.5],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read_and_written_again(kind: str) -> None:
    shape = KINDS[kind][0]
    places = {shape: PLACES[shape]} | ({"point": PLACES["point"]} if kind == "redraw" else {})
    (read,) = parse_edits([edit(1, kind, **places)], "here")
    assert (read.id, read.kind, read.by, read.at, read.snap) == ("1", kind, BY, AT, True)
    assert parse_edits([to_plain(read)], "here")[0].places.tolist() == read.places.tolist()
    whole = to_file((read,), "0" * 64)
    assert to_file(parse_corrections(whole, "0" * 64, "here"), "0" * 64) == whole


def test_a_time_is_kept_in_utc() -> None:
    values = edit(1, "split", point=[1, 2]) | {"at": "2026-05-04T11:30:00+02:00"}
    assert parse_edits([values], "here")[0].at == AT


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "drwa"}, "`kind` must be one of draw, .*, got 'drwa'"),
        ({"line": [[1, 2]]}, "`line` must be a list of 2 or more"),
        ({"line": [[1, 2], [3, float("nan")]]}, "`line` must be"),
        ({"line": [[1, 2], [3, True]]}, "`line` must be"),
        ({"line": [[1, 2], [3, 1e7]]}, "`line` must be"),
        ({"line": "1 2 3 4"}, "`line` must be"),
        ({"by": " "}, "`by` must be a text"),
        ({"by": "x" * 300}, "`by` must be a text"),
        ({"at": "yesterday"}, "`at` must be a time with its zone"),
        ({"at": "2026-05-04T09:30:00"}, "`at` must be a time with its zone"),
        ({"id": 3}, "`id` must be a text"),
        ({"snap": "no"}, "`snap` must be true or false"),
        ({"colour": "red"}, "unknown key `colour`"),
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, Any], why: str) -> None:
    values = edit(1, "draw", line=PLACES["line"]) | change
    with pytest.raises(DataError, match=f"`here`, edit 1: {why}"):
        parse_edits([values], "here")


def test_two_edits_of_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="two edits with the `id` '1'"):
        parse_edits([edit(1, "split", point=[1, 2]), edit(1, "joint", point=[1, 2])], "here")


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"edits": []},
        {"schema_version": "2", "image_sha256": "0" * 64, "edits": []},
        {"schema_version": "1", "image_sha256": "1" * 64, "edits": []},
        {"schema_version": "1", "image_sha256": "0" * 64, "edits": {}},
        {"schema_version": "1", "image_sha256": "0" * 64, "edits": [7]},
    ],
)
def test_a_file_of_another_kind_is_refused(values: Any) -> None:
    with pytest.raises(DataError, match="`here`"):
        parse_corrections(values, "0" * 64, "here")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["id", "kind", "line", "by", "at", "x"]), JSON))
def test_no_value_breaks_the_reader(values: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        parse_edits([{"kind": "draw", **values, "id": 1}], "here")
