"""Edits over HTTP: each is measured when it comes, undone last first, and belongs to its tenant."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from service_process import Service, finished, running
from test_surveys import make_survey

from crackseg.metrology.phantoms import Look, draw, wandering
from service.database import open_database
from service.keys import add
from service.settings import Settings

MISSED = wandering((220, 60), 5, 300, 4.0, np.random.default_rng(3), bend_deg=8)
SEEN = wandering((80, 60), -5, 280, 6.0, np.random.default_rng(4), bend_deg=6)


def wall() -> bytes:
    """Return a PNG with a black crack, which the tiny model sees, and a paler one, which not."""
    rng = np.random.default_rng(1)
    dark = draw((320, 420), [SEEN], Look(background=200, noise=0.01), rng).picture
    pale = draw((320, 420), [MISSED], Look(background=200, contrast=0.45, noise=0.01), rng).picture
    file = io.BytesIO()
    Image.fromarray(np.minimum(dark, pale)).save(file, "PNG")
    return file.getvalue()


def analyzed(client: Any) -> str:
    """Return the address of an image's results."""
    survey = make_survey(client, {"wall.png": wall()})
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    listed = client.get(f"{job}/images").json()["images"]
    assert listed[0]["status"] == "succeeded"
    return str(listed[0]["links"]["self"])


def rough(off: float = 4.0) -> list[list[float]]:
    at = np.array([0, 90, 200, 300])
    shift = np.array([[off, 0], [-off, 1], [off, -1], [-off, 0]])
    return (MISSED.points[at] + shift).round(1).tolist()


def files(client: Any, image: str) -> dict[str, bytes]:
    names = ("report.json", "cracks.csv", "overlay.jpg", "page.html", "mask.png", "cracks.geojson")
    return {name: client.get(f"{image}/{name}").content for name in names}


def test_a_missed_crack_is_drawn_judged_and_undone(client: Any) -> None:
    image = analyzed(client)
    before, row = files(client, image), client.get(image).json()["summary"]
    assert json.loads(before["report.json"])["totals"]["cracks"] == 1
    tag = client.get(f"{image}/report.json").headers["etag"]
    answer = client.post(f"{image}/corrections", json={"kind": "draw", "line": rough()})
    assert answer.status_code == 201, answer.text
    (edit,) = answer.json()["edits"]
    assert (edit["kind"], edit["by"], answer.json()["cracks"]) == ("draw", "this machine", 2)
    assert client.get(f"{image}/report.json").headers["etag"] != tag
    for name, content in before.items():
        assert client.get(f"{image}/{name}?as_measured=true").content == content, name
    report = client.get(f"{image}/report.json").json()
    (drawn,) = [crack for crack in report["cracks"] if crack.get("correction") == "drawn"]
    assert drawn["length_mm"] == pytest.approx(0.5 * MISSED.length_px, rel=0.02)
    assert drawn["width_mean_px"] == pytest.approx(4.0, abs=0.3)
    assert report["image"]["path"] == "wall.png"
    after = client.get(image).json()["summary"]
    assert after["cracks"] == row["cracks"] + 1
    assert after["length_mm"] == pytest.approx(row["length_mm"] + drawn["length_mm"], rel=1e-3)
    verdict = client.put(f"{image}/cracks/{drawn['id']}/verdict", json={"verdict": "reject"})
    assert verdict.status_code == 200
    assert client.get(image).json()["summary"]["cracks"] == row["cracks"]

    point = SEEN.points[140].round(1).tolist()
    second = client.post(f"{image}/corrections", json={"kind": "split", "point": point})
    assert [e["kind"] for e in second.json()["edits"]] == ["draw", "split"]
    early = client.delete(f"{image}/corrections/{edit['id']}")
    assert early.status_code == 409
    assert early.json()["detail"] == "Only the last edit can be undone."
    last = second.json()["edits"][-1]["id"]
    assert client.delete(f"{image}/corrections/{last}").json()["edits"] == [edit]
    assert client.delete(f"{image}/corrections/{edit['id']}").json()["edits"] == []
    assert files(client, image) == before
    undone = client.get(image).json()["summary"]
    assert {k: undone[k] for k in row} == {
        k: pytest.approx(v, rel=1e-3) if isinstance(v, float) else v for k, v in row.items()
    }
    assert client.get(f"{image.partition('/images')[0]}/verdicts").json()["verdicts"] == []


