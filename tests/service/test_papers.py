"""What a client gets of an image has the verdicts on it, and no crack that was rejected."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from service_process import Service, finished
from test_surveys import make_survey
from tiny_model import picture

from service import papers
from service.app import create_app
from service.errors import Problem
from service.files import ImageFile
from service.settings import Settings

NAMES = ("page.html", "thumb.jpg", "overlay.jpg", "cracks.csv", "cracks.geojson")


@pytest.fixture
def judged(client: Any) -> dict[str, Any]:
    """A job of one image with two cracks: the first accepted, the second rejected, with notes."""
    survey = make_survey(client, {"a.png": picture(3)})
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]
    before = {name: client.get(image["links"][name]) for name in NAMES}
    for crack, verdict in ((1, "accept"), (2, "reject")):
        body = {"verdict": verdict, "note": f"<i>note {crack}"}
        url = f"{image['links']['self']}/cracks/{crack}/verdict"
        assert client.put(url, json=body).status_code == 200
    return {"job": job, "survey": survey, "links": image["links"], "before": before}


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of a table."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_verdict_note_and_name_reach_every_paper(client: Any, judged: dict[str, Any]) -> None:
    links = judged["links"]
    (row,) = table(client.get(links["cracks.csv"]).text)
    cells = [row[name] for name in ("id", "verdict", "verdict_by", "note")]
    assert cells == ["1", "accepted", "this machine", "<i>note 1"]
    assert row["verdict_at"].endswith("Z")
    (feature,) = client.get(links["cracks.geojson"]).json()["features"]
    assert feature["properties"]["note"] == "<i>note 1"
    page = client.get(links["page.html"])
    assert "script" not in page.headers["content-security-policy"]
    assert "One crack was found." in page.text
    assert "accepted by this machine" in page.text
    assert "&lt;i&gt;note 1" in page.text
    assert "note 2" not in page.text
    assert "1 mark is left out, in no figure: rejected by this machine." in page.text
    overlay = client.get(links["overlay.jpg"])
    assert overlay.headers["etag"] != judged["before"]["overlay.jpg"].headers["etag"]
    first, now = (
        np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), int)  # noqa: TID251
        for answer in (judged["before"]["overlay.jpg"], overlay)
    )
    assert (np.abs(first - now).max(axis=2) > 60).sum() > 50  # its outline is gone
    features = client.get(f"{judged['job']}/report.geojson").json()["features"]
    assert [f["properties"]["verdict"] for f in features] == ["accepted"]


def test_who_asks_gets_the_rejected_and_the_measured(client: Any, judged: dict[str, Any]) -> None:
    links = judged["links"]
    rows = table(client.get(f"{links['cracks.csv']}?rejected=true").text)
    assert [(row["verdict"], row["note"]) for row in rows] == [
        ("accepted", "<i>note 1"), ("rejected", "<i>note 2")
    ]  # fmt: skip
    assert "rejected by this machine" in client.get(f"{links['page.html']}?rejected=true").text
    for name in NAMES:
        measured = client.get(f"{links[name]}?as_measured=true")
        assert measured.content == judged["before"][name].content, name
    report = client.get(links["report.json"]).json()
    assert [crack["id"] for crack in report["cracks"]] == [1, 2]
    assert "verdict" not in json.dumps(report["cracks"])


def test_who_would_wait_long_is_told_to_come_again(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, min_free_mb=0))
    service: Any = app.state
    image = SimpleNamespace(job_id="j", image_id="i", survey_id="s", name="a.png", sha256="0")
    folder = service.storage.result("j", "i")
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    verdicts = {1: {"word": "rejected", "by": "A", "at": "2026-05-04T09:30:00Z", "note": ""}}

    def ask(name: ImageFile) -> Path:
        return papers.paper(service, image, name, verdicts, with_rejected=False)  # type: ignore[arg-type]

    turns = 0
    while service.press_turns.acquire(blocking=False):
        turns += 1
    with pytest.raises(Problem) as busy:
        ask(ImageFile.PAGE)
    assert (busy.value.status, busy.value.kind, turns) == (503, "busy", 8)
    assert ask(ImageFile.REPORT) == folder / "report.json"  # no paper
    for _ in range(turns):
        service.press_turns.release()
    with pytest.raises(Problem, match="starting"):
        ask(ImageFile.PAGE)  # and its turn is free again
    for _ in range(turns):
        assert service.press_turns.acquire(blocking=False)
    service.engine.dispose()


def test_a_verdict_taken_back_gives_the_measured_papers_again(
    client: Any, judged: dict[str, Any]
) -> None:
    links = judged["links"]
    assert len(table(client.get(links["cracks.csv"]).text)) == 1
    for crack in (1, 2):
        url = f"{links['self']}/cracks/{crack}/verdict"
        client.put(url, json={"verdict": "open", "note": ""})
    for name in NAMES:
        assert client.get(links[name]).content == judged["before"][name].content, name


def test_the_bundle_holds_the_judged_papers(
    client: Any, service: Service, judged: dict[str, Any]
) -> None:
    with zipfile.ZipFile(io.BytesIO(client.get(f"{judged['job']}/bundle.zip").content)) as bundle:
        assert bundle.testzip() is None
        names = set(bundle.namelist())
        (row,) = table(bundle.read("images/0001_a/cracks.csv").decode())
        page = bundle.read("images/0001_a/page.html").decode()
    assert row["verdict"] == "accepted"
    assert "note 2" not in page
    assert {"changes.csv", "images/0001_a/report.json", "images/0001_a/mask.png"} <= names
    assert client.delete(judged["survey"]).status_code == 204
    job_id = judged["job"].rpartition("/")[2]
    assert not list(service.data.rglob(f"*{job_id}*"))


def test_papers_of_an_earlier_release_say_so(
    client: Any, service: Service, judged: dict[str, Any]
) -> None:
    job_id, image_id = judged["links"]["self"].split("/")[3], judged["links"]["self"].split("/")[5]
    path = service.data / "results" / job_id / image_id / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    for crack in report["cracks"]:
        del crack["branch_kinds"]
    path.write_text(json.dumps(report), encoding="utf-8")
    answer = client.get(judged["links"]["page.html"])
    assert (answer.status_code, answer.json()["title"]) == (409, "Papers unavailable")
    assert "as_measured" in answer.json()["detail"]
    assert str(service.data) not in answer.text
    with zipfile.ZipFile(io.BytesIO(client.get(f"{judged['job']}/bundle.zip").content)) as bundle:
        assert "images/0001_a/page.html.missing.txt" in bundle.namelist()
        assert "images/0001_a/page.html" not in bundle.namelist()
