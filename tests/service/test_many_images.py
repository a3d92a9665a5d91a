"""Files of a whole survey cost as many questions to the database for many images as for few."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import Request
from test_ledger import begin, end

from crackseg.exports.survey import failure_row
from service import ledger, papers, results
from service.app import create_app
from service.database import Record, State, now, tasks, verdicts
from service.files import ImageFile
from service.settings import Settings
from service.state import Service

FEATURES = {"type": "FeatureCollection", "features": [
    {"type": "Feature", "geometry": None, "properties": {"id": crack}} for crack in (1, 2)
]}  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The parts of a service that does not run."""
    state: Any = create_app(Settings(data=tmp_path, min_free_mb=0)).state
    yield state
    state.engine.dispose()


def analyzed(service: Service, count: int) -> Record:
    """Return a job of images with two cracks each, of which the second is rejected."""
    with service.engine.begin() as db:
        _, job_id = begin(db, *(f"{number:04d}.png" for number in range(count)))
        end(db, job_id, *[State.SUCCEEDED] * count)
        summary = failure_row(Path("a.png"), "its row is not what this is about")
        db.execute(tasks.update().values(finished_at=now(), summary=summary))
        for task in ledger.task_rows(db, job_id):
            folder = service.storage.result(job_id, task.image_id)
            folder.mkdir(parents=True)
            (folder / "cracks.geojson").write_text(json.dumps(FEATURES))
            model = {"name": "tiny", "version": "1", "sha256": "0"}
            (folder / "report.json").write_text(json.dumps({"model": model}))
            row = {"job_id": job_id, "image_id": task.image_id, "crack_id": 2, "note": task.name}
            row |= {"verdict": "reject", "by": "local", "updated_at": now()}
            db.execute(verdicts.insert().values(row))
        return ledger.find_job(db, "dam", job_id)


@contextmanager
def questions(service: Service) -> Iterator[list[str]]:
    """Give the statements that the database is asked meanwhile."""
    asked: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    sa.event.listen(service.engine, "before_cursor_execute", note)
    yield asked
    sa.event.remove(service.engine, "before_cursor_execute", note)


def read_geojson(service: Service, job: Record) -> None:
    """Read the cracks of a job: none that is rejected, unless it is asked for."""
    for rejected, words in ((False, [None]), (True, [None, "rejected"])):
        text = "".join(results.survey_geojson(service, job, rejected=rejected))
        features = [feature["properties"] for feature in json.loads(text)["features"]]
        by_image: dict[str, list[Any]] = {}
        for about in features:
            by_image.setdefault(about["image"], []).append(about["verdict"])
            assert about["note"] == (about["image"] if about["verdict"] else None)
        assert set(map(tuple, by_image.values())) == {tuple(words)}


def read_bundle(service: Service, job: Record) -> None:
    """Read everything of a job; papers with verdicts cannot be made here, and say so."""
    content = b"".join(results.bundle(service, job, rejected=False))
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        late = [name for name in bundle.namelist() if name.endswith("cracks.geojson.missing.txt")]
        assert bundle.read("verdicts.csv").decode().count("reject") == len(late) > 0


@pytest.mark.parametrize("read", [read_geojson, read_bundle])
def test_a_survey_of_many_images_asks_no_more_than_one_of_few(
    service: Service, read: Callable[[Service, Record], None]
) -> None:
    counts = []
    for images in (2, 12):
        job = analyzed(service, images)
        with questions(service) as asked:
            read(service, job)
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_a_file_of_one_image_asks_for_that_image_alone(service: Service) -> None:
    job = analyzed(service, 3)
    with service.engine.connect() as db:
        first, *_ = ledger.task_rows(db, job.id)
        assert papers.spoken(db, first)[2]["note"] == "0000.png"
    request = Request({"type": "http", "headers": [], "app": type("App", (), {"state": service})})
    with questions(service) as asked:
        results.file_response(request, first, ImageFile.REPORT, rejected=False, as_measured=False)
    assert asked
    assert not [statement for statement in asked if "FROM tasks" in statement]
    assert [statement for statement in asked if "verdicts.image_id =" in statement]
