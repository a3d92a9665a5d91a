"""What an operator relies on: readiness, a low disk, retention, logs, the check of the data."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from PIL import Image
from service_process import Service, finished, running, wait_for
from test_surveys import make_survey
from tiny_model import picture

from service import ledger
from service.app import create_app
from service.check import check
from service.database import new_id, now, open_database, uploads, workers
from service.settings import Settings
from service.storage import Storage


def test_ready_means_a_worker_a_model_and_room(tmp_path: Path, model_folder: Path) -> None:
    app = create_app(Settings(data=tmp_path, model=str(model_folder), min_free_mb=1))
    client = TestClient(app)

    def set_last_beat(ago_s: float) -> None:
        with app.state.engine.begin() as db:
            db.execute(workers.delete())
            row = {"slot": "slot-0", "pid": 1, "host": "here"}
            db.execute(workers.insert().values(**row, seen_at=now(ago=timedelta(seconds=ago_s))))

    def why_not() -> str:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        return str(answer.json()["detail"])

    assert "No worker" in why_not()
    set_last_beat(120)
    assert "No worker" in why_not()
    set_last_beat(5)
    assert client.get("/readyz").json() == {"status": "ready", "workers": 1}
    app.state.model_folder = tmp_path / "gone"
    assert "model" in why_not()
    app.state.model_folder = model_folder
    app.state.storage.free_mb = lambda: 0.5
    assert "disk" in why_not()
    del app.state.storage.free_mb
    app.state.draining = True
    assert "shutting down" in why_not()
    assert client.get("/healthz").status_code == 200
    app.state.engine.dispose()


def rows_of(data: Path, table: str) -> list[Any]:
    """Return the rows of a table."""
    with closing(sqlite3.connect(data / "service.sqlite")) as db:
        return db.execute(f"SELECT * FROM {table}").fetchall()


def test_a_low_disk_pauses_intake_and_work_and_old_surveys_go(
    tmp_path: Path, model_folder: Path
) -> None:
    with running(tmp_path, model_folder) as service:
        client = service.client()
        old, fresh = (make_survey(client, {"a.png": picture(n)}) for n in range(2))
        done = client.post(f"{old}/execution", json={}).headers["location"]
        finished(client, done)
    old_id, fresh_id = (survey.rpartition("/")[2] for survey in (old, fresh))
    with closing(sqlite3.connect(service.data / "service.sqlite")) as db, db:
        past = now(ago=timedelta(days=40))
        db.execute("UPDATE surveys SET created_at = ? WHERE id = ?", (past, old_id))
        db.execute("UPDATE images SET created_at = ? WHERE survey_id = ?", (past, old_id))
        db.execute("UPDATE jobs SET finished_at = ?", (past,))
    engine = open_database(Settings(data=service.data))
    with engine.begin() as rows:
        ledger.create_job(rows, "local", fresh_id, {}, kind="survey", job_id=(queued := new_id()))
        forgotten = {"id": new_id(), "tenant": "local", "survey_id": fresh_id, "name": "c.png"}
        rows.execute(uploads.insert().values(**forgotten, size_bytes=9, created_at=past))
    engine.dispose()

    with running(tmp_path, model_folder, min_free_mb=10**9, keep_days=30) as service:
        client = service.client()
        for answer in (
            client.post("/v1/analyses", content=picture(1)),
            client.put(f"{fresh}/images/b.png", content=picture(2)),
            client.post(f"{fresh}/execution", json={}),
        ):
            assert (answer.status_code, answer.json()["title"]) == (507, "Disk low")
            assert "retry-after" in answer.headers
        wait_for(lambda: "work waits" in service.log.read_text(), why="work waits")
        assert client.get(f"/v1/jobs/{queued}").json()["status"] == "queued"
        wait_for(lambda: client.get(old).status_code == 404, why="the old survey is deleted")
        ids = (old_id, done.rpartition("/")[2])
        wait_for(lambda: not any(list(service.data.rglob(f"*{i}*")) for i in ids), why="its files")

    assert not rows_of(service.data, "uploads")
    with running(tmp_path, model_folder, keep_days=30) as service:
        assert finished(service.client(), f"/v1/jobs/{queued}")["counts"]["succeeded"] == 1


def test_what_is_left_of_broken_uploads_is_swept(tmp_path: Path) -> None:
    storage = Storage(Settings(data=tmp_path))
    for name in ("old", "fresh"):
        storage.part(name).write_bytes(b"x")
        (tmp_path / "work" / name).mkdir()
    past = time.time() - 7200
    for folder in ("parts", "work"):
        os.utime(tmp_path / folder / "old", (past, past))
    storage.sweep(3600)
    assert {
        path.name for folder in ("parts", "work") for path in (tmp_path / folder).iterdir()
    } == {"fresh"}


def photograph_with_position() -> bytes:
    """Return a JPEG whose EXIF says where and by whom it was taken."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "CanaryMaker", "CanaryCam"
    exif.get_ifd(0x8825).update(
        {1: "N", 2: (46.0, 33.0, 17.8912), 3: "E", 4: (7.0, 21.0, 43.6543), 29: "2031:07:13"}
    )
    file = io.BytesIO()
    pixels = np.random.default_rng(5).integers(170, 210, (160, 240, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_logs_are_json_and_tell_nothing_of_photographs(client: Any, service: Service) -> None:
    content = photograph_with_position()
    headers = {"X-Request-ID": "traced-7"}
    url = "/v1/analyses?name=CanaryName.jpg"
    path = client.post(url, content=content, headers=headers).headers["location"]
    cut = client.post(url, content=content[:-2000]).headers["location"]
    assert finished(client, path)["status"] == "succeeded"
    assert finished(client, cut)["status"] == "failed"
    position = client.get(f"{path}/report.json").json()["image"]["gps"]
    assert position["lat_deg"] == pytest.approx(46.55497, abs=1e-4)
    ended = path.rpartition("/")[2]
    wait_for(lambda: f'"image": "{ended}"' in service.log.read_text("utf-8"), why="logged")
    lines = service.log.read_text("utf-8").splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    traced = [json.loads(line) for line in lines if "traced-7" in line]
    assert [(line["route"], line["status"]) for line in traced] == [("/v1/analyses", 202)]
    text = "\n".join(lines)
    # four decimals: the times in a log have fewer
    secrets = ("Canary", "46.5549", "7.3621", "17.8912", "43.6543", str(service.data / "uploads"))
    assert [word for word in secrets if word in text] == []


def test_the_check_names_what_is_missing(client: Any, service: Service) -> None:
    path = client.post("/v1/analyses", content=picture(4)).headers["location"]
    finished(client, path)
    settings, name = Settings(data=service.data), path.rpartition("/")[2]
    assert not any(name in problem for problem in check(settings).problems)
    (service.data / "uploads" / name / name).write_bytes(b"short")
    (service.data / "results" / name / name / "report.json").unlink()
    problems = [problem for problem in check(settings).problems if name in problem]
    assert len(problems) == 2
    assert "another size" in problems[0]
    assert "report" in problems[1]
    client.delete(path)
    assert not any(name in problem for problem in check(settings).problems)


def test_a_survey_leaves_a_disk_that_is_full(tmp_path: Path, monkeypatch: Any) -> None:
    settings = Settings(data=tmp_path)
    engine, storage = open_database(settings), Storage(settings)
    reserve = tmp_path / "reserve"
    assert reserve.stat().st_size > 2**20
    survey = new_id()
    with engine.begin() as db:
        ledger.create_survey(db, "dam", "face", kind="survey", survey_id=survey)
    delete, full = ledger.delete_survey, sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[misc]

    def short_of_room(db: Any, survey_id: str) -> list[str]:
        if reserve.exists():
            raise sa.exc.OperationalError("DELETE", {}, full)
        return delete(db, survey_id)

    monkeypatch.setattr(ledger, "delete_survey", short_of_room)
    ledger.delete_with_files(engine, storage, survey)
    engine.dispose()
    assert rows_of(tmp_path, "surveys") == []
    assert reserve.exists()  # for the next one