def test_edits_reach_the_survey_and_its_bundle(client: Any) -> None:
    image = analyzed(client)
    job = image.partition("/images")[0]
    client.post(f"{image}/corrections", json={"kind": "draw", "line": rough()})
    features = client.get(f"{job}/report.geojson").json()["features"]
    assert [f["properties"]["correction"] for f in features].count("drawn") == 1
    with zipfile.ZipFile(io.BytesIO(client.get(f"{job}/bundle.zip").content)) as bundle:
        names = [Path(name) for name in bundle.namelist()]
    reports = [name.parent.name for name in names if name.name == "report.json"]
    assert sorted(reports) == ["0001_wall", "network"]


def test_another_analysis_takes_the_edits_along(client: Any) -> None:
    image = analyzed(client)
    job = image.partition("/images")[0]
    client.post(f"{image}/corrections", json={"kind": "draw", "line": rough()})
    point = SEEN.points[140].round(1).tolist()
    client.post(f"{image}/corrections", json={"kind": "split", "point": point})
    report = client.get(f"{image}/report.json").json()
    drawn = next(crack["id"] for crack in report["cracks"] if crack.get("correction") == "drawn")
    client.put(f"{image}/cracks/{drawn}/verdict", json={"verdict": "accept", "note": "deep"})
    survey = client.get(job).json()["survey"]
    options = {"mm_per_px": 0.25, "threshold": 0.99, "threshold_low": 0.98}
    again = client.post(f"/v1/surveys/{survey}/execution", json=options).headers["location"]
    finished(client, again)
    (task,) = client.get(f"{again}/images").json()["images"]
    fresh = client.get(f"{task['links']['self']}/report.json").json()
    made = {crack.get("correction"): crack for crack in fresh["cracks"]}
    assert made["drawn"]["length_mm"] == pytest.approx(0.25 * MISSED.length_px, rel=0.02)
    assert [e["kind"] for e in fresh["corrections"]["edits"]] == ["draw", "split"]
    (verdict,) = client.get(f"{again}/verdicts").json()["verdicts"]
    assert (verdict["crack"], verdict["note"]) == (made["drawn"]["id"], "deep")
    assert task["summary"]["cracks"] == len(fresh["cracks"])
    undone = client.delete(
        f"{task['links']['self']}/corrections/{fresh['corrections']['edits'][-1]['id']}"
    )
    assert [e["kind"] for e in undone.json()["edits"]] == ["draw"]
    earlier = client.get(f"{image}/report.json").json()
    assert earlier == report


def test_nothing_is_lost_over_an_analysis_that_lists_less(client: Any) -> None:
    image = analyzed(client)
    job = image.partition("/images")[0]
    survey = client.get(job).json()["survey"]
    client.post(f"{image}/corrections", json={"kind": "draw", "line": rough()})
    point = SEEN.points[140].round(1).tolist()
    client.post(f"{image}/corrections", json={"kind": "split", "point": point})
    verdict = {"verdict": "reject", "note": "a cable"}
    client.put(f"{image}/cracks/1/verdict", json=verdict)

    def again(**options: float) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
        path = f"/v1/surveys/{survey}/execution"
        new = client.post(path, json={"mm_per_px": 0.5, **options}).headers["location"]
        finished(client, new)
        (task,) = client.get(f"{new}/images").json()["images"]
        address = task["links"]["self"]
        report = client.get(f"{address}/report.json").json()
        return address, report, client.get(f"{new}/verdicts").json()["verdicts"]

    for _ in range(2):
        address, report, verdicts = again(min_length_px=5000)
        assert [e["kind"] for e in report["corrections"]["edits"]] == ["draw"]
        assert verdicts == []
        assert left_out(report) == [f"split by this machine at row {point[0]:.0f}"]
    more = client.post(f"{address}/corrections", json={"kind": "draw", "line": rough(0)})
    assert more.status_code == 201
    assert len(left_out(client.get(f"{address}/report.json").json())) == 1
    last = more.json()["edits"][-1]["id"]
    client.delete(f"{address}/corrections/{last}")
    _, report, verdicts = again()
    assert [e["kind"] for e in report["corrections"]["edits"]] == ["draw", "split"]
    assert [(v["verdict"], v["note"]) for v in verdicts] == [("reject", "a cable")]
    assert left_out(report) == []


