"""Two inspectors work on one photograph at once: neither loses what he did without a word."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from browser import MISSING, complaints, find, open_browser, shown
from service_process import Service, finished, running, wait_for
from test_browser_corrections import click_places, edits, open_page, press, view
from test_corrections import MISSED, SEEN, analyzed, keyed, rough

from service.database import open_database
from service.keys import add
from service.settings import Settings

in_a_browser = pytest.mark.skipif(bool(MISSING), reason=MISSING)
Team = tuple[Service, list[str]]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Team]:
    """A service and the keys of two inspectors of one team."""
    folder = tmp_path_factory.mktemp("two")
    engine = open_database(Settings(data=folder / "data"))
    keys = [add(engine, "north", name, ("read", "write")) for name in ("A. Meier", "B. Huber")]
    engine.dispose()
    with running(folder, model_folder) as started:
        yield started, keys


@pytest.fixture
def two(team: Team) -> list[Any]:
    """Clients of the two."""
    service, keys = team
    return [keyed(service, key) for key in keys]


class Huber:
    """The second inspector at a page in a browser."""

    def __init__(self, browser: Any, team: Team) -> None:
        self.browser, self.service = browser, team[0]
        browser.get(f"{self.service.url}/login")
        find(browser, "input[name=key]").send_keys(team[1][1])
        find(browser, "button.main").click()
        find(browser, "#surveys, main")
        complaints(browser)  # of the page for the key

    def open(self, client: Any, image: str) -> None:
        open_page(self.browser, self.service, image, client)

    def choose(self, crack: int) -> None:
        find(self.browser, f"#cracks tr[data-id='{crack}']").click()

    def says(self, text: str) -> None:
        wait_for(lambda: text in find(self.browser, "#say").text, why=text)

    @property
    def fields(self) -> tuple[str, str]:
        """Return the word and the note that the page shows of the chosen crack."""
        checked = shown(self.browser, "#judge input:checked")
        word = checked[0].get_attribute("value") if checked else ""
        return word, find(self.browser, "#note").get_property("value")


@pytest.fixture
def huber(team: Team, tmp_path: Path) -> Iterator[Huber]:
    """The second inspector, logged in."""
    with open_browser(tmp_path) as browser:
        yield Huber(browser, team)


def verdicts_of(client: Any, image: str) -> dict[int, tuple[str, str, str]]:
    """Return word, note and inspector of each judged crack."""
    listed = client.get(f"{image.partition('/images')[0]}/verdicts").json()["verdicts"]
    return {v["crack"]: (v["verdict"], v["note"], v["by_name"]) for v in listed}


def put(client: Any, image: str, crack: int, verdict: str, note: str = "") -> None:
    answer = client.put(f"{image}/cracks/{crack}/verdict", json={"verdict": verdict, "note": note})
    assert answer.status_code == 200, answer.text


def cut(client: Any, image: str) -> list[Any]:
    """Make two of the one crack and return the edits."""
    split = {"kind": "split", "point": SEEN.points[140].round(1).tolist()}
    answer = client.post(f"{image}/corrections", json=split)
    assert answer.json()["cracks"] == 2
    return list(answer.json()["edits"])


def test_a_verdict_is_not_replaced_unseen(two: list[Any]) -> None:
    meier, huber = two
    verdict = f"{analyzed(meier)}/cracks/1/verdict"
    first = meier.put(verdict, json={"verdict": "accept", "note": "wet", "seen_at": ""})
    assert first.status_code == 200
    # Huber's page was opened before.
    late = huber.put(verdict, json={"verdict": "reject", "seen_at": ""})
    assert late.status_code == 409
    assert late.json()["detail"] == (
        "A. Meier has said meanwhile: accepted (wet). Say it again to replace it."
    )
    same = huber.put(verdict, json={"verdict": "accept", "note": "wet", "seen_at": ""})
    assert same.status_code == 200
    time = same.json()["updated_at"]
    assert huber.put(verdict, json={"verdict": "reject", "seen_at": time}).status_code == 200
    # Who speaks twice from one page replaces his own word; a program need not say what it saw.
    assert huber.put(verdict, json={"verdict": "open", "seen_at": time}).status_code == 200
    assert meier.put(verdict, json={"verdict": "accept"}).status_code == 200


def test_a_verdict_is_not_kept_for_a_crack_that_nobody_looked_at(two: list[Any]) -> None:
    meier, huber = two
    image = analyzed(meier)

    def edits_of(crack: int) -> list[str]:
        listed = meier.get(f"{image}/report.json").json()["cracks"]
        return next(list(one.get("edits") or ()) for one in listed if one["id"] == crack)

    def reject(crack: int, seen_edits: list[str]) -> Any:
        body = {"verdict": "reject", "seen_at": "", "seen_edits": seen_edits}
        return huber.put(f"{image}/cracks/{crack}/verdict", json=body)

    drawn = meier.post(f"{image}/corrections", json={"kind": "draw", "line": rough()}).json()
    looked_at = edits_of(2)
    assert looked_at == [drawn["edits"][-1]["id"]]
    # Meier takes it back and cuts the other crack: its piece gets the number.
    meier.delete(f"{image}/corrections/{looked_at[0]}")
    cut(meier, image)
    late = reject(2, looked_at)
    assert (late.status_code, late.json()["type"]) == (409, "urn:crackseg:problem:crack-changed")
    assert late.json()["detail"] == (
        "An edit has changed crack 2 since you looked at it. Look at it as it is now, then say it "
        "again."
    )
    whole = reject(1, [])  # was looked at before it was cut
    assert whole.status_code == 409
    assert verdicts_of(meier, image) == {}
    assert reject(1, edits_of(1)).status_code == 200
    assert reject(2, edits_of(2)).status_code == 200


def test_what_a_newer_analysis_does_not_have_is_named(two: list[Any]) -> None:
    meier = two[0]
    image = analyzed(meier)
    word = {"verdict": "reject", "note": "late"}
    assert meier.put(f"{image}/cracks/1/verdict", json=word).json()["notice"] == ""
    survey = meier.get(image.partition("/images")[0]).json()["survey"]
    again = meier.post(f"/v1/surveys/{survey}/execution", json={"mm_per_px": 0.25})
    finished(meier, again.headers["location"])
    sentence = (
        "A newer analysis of this photograph does not have it: say it there too, or analyze the "
        "survey again."
    )
    word["note"] = "later"
    assert meier.put(f"{image}/cracks/1/verdict", json=word).json()["notice"] == sentence
    split = {"kind": "split", "point": SEEN.points[140].round(1).tolist()}
    assert meier.post(f"{image}/corrections", json=split).json()["notice"] == sentence


def test_an_edit_that_was_undone_meanwhile_is_named_so(two: list[Any]) -> None:
    meier, huber = two
    image = analyzed(meier)
    key = {"Idempotency-Key": "once"}
    draw = {"kind": "draw", "line": rough()}
    made = meier.post(f"{image}/corrections", json=draw, headers=key).json()
    huber.delete(f"{image}/corrections/{made['edits'][-1]['id']}")
    again = meier.post(f"{image}/corrections", json=draw, headers=key).json()
    assert again["edits"] == []
    assert again["notice"] == "The edit was done, and somebody has undone it since."


@in_a_browser
def test_a_stale_page_shows_the_crack_as_it_is_before_it_is_judged(
    two: list[Any], huber: Huber
) -> None:
    meier = two[0]
    image = analyzed(meier)
    huber.open(meier, image)
    huber.choose(1)
    cut(meier, image)
    press(huber.browser, "r")
    huber.says("Not saved: An edit has changed crack 1 since you looked at it.")
    assert len(shown(huber.browser, "#cracks tr[data-id]")) == 2
    assert edits(huber.browser) == 1
    assert verdicts_of(meier, image) == {}
    press(huber.browser, "r")
    huber.says("saved")
    assert verdicts_of(meier, image) == {1: ("reject", "", "B. Huber")}


def test_edits_at_the_same_moment_are_all_kept(two: list[Any]) -> None:
    image = analyzed(two[0])
    split = {"kind": "split", "point": SEEN.points[140].round(1).tolist()}
    draw = {"kind": "draw", "line": rough()}
    with ThreadPoolExecutor(4) as pool:
        sent = [
            pool.submit(who.post, f"{image}/corrections", json=edit)
            for who, edit in zip(two * 2, (draw, split, draw, draw), strict=True)
        ]
        assert [one.result().status_code for one in sent] == [201] * 4
    edits = two[0].get(f"{image}/corrections").json()["edits"]
    assert sorted((e["kind"], e["by"]) for e in edits) == [
        ("draw", "A. Meier"), ("draw", "A. Meier"), ("draw", "B. Huber"), ("split", "B. Huber")
    ]  # fmt: skip
    changes = two[0].get(f"{image.partition('/images')[0]}/changes.csv").text
    assert changes.count("correction") >= 4
    stale = two[1].delete(f"{image}/corrections/{edits[-2]['id']}")
    assert stale.status_code == 409
    assert two[0].get(f"{image}/corrections").json()["edits"] == edits


@in_a_browser
def test_a_page_sends_no_word_that_nobody_gave(two: list[Any], huber: Huber) -> None:
    meier = two[0]
    image = analyzed(meier)
    huber.open(meier, image)
    whole = view(huber.browser)
    huber.choose(1)  # the picture goes there
    put(meier, image, 1, "reject", "A: cable")
    press(huber.browser, "0")
    wait_for(lambda: view(huber.browser) == whole, why="all is shown again")
    find(huber.browser, "[data-tool=draw]").click()
    click_places(huber.browser, MISSED.points[[0, 150, 300]])
    find(huber.browser, "#done").click()
    wait_for(lambda: edits(huber.browser) == 1, why="drawn")
    huber.choose(1)  # leaves the drawn one, which was chosen
    assert huber.fields == ("reject", "A: cable")
    huber.choose(2)
    press(huber.browser, "r")
    huber.says("saved")
    stored = verdicts_of(meier, image)
    assert stored == {1: ("reject", "A: cable", "A. Meier"), 2: ("reject", "", "B. Huber")}
    assert complaints(huber.browser) == []


@in_a_browser
def test_a_refused_word_is_sent_again_only_when_it_is_said_again(
    two: list[Any], huber: Huber
) -> None:
    meier = two[0]
    image = analyzed(meier)
    cut(meier, image)
    huber.open(meier, image)
    huber.choose(1)
    put(meier, image, 1, "reject", "formwork")
    press(huber.browser, "a")
    huber.says("Not saved: A. Meier has said meanwhile: rejected (formwork).")
    assert huber.fields == ("reject", "formwork")
    huber.choose(2)
    put(meier, image, 2, "accept", "wet")
    find(huber.browser, "#note").send_keys("dry\nsince May")
    huber.says("Not saved: A. Meier has said meanwhile: accepted (wet).")
    assert "still in the field" in find(huber.browser, "#say").text
    assert huber.fields == ("accept", "dry\nsince May")
    huber.choose(1)
    assert huber.fields == ("reject", "formwork")
    huber.choose(2)
    assert huber.fields == ("accept", "dry\nsince May")
    assert verdicts_of(meier, image) == {
        1: ("reject", "formwork", "A. Meier"), 2: ("accept", "wet", "A. Meier")
    }  # fmt: skip
    press(huber.browser, "r")
    huber.says("saved")
    assert verdicts_of(meier, image)[2] == ("reject", "dry\nsince May", "B. Huber")


@in_a_browser
def test_one_refused_verdict_does_not_hold_up_the_others(two: list[Any], huber: Huber) -> None:
    meier = two[0]
    image = analyzed(meier)
    made = cut(meier, image)
    huber.open(meier, image)
    huber.choose(1)
    too_long = "document.getElementById('note').value = 'x'.repeat(2001)"
    huber.browser.execute_script(too_long)
    press(huber.browser, "r")
    huber.says("Not saved for crack 1:")
    huber.choose(2)
    press(huber.browser, "a")
    huber.says("saved")
    assert list(verdicts_of(meier, image)) == [2]
    assert "not saved" in find(huber.browser, "#cracks tr[data-id='1'] .said").text
    find(huber.browser, "#cracks tr[data-id='1']").click()
    assert "Not saved for crack 1" in find(huber.browser, "#say").text
    huber.browser.execute_script("document.getElementById('note').value = 'short'")
    find(huber.browser, "#judge button.main").click()
    huber.says("saved")
    assert verdicts_of(meier, image)[1] == ("reject", "short", "B. Huber")
    assert meier.delete(f"{image}/corrections/{made[-1]['id']}").status_code == 200
    huber.choose(2)
    press(huber.browser, "r")
    gone = "Not saved for crack 2: The image has no crack of this number."
    wait_for(lambda: find(huber.browser, "#correctsay").text == gone, why=gone)
    assert len(shown(huber.browser, "#cracks tr[data-id]")) == 1  # as it is now
    huber.choose(1)
    press(huber.browser, "a")
    huber.says("saved")


@in_a_browser
def test_the_page_of_an_earlier_analysis_leads_to_the_latest(two: list[Any], huber: Huber) -> None:
    meier = two[0]
    image = analyzed(meier)
    huber.open(meier, image)
    assert not shown(huber.browser, "#newer")
    job = image.partition("/images")[0]
    survey = meier.get(job).json()["survey"]
    again = meier.post(f"/v1/surveys/{survey}/execution", json={"mm_per_px": 0.25})
    finished(meier, again.headers["location"])
    huber.choose(1)
    press(huber.browser, "a")  # on the page that was open before
    huber.says("saved")
    assert verdicts_of(meier, image)[1] == ("accept", "", "B. Huber")
    assert "does not reach the latest" in find(huber.browser, "#newer").text
    find(huber.browser, "#newer a").click()
    wait_for(lambda: find(huber.browser, "#viewer").get_attribute("data-ready"), why="drawn")
    assert not shown(huber.browser, "#newer")
    latest = again.headers["location"].rpartition("/")[2]
    assert latest in find(huber.browser, "#viewer").get_attribute("data-base")
