"""What comes from outside as a name stays text: no path, no header, no formula."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_surveys import make_survey
from tiny_model import picture

from service import keys
from service.database import new_id, open_database
from service.ledger import safe_stem
from service.names import clean_name, clean_text
from service.results import disposition
from service.schemas import NewVerdict
from service.settings import Settings
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


def test_notes_and_names_of_keys_turn_nothing_round(tmp_path: Path) -> None:
    engine = open_database(Settings(data=tmp_path / "data"))
    keys.add(engine, "north", "A. \u202eMeier\u202c", ("read",))
    assert [row.name for row in keys.list_keys(engine)] == ["A. Meier"]
    engine.dispose()
    note = NewVerdict(verdict="reject", note="a \u202ecable\u2069,\ntwo lines \U0001f9f1").note
    assert note == "a cable,\ntwo lines \U0001f9f1"


def test_a_slash_in_a_name_is_named(client: Any) -> None:
    """It was answered with the largest body that another address may take."""
    survey = make_survey(client, {})
    sent = picture(1) + b"\0" * 2_000_000
    answer = client.put(f"{survey}/images/a%2Fb.png", content=sent)
    assert answer.status_code == 422
    assert "must not hold a slash" in answer.json()["detail"]
