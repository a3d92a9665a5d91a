"""An edit whose files are there and whose rows are not is brought to its end, once."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from service_process import running
from test_corrections import SEEN, analyzed
from test_heirs import figures, history, say, verdicts

from service import corrections
from service.app import create_app
from service.settings import Settings

SPLIT = {"kind": "split", "point": SEEN.points[140].round(1).tolist()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> dict[str, Any]:
    """A data folder with some images that were analyzed, each with a rejected crack."""
    folder = tmp_path_factory.mktemp("halfdone")
    with running(folder, model_folder) as service:
        images = [analyzed(service.client()) for _ in range(5)]
        for image in images:
            say(service.client(), image, 1, "reject", "cable")
    values = {"data": folder / "data", "model": str(model_folder), "min_free_mb": 1}
    return {"settings": Settings(**values), "images": images}


def split(client: Any, image: str) -> Any:
    """Ask for one edit of an image, by the same key each time."""
    key = {"Idempotency-Key": image.rpartition("/")[2]}
    return client.post(f"{image}/corrections", json=SPLIT, headers=key)


def opened(data: dict[str, Any]) -> TestClient:
    return TestClient(
        create_app(data["settings"]), base_url="http://127.0.0.1", raise_server_exceptions=False
    )


def away(*_: Any, **__: Any) -> None:
    raise sa.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("database is locked"))


def split_while_the_database_is_away(client: Any, image: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corrections, "take_over", away)
        answer = split(client, image)
    assert answer.status_code == 503, answer.text
    report = client.get(f"{image}/report.json").json()
    assert len(report["cracks"]) == 2  # the files are there


def is_whole(client: Any, image: str) -> None:
    """Check that the pieces are rejected like the crack they came of, and the history."""
    assert verdicts(client, image) == {1: ("reject", "cable"), 2: ("reject", "cable")}
    assert figures(client, image) == (0, 2)
    kinds = [row["kind"] for row in history(client, image)]
    assert kinds.count("correction") == 1
    assert kinds.count("verdict") == 2  # the word itself, and that of the piece


def test_asking_again_does_the_rest_of_an_edit(data: dict[str, Any]) -> None:
    image = data["images"][0]
    with opened(data) as client:
        split_while_the_database_is_away(client, image)
        for _ in range(2):
            answer = split(client, image)
            assert answer.status_code == 201, answer.text
            assert len(answer.json()["edits"]) == 1
        is_whole(client, image)


@pytest.mark.parametrize(("number", "next_step"), [(1, "look"), (2, "judge")])
def test_who_comes_next_finds_the_edit_done(
    data: dict[str, Any], number: int, next_step: str
) -> None:
    image = data["images"][number]
    with opened(data) as client:
        split_while_the_database_is_away(client, image)
        if next_step == "look":
            assert len(client.get(f"{image}/corrections").json()["edits"]) == 1
        else:
            say(client, image, 2, "reject", "cable")
        is_whole(client, image)


def test_a_service_that_was_killed_does_the_rest_at_its_start(data: dict[str, Any]) -> None:
    image = data["images"][3]
    with opened(data) as client:
        split_while_the_database_is_away(client, image)
    (pending,) = (data["settings"].data / "edits").iterdir()
    content = pending.read_bytes()
    with opened(data) as client:
        is_whole(client, image)
    assert not pending.exists()
    pending.write_bytes(content)  # killed again, between the rows and the end of the file
    pending.with_name("gone.gone.json").write_text(json.dumps({}))  # of a survey that was deleted
    with opened(data) as client:
        is_whole(client, image)
    assert not list(pending.parent.iterdir())


def test_a_survey_that_is_deleted_during_an_edit_is_gone(data: dict[str, Any]) -> None:
    image = data["images"][4]
    run = corrections.Corrector.run
    with opened(data) as client, pytest.MonkeyPatch.context() as patch:
        survey = client.get(image.partition("/images")[0]).json()["survey"]

        def delete_before(self: corrections.Corrector, request: dict[str, Any]) -> None:
            assert client.delete(f"/v1/surveys/{survey}").status_code == 204
            run(self, request)

        patch.setattr(corrections.Corrector, "run", delete_before)
        answer = split(client, image)
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such job.")
    assert not list((data["settings"].data / "edits").iterdir())
