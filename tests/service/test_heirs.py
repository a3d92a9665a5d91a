"""Verdicts go with the cracks that edits change, to their pieces and back; the history says so."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from service_process import finished
from test_corrections import SEEN, analyzed, rough

MIDDLE = SEEN.points[140].round(1).tolist()
SPLIT = {"kind": "split", "point": MIDDLE}
DRAW = {"kind": "draw", "line": rough()}


def correct(client: Any, image: str, edit: dict[str, Any]) -> dict[str, Any]:
    """Do an edit and return the answer."""
    answer = client.post(f"{image}/corrections", json=edit)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def undo(client: Any, image: str) -> None:
    """Undo the last edit."""
    last = client.get(f"{image}/corrections").json()["edits"][-1]["id"]
    assert client.delete(f"{image}/corrections/{last}").status_code == 200


def say(client: Any, image: str, crack: int, verdict: str, note: str = "") -> None:
    """Give a verdict."""
    body = {"verdict": verdict, "note": note}
    assert client.put(f"{image}/cracks/{crack}/verdict", json=body).status_code == 200


def verdicts(client: Any, image: str) -> dict[int, tuple[str, str]]:
    """Return verdict and note of each crack that has one."""
    listed = client.get(f"{image.partition('/images')[0]}/verdicts").json()["verdicts"]
    return {v["crack"]: (v["verdict"], v["note"]) for v in listed}


def figures(client: Any, image: str) -> tuple[int, int]:
    """Return how many cracks count, and how many are rejected."""
    summary = client.get(image).json()["summary"]
    return summary["cracks"], summary["rejected"]


def history(client: Any, image: str) -> list[dict[str, str]]:
    """Return the rows of the history, the first first."""
    text = client.get(f"{image.partition('/images')[0]}/changes.csv").content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))[::-1]


def length_mm(client: Any, image: str) -> float:
    return float(client.get(image).json()["summary"]["length_mm"])


def test_undo_hides_a_verdict_and_redo_brings_it_back(client: Any) -> None:
    image = analyzed(client)
    correct(client, image, DRAW)
    say(client, image, 2, "reject", "my long remark")
    undo(client, image)
    assert verdicts(client, image) == {}
    correct(client, image, SPLIT)  # gives the number 2 to another piece
    assert verdicts(client, image) == {}
    undo(client, image)
    correct(client, image, DRAW)
    assert verdicts(client, image) == {2: ("reject", "my long remark")}
    assert figures(client, image) == (1, 1)
    rows = [(row["kind"], row["crack"], row["change"]) for row in history(client, image)]
    at = "“row {:.0f}, column {:.0f}”".format(*rough()[0])
    assert rows[0] == (
        "correction",
        "2",
        f"correction – → “draw”; cracks – → “2”; place – → {at}",
    )
    assert rows[2] == (
        "correction",
        "2",
        f"correction “draw” → –; cracks “2” → –; place {at} → –",
    )
    assert rows[3] == (
        "verdict", "2", "verdict “reject” → –; note “my long remark” → – (draw undone)"
    )  # fmt: skip
    assert rows[-1] == (
        "verdict", "2", "verdict “open” → “reject”; note – → “my long remark” (draw)"
    )  # fmt: skip


def test_a_later_word_on_the_whole_crack_stands_when_its_cut_is_done_again(client: Any) -> None:
    image = analyzed(client)
    correct(client, image, SPLIT)
    say(client, image, 2, "reject")
    undo(client, image)
    assert verdicts(client, image) == {}
    say(client, image, 1, "accept", "seen on site")
    correct(client, image, SPLIT)
    assert verdicts(client, image) == dict.fromkeys((1, 2), ("accept", "seen on site"))


@pytest.mark.parametrize("word", ["reject", "accept", "open"])
@pytest.mark.parametrize("kind", ["split", "erase"])
def test_the_pieces_of_a_crack_take_its_verdict_over(client: Any, word: str, kind: str) -> None:
    image = analyzed(client)
    say(client, image, 1, word, "A: cable")
    before, length = figures(client, image), length_mm(client, image)
    row, col = MIDDLE
    box = [[row + r, col + c] for r, c in ((-20, -6), (-20, 6), (20, 6), (20, -6))]
    edit = SPLIT if kind == "split" else {"kind": "erase", "area": box}
    assert correct(client, image, edit)["cracks"] == 2
    assert verdicts(client, image) == {1: (word, "A: cable"), 2: (word, "A: cable")}
    assert length_mm(client, image) <= length + 1.0
    assert figures(client, image) == ((0, 2) if word == "reject" else (2, 0))
    (row_2,) = (r for r in history(client, image) if (r["kind"], r["crack"]) == ("verdict", "2"))
    assert f"({kind})" in row_2["change"]
    undo(client, image)
    assert verdicts(client, image) == {1: (word, "A: cable")}
    assert figures(client, image) == before


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("first", "second"), [("accept", "reject"), ("reject", "open")])
def test_cracks_of_unlike_verdicts_that_are_joined_are_undecided(
    client: Any, first: str, second: str, backwards: bool
) -> None:
    image = analyzed(client)
    correct(client, image, SPLIT)
    say(client, image, 1, first, "deep")
    if second != "open":
        say(client, image, 2, second, "cable")
    ends = [SEEN.points[k].round(1).tolist() for k in (132, 148)]
    line = ends[::-1] if backwards else ends
    answer = correct(client, image, {"kind": "join", "line": line})
    words = {"accept": "accepted", "reject": "rejected", "open": "undecided"}
    were = f"crack 1 was {words[first]}, crack 2 was {words[second]}"
    assert answer["notice"] == f"Crack 1 is undecided, judge it: before, {were}."
    (stored,) = verdicts(client, image).items()
    assert (stored[0], stored[1][0]) == (1, "open")
    assert "(deep)" in stored[1][1]
    assert figures(client, image) == (1, 0)
    undo(client, image)
    assert {n: word for n, (word, _) in verdicts(client, image).items() if word != "open"} == {
        n: word for n, word in ((1, first), (2, second)) if word != "open"
    }


def test_all_edits_undone_and_done_again_bring_all_verdicts_back(client: Any) -> None:
    image = analyzed(client)
    say(client, image, 1, "reject", "badly followed")
    over = {"kind": "draw", "line": [SEEN.points[k].round(1).tolist() for k in (0, 140, -1)]}
    correct(client, image, over)  # crack 2, undecided
    correct(client, image, SPLIT)
    say(client, image, 2, "accept", "deep")
    say(client, image, 3, "reject")
    correct(client, image, DRAW)
    say(client, image, 4, "accept")
    stored = verdicts(client, image)
    for _ in range(3):
        undo(client, image)
    assert verdicts(client, image) == {1: ("reject", "badly followed")}
    for edit in (over, SPLIT, DRAW):
        correct(client, image, edit)
    assert verdicts(client, image) == stored
    assert stored == {2: ("accept", "deep"), 3: ("reject", ""), 4: ("accept", "")}


def test_cracks_of_one_verdict_that_are_joined_have_it(client: Any) -> None:
    image = analyzed(client)
    correct(client, image, SPLIT)
    for crack, note in ((1, "deep"), (2, "wet")):
        say(client, image, crack, "accept", note)
    ends = [SEEN.points[k].round(1).tolist() for k in (132, 148)]
    assert correct(client, image, {"kind": "join", "line": ends})["notice"] == ""
    assert verdicts(client, image) == {1: ("accept", "deep; wet")}


def test_a_crack_that_comes_back_on_the_list_has_its_verdict_again(client: Any) -> None:
    image = analyzed(client)
    say(client, image, 1, "accept", "deep")
    correct(client, image, {"kind": "joint", "point": MIDDLE})
    assert verdicts(client, image) == {}
    correct(client, image, {"kind": "crack", "point": MIDDLE})
    assert verdicts(client, image) == {1: ("accept", "deep")}
    undo(client, image)
    undo(client, image)
    assert verdicts(client, image) == {1: ("accept", "deep")}


def test_the_history_says_which_verdicts_came_to_another_analysis(client: Any) -> None:
    image = analyzed(client)
    survey = client.get(image.partition("/images")[0]).json()["survey"]
    correct(client, image, DRAW)
    say(client, image, 1, "reject", "cable")
    for options in ({"mm_per_px": 0.25}, {"mm_per_px": 0.25, "min_length_px": 1000}):
        before = len(history(client, image))
        again = client.post(f"/v1/surveys/{survey}/execution", json=options)
        finished(client, again.headers["location"])
        fresh = history(client, image)[before:]
        rows = [(r["kind"], r["crack"], r["change"], r["job"]) for r in fresh]
        new_job = again.headers["location"].rpartition("/")[2]
        gone = "min_length_px" in options
        number, way = ("", "verdict “reject” → –; note “cable” → –") if gone else (
            "1", "verdict “open” → “reject”; note – → “cable”")  # fmt: skip
        why = ("of crack 1 of the analysis before: none lies like it in this one" if gone
               else "carried from crack 1 of an earlier analysis")  # fmt: skip
        assert rows == [("verdict", number, f"{way} ({why})", new_job)]


def test_an_edit_that_is_sent_again_with_its_key_is_done_once(client: Any) -> None:
    image = analyzed(client)

    def send(edit: dict[str, Any], key: str) -> Any:
        return client.post(f"{image}/corrections", json=edit, headers={"Idempotency-Key": key})

    key = f"draw {image}"
    answers = [send(DRAW, key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["cracks"] == 2
    assert send(SPLIT, key).status_code == 422  # the key means something else
    rows = [row for row in history(client, image) if row["kind"] == "correction"]
    assert len(rows) == 1
    refused = {"kind": "split", "point": [1, 1]}
    assert [send(refused, f"none {image}").status_code for _ in range(2)] == [422, 422]
    undo(client, image)
    undone = "The edit was done, and somebody has undone it since."
    assert send(DRAW, key).json() == {"edits": [], "cracks": 1, "notice": undone}
    assert send(DRAW, f"other {image}").json()["cracks"] == 2


def test_a_line_over_a_listed_crack_counts_once(client: Any) -> None:
    image = analyzed(client)
    say(client, image, 1, "reject", "badly followed")
    over = {"kind": "draw", "line": [SEEN.points[k].round(1).tolist() for k in (0, 140, -1)]}
    answer = correct(client, image, over)
    assert answer["cracks"] == 1
    assert "judge it: before, crack 1 was rejected." in answer["notice"]
    assert figures(client, image) == (1, 0)
    part = {"kind": "draw", "line": [SEEN.points[k].round(1).tolist() for k in (30, 200)]}
    refused = client.post(f"{image}/corrections", json=part)
    assert refused.status_code == 422
    assert "lies on crack 2 of the list for 100% of its length" in refused.json()["detail"]
    undo(client, image)
    assert verdicts(client, image) == {1: ("reject", "badly followed")}
