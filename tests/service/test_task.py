"""An image's way from row to row, with a sandbox that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service import claims, ledger, task
from service.database import jobs, new_id, open_database, tasks
from service.sandbox import Died, Stopped
from service.settings import Settings
from service.storage import Judged, Received, Storage

Step = Callable[[dict[str, Any]], dict[str, Any]]
DONE: dict[str, Any] = {"row": {"cracks": 1}}
FULL = {"code": "disk_full", "error": "No space left on device"}


@dataclass
class Scene:
    """One image of one job, and the steps that the sandbox goes through."""

    runner: task.TaskRunner
    engine: sa.Engine
    storage: Storage
    job: str
    image: str
    steps: list[Step] = field(default_factory=list)

    def run(self, function: object, request: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Stand in for ``Sandbox.run``."""
        return self.steps.pop(0)(request)

    def set(self, **values: Any) -> None:
        """Change the row."""
        with self.engine.begin() as db:
            db.execute(tasks.update().values(**values))

    def work(self, *steps: Step) -> Any:
        """Work on the image and return its row."""
        self.steps = list(steps)
        claim = claims.claim(self.engine, "slot-0")
        assert claim == claims.Claim(self.job, self.image)
        self.runner.work_on(claim)
        assert self.steps == []
        with self.engine.connect() as db:
            return db.execute(sa.select(tasks)).one()

    @property
    def results(self) -> Path:
        """The folder of its results."""
        return self.storage.result(self.job, self.image)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A queued image."""
    monkeypatch.setattr(task, "DISK_S", 0)
    monkeypatch.setattr(task, "_RETRY_S", 0)
    settings = Settings(data=tmp_path, min_free_mb=0)
    storage, engine = Storage(settings), open_database(settings)
    survey, job = new_id(), new_id()
    with engine.begin() as db:
        ledger.create_survey(db, "local", "x", kind="survey", survey_id=survey)
        received = Received(tmp_path / "none", "0" * 64, 1)
        judged = Judged(received=received, name="a.png", width_px=8, height_px=8, format="PNG")
        row, _ = ledger.add_image(db, survey, judged)
        ledger.create_job(db, "local", survey, {}, kind="survey", job_id=job)
    made = Scene(None, engine, storage, job, row.id)  # type: ignore[arg-type]
    made.runner = task.TaskRunner(settings, storage, engine, made, threading.Event())  # type: ignore[arg-type]
    yield made
    engine.dispose()


def crash(request: dict[str, Any]) -> dict[str, Any]:
    """Die."""
    raise Died("crashed", "Its process died.")


def done(request: dict[str, Any]) -> dict[str, Any]:
    """Place results."""
    Path(request["target"]).mkdir(parents=True)
    return DONE


def test_a_crash_is_tried_once_more(scene: Scene) -> None:
    row = scene.work(crash, done)
    assert (row.state, row.summary, row.error_code) == ("succeeded", {"cracks": 1}, None)
    assert not any((scene.storage.data / "work").iterdir())


def test_two_crashes_are_the_images_fault(scene: Scene) -> None:
    row = scene.work(crash, crash)
    assert (row.state, row.error_code, row.error) == ("failed", "crashed", "Its process died.")


def test_a_slot_is_handed_all_options_and_the_hash_of_the_upload(scene: Scene) -> None:
    handed: list[dict[str, Any]] = []

    def look(request: dict[str, Any]) -> dict[str, Any]:
        handed.append(request)
        return done(request)

    with scene.engine.begin() as db:
        db.execute(jobs.update().values(options={"mm_per_px": 0.25}))
    scene.work(look)
    assert handed[0]["sha256"] == "0" * 64
    assert handed[0]["options"]["scale"]["mm_per_px"] == 0.25
    assert handed[0]["options"]["max_megapixels"] == 200.0


def test_a_full_disk_costs_no_attempt(scene: Scene) -> None:
    row = scene.work(*[lambda request: dict(FULL)] * 20, done)
    assert (row.state, row.attempts) == ("succeeded", 1)


def test_what_was_started_too_often_is_given_up(scene: Scene) -> None:
    scene.set(attempts=Settings(data=scene.storage.data).attempts)
    row = scene.work()
    assert (row.state, row.error_code) == ("failed", "given_up")


def test_a_cancel_leaves_no_results(scene: Scene) -> None:
    def cancelled(request: dict[str, Any]) -> dict[str, Any]:
        done(request)
        scene.set(state="cancelled")
        raise Stopped

    assert scene.work(cancelled).state == "cancelled"
    assert not scene.results.parent.exists()


def test_a_cancel_at_the_last_moment_leaves_no_results(scene: Scene) -> None:
    def late(request: dict[str, Any]) -> dict[str, Any]:
        scene.set(state="cancelled")
        return done(request)

    assert scene.work(late).state == "cancelled"
    assert not scene.results.exists()


def test_results_that_another_worker_finished_stay(scene: Scene) -> None:
    def overtaken(request: dict[str, Any]) -> dict[str, Any]:
        scene.set(state="succeeded", summary={"cracks": 1})
        return done(request)

    assert scene.work(overtaken).state == "succeeded"
    assert scene.results.is_dir()


def test_files_without_a_row_are_taken_as_they_are(scene: Scene) -> None:
    sums = ("cracks", "length_px", "length_mm", "area_px2", "area_mm2", "density_m_per_m2")
    report = {
        "image": {"path": "a.png", "taken_at": None, "camera": None}, "scale": None,
        "cracks": [], "totals": dict.fromkeys(sums, 0), "warnings": [],
    }  # fmt: skip
    scene.results.mkdir(parents=True)
    (scene.results / "report.json").write_text(json.dumps(report), encoding="utf-8")
    row = scene.work()
    assert (row.state, row.summary["image"]) == ("succeeded", "a.png")
    assert row.summary["folder"] == f"images/{scene.image}"
