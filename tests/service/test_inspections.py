"""The report for the client leaves the service with facts, verdicts, corrections and names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pypdf import PdfReader
from service_process import finished, running, wait_for
from test_corrections import keyed, rough, wall
from test_surveys import make_survey

from service.database import open_database
from service.keys import add
from service.settings import Settings

TOML = """dam = "Upper dam <b>&"
part = "north face"
inspected_on = 2026-05-12
reservoir_level_m = 612.4
people = ["A. Meier, inspection"]
"""


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Any]:
    """A client with the key of A. Meier."""
    folder = tmp_path_factory.mktemp("inspections")
    engine = open_database(Settings(data=folder / "data"))
    key = add(engine, "north", "A. Meier", ("read", "write"))
    engine.dispose()
    with running(folder, model_folder) as started:
        yield keyed(started, key)


@pytest.fixture
def survey(owner: Any) -> str:
    """A survey with facts, not analyzed."""
    made = make_survey(owner, {"wall.png": wall()}, name="Wall, spring")
    assert owner.put(f"{made}/facts", json={"toml": TOML}).status_code == 200
    return made


def analyze(owner: Any, survey: str, **options: Any) -> str:
    """Analyze a survey and return the address of its job."""
    answer = owner.post(f"{survey}/execution", json={"mm_per_px": 0.5, **options})
    assert answer.status_code == 201, answer.text
    job = str(answer.headers["location"])
    finished(owner, job)
    return job


def fetch(owner: Any, job: str, form: str, **wish: Any) -> Any:
    """Return a report when it is made."""

    def look() -> Any:
        answer = owner.get(f"{job}/inspection.{form}", params=wish)
        if answer.status_code == 202:
            assert answer.headers["retry-after"] == "2"
            return None
        assert answer.status_code == 200, answer.text
        return answer

    return wait_for(look, deadline_s=300, why="the report")


def test_facts_verdicts_corrections_and_names_stand_in_every_form(owner: Any, survey: str) -> None:
    job = analyze(owner, survey)
    (task,) = owner.get(f"{job}/images").json()["images"]
    image = task["links"]["self"]
    drawn = owner.post(f"{image}/corrections", json={"kind": "draw", "line": rough()})
    assert drawn.status_code == 201
    report = owner.get(f"{image}/report.json").json()
    added = next(c["id"] for c in report["cracks"] if c.get("correction") == "drawn")
    marked = next(c["id"] for c in report["cracks"] if c["id"] != added)
    for crack, word, note in ((added, "accept", "wet <i>"), (marked, "reject", "a cable")):
        verdict = {"verdict": word, "note": note}
        owner.put(f"{image}/cracks/{crack}/verdict", json=verdict).raise_for_status()
    page = fetch(owner, job, "html")
    assert "script" not in page.headers["content-security-policy"]
    for text in ("Wall, spring", "Upper dam &lt;b&gt;&amp;", "A. Meier, inspection",
                 "612.40 m", "wet &lt;i&gt;", "(A. Meier)", "drawn"):  # fmt: skip
        assert text in page.text, text
    assert "1 mark was rejected by an inspector and is in no figure" in page.text
    assert "a cable" not in page.text
    assert "data:image/jpeg" in page.text
    assert "a cable" in fetch(owner, job, "html", rejected="true").text
    pdf = fetch(owner, job, "pdf", locale="de")
    assert pdf.headers["content-type"] == "application/pdf"
    words = "".join(p.extract_text() for p in PdfReader(io.BytesIO(pdf.content)).pages)
    for text in ("Upper dam <b>&", "612,40 m", "A. Meier", "12. Mai 2026"):
        assert text in words, text
    book = openpyxl.load_workbook(io.BytesIO(fetch(owner, job, "xlsx").content))
    cells = [str(cell.value) for sheet in book for row in sheet.rows for cell in row]
    assert "A. Meier" in cells
    assert "a cable" not in cells
    # A verdict makes the report anew.
    owner.put(f"{image}/cracks/{added}/verdict", json={"verdict": "reject"}).raise_for_status()
    assert "2 marks were rejected" in fetch(owner, job, "html").text


def test_the_longest_note_and_facts_are_whole_in_the_pdf(owner: Any, survey: str) -> None:
    note = " ".join(f"n{number}" for number in range(380))
    weather = " ".join(f"w{number}" for number in range(2400))
    toml = f'{TOML}weather = "{weather}"\ntitle = "{"W" * 900}"\n'
    assert len(note) > 1700
    assert len(toml) > 14_000
    owner.put(f"{survey}/facts", json={"toml": toml}).raise_for_status()
    job = analyze(owner, survey)
    (task,) = owner.get(f"{job}/images").json()["images"]
    verdict = {"verdict": "accept", "note": note}
    owner.put(f"{task['links']['self']}/cracks/1/verdict", json=verdict).raise_for_status()
    pdf = fetch(owner, job, "pdf")
    words = " ".join(p.extract_text() for p in PdfReader(io.BytesIO(pdf.content)).pages).split()
    assert {f"n{number}" for number in range(380)} <= set(words)
    assert {f"w{number}" for number in range(2400)} <= set(words)


def test_what_of_facts_does_not_fit_is_refused_and_the_rest_stays(owner: Any, survey: str) -> None:
    before = owner.get(f"{survey}/facts").json()
    assert before["stated"]["inspected_on"] == "2026-05-12"
    for toml, why in (
        ("reservoir_level_m = nan", "finite"),
        ("dam = 'a", "not valid TOML"),
        ("damm = 'a'", "unknown key `survey.toml.damm`"),
        ('dam = "a\\u0000b"', "control character U+0000"),
        ('dam = "a\\u202eb"', "control character U+202E"),
        ("a = " + "[" * 9000, "nested too deep"),
        ("a." * 2000 + "a = 1", "dots"),
        ("a = " + "9" * 9000, "not valid TOML"),
        ("[face]\nazimuth_deg = 400", "between 0 and 360"),
    ):
        answer = owner.put(f"{survey}/facts", json={"toml": toml})
        assert answer.status_code == 422, toml[:40]
        assert why in answer.json()["detail"], answer.text
    assert owner.put(f"{survey}/facts", json={"toml": "# " * 9000}).status_code == 422
    assert owner.get(f"{survey}/facts").json() == before
    (change,) = owner.get(f"{survey}/changes").json()["changes"]
    assert (change["kind"], change["by_name"]) == ("facts", "A. Meier")
    assert change["after"]["dam"] == "Upper dam <b>&"
    assert owner.put(f"{survey}/facts", json={"toml": ""}).json()["stated"] == {}


def test_the_face_that_is_stated_goes_into_every_later_analysis(owner: Any, survey: str) -> None:
    first = analyze(owner, survey)
    assert "face_batter" not in owner.get(first).json()["options"]
    slope = TOML + "[face]\nbatter = 0.75\nazimuth_deg = 215.0\n"
    owner.put(f"{survey}/facts", json={"toml": slope}).raise_for_status()
    page = owner.get(survey.replace("/v1", "")).text
    assert "was stated after this analysis" in page
    second = analyze(owner, survey)
    options = owner.get(second).json()["options"]
    assert (options["face_batter"], options["face_azimuth_deg"]) == (0.75, 215.0)
    assert "was stated after this analysis" not in owner.get(survey.replace("/v1", "")).text
    other = owner.post(f"{survey}/execution", json={"face_batter": 0.1})
    assert other.status_code == 422
    assert "`face_batter` is 0.1, but `survey.toml` of the survey says 0.75" in other.text


def test_a_report_that_cannot_be_made_says_why(owner: Any, survey: str) -> None:
    job = owner.post(f"{survey}/execution", json={}).headers["location"]
    finished(owner, job)
    unknown = owner.get(f"{job}/inspection.pdf", params={"locale": "xx"})
    assert unknown.status_code == 422
    assert "`locale`" in unknown.json()["detail"]
    assert owner.get(f"{job}/inspection.pdf", params={"locale": "../../x"}).status_code == 422
    head = owner.head(f"{job}/inspection.html")
    assert head.status_code in (200, 202)