def left_out(report: dict[str, Any]) -> list[str]:
    """Return which edits a report says that it left out."""
    messages = [w["message"] for w in report["warnings"] if w["code"] == "corrections_left_out"]
    return [m.partition("tries again: ")[2].partition(", column")[0] for m in messages]


@pytest.mark.parametrize(
    ("edit", "status", "why"),
    [
        ({"kind": "split", "point": [300, 10]}, 422, "no crack lies within 12 px"),
        ({"kind": "draw", "point": [30, 10]}, 422, "unknown key `point`"),
        ({"kind": "draw", "line": [[5, 5], [5, 9999]]}, 422, "leaves the picture"),
        ({"kind": "paint", "line": [[5, 5], [5, 9]]}, 422, "kind"),
        ({"kind": "draw", "line": [[5, 5], [5, 9]], "by": "me"}, 422, "by"),
        ({"kind": "draw", "line": [[5, 5]] * 3000}, 422, "line"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    client: Any, edit: dict[str, Any], status: int, why: str
) -> None:
    image = analyzed(client)
    before = files(client, image)
    answer = client.post(f"{image}/corrections", json=edit)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert why in answer.text
    assert not re.search(r"edit [0-9a-f]{8}-", answer.text)  # the service's own name for it
    assert files(client, image) == before
    assert client.get(f"{image}/corrections").json() == {"edits": [], "cracks": 1, "notice": ""}


def test_a_page_of_another_site_corrects_nothing(client: Any) -> None:
    image = analyzed(client)
    edit = {"kind": "draw", "line": rough()}
    evil = {"Origin": "http://evil.example"}
    assert client.post(f"{image}/corrections", json=edit, headers=evil).status_code == 403
    missing = f"{image}/corrections/01939f6e-5a80-7c11-9e0b-3f1f2f6f7a10"
    assert client.delete(missing, headers=evil).status_code == 403
    assert client.delete(missing).status_code == 409


def test_only_a_key_of_the_tenant_that_may_write_corrects(
    tmp_path: Path, model_folder: Path
) -> None:
    engine = open_database(Settings(data=tmp_path / "data"))
    mine = add(engine, "north", "A. Meier", ("read", "write"))
    reading = add(engine, "north", "Reader", ("read",))
    other = add(engine, "south", "Other", ("read", "write"))
    engine.dispose()
    with running(tmp_path, model_folder) as service:
        image = analyzed(keyed(service, mine))
        edit = {"kind": "draw", "line": rough()}
        for key, status in ((reading, 403), (other, 404), ("", 401)):
            answer = keyed(service, key).post(f"{image}/corrections", json=edit)
            assert answer.status_code == status
        assert keyed(service, other).get(f"{image}/corrections").status_code == 404
        answer = keyed(service, mine).post(f"{image}/corrections", json=edit)
        assert answer.json()["edits"][0]["by"] == "A. Meier"
        page = keyed(service, mine).get(f"{image}/page.html").text
        assert "drawn by A. Meier" in page


def keyed(service: Service, key: str) -> Any:
    """Return a client with a key."""
    client = service.client()
    client.headers.update({"Authorization": f"Bearer {key}"} if key else {})
    return client
