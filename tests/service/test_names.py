"""What comes from outside as a name stays text: no path, no header, no formula."""

from __future__ import annotations

import time
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from service.database import new_id
from service.ledger import safe_stem
from service.names import clean_name, clean_text
from service.results import disposition
from service.verdicts import verdicts_csv

NASTY = st.text(max_size=300) | st.sampled_from(
    ["../../etc/passwd", "..\\..\\x", "C:\\x", "a\0b", "a\r\nSet-Cookie: x", "‮gpj.exe", "CON"]
)


@given(NASTY)
@settings(deadline=None)
def test_a_cleaned_name_is_one_plain_part(name: str) -> None:
    cleaned = clean_name(name)
    assert cleaned.strip(". ")
    assert not set(cleaned) & set("/\\\0\r\n\t")
    assert len(cleaned.encode()) <= 200
    assert clean_name(cleaned) == cleaned


@given(NASTY)
@settings(deadline=None)
def test_a_surveys_name_turns_nothing_round(name: str) -> None:
    cleaned = clean_text(name)
    assert cleaned
    assert not set(cleaned) & set("\u202e\u202d\u2066\u200f\0\r\n\t")
    assert clean_text(cleaned) == cleaned
    assert clean_text("North \u202eface\u202c, 5 km") == "North face, 5 km"


@given(NASTY)
@settings(deadline=None)
def test_a_header_holds_no_line_end_and_only_ascii(name: str) -> None:
    header = disposition("mask.png", clean_name(name), download=True)
    assert header.isascii()
    assert not set(header) & set("\r\n\0")


@given(st.text(max_size=20))
@settings(deadline=None)
def test_a_note_is_never_a_formula(note: str) -> None:
    row = {"image": "i", "image_name": "n", "crack": 1, "verdict": "open", "by": "b"}
    table = verdicts_csv([{**row, "by_name": "x", "note": f"={note}", "updated_at": "t"}], "job")
    assert "'=" in table


def test_ids_are_version_7_and_sort_by_time() -> None:
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first < second
    assert {uuid.UUID(first).version, uuid.UUID(second).version} == {7}
    assert len({new_id() for _ in range(1000)}) == 1000


def test_folder_names_of_a_bundle_are_plain() -> None:
    assert safe_stem("../a b?.png", 3) == "0003_a b_"
