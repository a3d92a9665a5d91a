"""Who changed what is kept and shown; an operator sees the state of the whole service."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from service_process import finished
from test_ledger import begin
from test_surveys import make_survey
from tiny_model import picture

from service import claims, ledger
from service.app import create_app
from service.database import State, jobs, now, tasks, workers
from service.keys import add
from service.settings import Settings


def test_every_change_is_kept_with_who_made_it(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(1)}, name="face")
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]
    verdict = f"{image['links']['self']}/cracks/1/verdict"
    for pair in (("accept", ""), ("accept", ""), ("reject", "=joint"), ("reject", "<b>joint")):
        body = {"verdict": pair[0], "note": pair[1]}
        assert client.put(verdict, json=body).json()["by_name"] == "this machine"
    client.put(survey, json={"name": "South face"})
    client.put(survey, json={"options": {"mm_per_px": 0.5}})
    client.put(survey, json={"name": "South face"})
    listed = client.get(f"{survey}/changes").json()["changes"]
    assert [(c["kind"], c["crack"], c["before"], c["after"]) for c in reversed(listed)] == [
        ("verdict", 1, {"verdict": "open", "note": ""}, {"verdict": "accept", "note": ""}),
        ("verdict", 1, {"verdict": "accept", "note": ""}, {"verdict": "reject", "note": "=joint"}),
        ("verdict", 1, {"verdict": "reject", "note": "=joint"},
         {"verdict": "reject", "note": "<b>joint"}),
        ("name", None, {"name": "face"}, {"name": "South face"}),
        ("options", None, {}, {"mm_per_px": 0.5}),
    ]  # fmt: skip
    assert {change["by_name"] for change in listed} == {"this machine"}
    first = client.get(f"{survey}/changes?limit=2").json()
    rest = client.get(f"{survey}/changes?limit=9&cursor={first['next']}").json()
    assert first["changes"] + rest["changes"] == listed
    text = client.get(f"{job}/changes.csv").content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["kind"] for row in rows] == [change["kind"] for change in listed]
    assert "note “=joint” → “<b>joint”" in rows[2]["change"]
    page = client.get(f"/surveys/{survey.rpartition('/')[2]}/images/{image['image']}").text
    assert "Who changed what (3)" in page
    assert "this machine · crack 1 · verdict “open” → “accept”" in page
    assert "&lt;b&gt;joint" in page
    assert client.delete(survey).status_code == 204
    assert client.get(f"{survey}/changes").status_code == 404


def test_a_change_of_another_tenant_is_not_told(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    service: Any = app.state
    keys = {name: add(service.engine, name, name, ("read", "write")) for name in ("dam", "quarry")}
    client = TestClient(app)

    def ask(name: str, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {keys[name]}"}
        return client.request(method, path, headers=headers, **more)

    survey = ask("dam", "POST", "/v1/surveys", json={"name": "face"}).headers["location"]
    ask("dam", "PUT", survey, json={"name": "other"})
    (change,) = ask("dam", "GET", f"{survey}/changes").json()["changes"]
    assert (change["by_name"], change["by"]) == ("dam", keys["dam"].split("_")[1])
    assert ask("quarry", "GET", f"{survey}/changes").status_code == 404
    service.engine.dispose()


def test_the_status_page_tells_of_queue_workers_disk_and_failures(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, min_free_mb=1))
    service: Any = app.state
    client = TestClient(app, headers={"Host": "127.0.0.1"})
    empty = client.get("/status").text
    assert "nothing is analyzed until one is started" in empty
    assert "Nothing waits." in empty
    with service.engine.begin() as db:
        _, job = begin(db, "secret-name.png", "b.png", "c.png")
        row = {"slot": "slot-0", "pid": 4711, "host": "bench", "seen_at": now()}
        db.execute(workers.insert().values(row))
    claim = claims.claim(service.engine, "slot-0")
    assert claim
    with service.engine.begin() as db:
        other = ledger.task_rows(db, job)[1].image_id
        failed = {"state": State.FAILED, "error_code": "memory", "finished_at": now()}
        db.execute(tasks.update().where(tasks.c.image_id == other).values(failed))
    page = client.get("/status").text
    for words in ("slot-0", "4711", "bench", job, "dam", "memory: 1", "<b>1</b>", other):
        assert words in page, words
    assert "secret-name" not in page
    service.storage.free_mb = lambda: 0.5
    assert "as it does now" in client.get("/status").text
    with service.engine.begin() as db:
        db.execute(jobs.update().values(state=State.CANCELLED))
    assert "Nothing waits." in client.get("/status").text
    assert client.get("/status", headers={"Host": "evil.example"}).status_code == 403
    service.engine.dispose()


def test_only_an_operators_key_opens_the_status_page(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    service: Any = app.state
    reader = add(service.engine, "dam", "reader", ("read", "write"))
    operator = add(service.engine, "ops", "operator", ("metrics",))
    client = TestClient(app, follow_redirects=False)
    assert client.get("/status").headers["location"] == "/login?next=/status"
    for key, status in ((reader, 403), (operator, 200)):
        headers = {"Authorization": f"Bearer {key}"}
        assert client.get("/status", headers=headers).status_code == status
    service.engine.dispose()
