"""Images that crash or hang their process in a running service: each alone pays for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_process import Service, finished, running, wait_for
from test_faults import submit, wait_for_share
from tiny_model import picture

HOOKS = Path(__file__).parent / "hooks"


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder through which a test speaks to the marked images, see ``hooks``."""
    folder = tmp_path / "faults"
    folder.mkdir()
    monkeypatch.setenv("CRACKSEG_FAULTS", str(folder))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(HOOKS), os.environ.get("PYTHONPATH", "")])
    )
    return folder


def hanging(folder: Path) -> list[int]:
    """Return the processes that hang."""
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


def alive(pid: int) -> bool:
    """Return whether a process exists and is not just waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def hung(tmp_path: Path, model_folder: Path, faults: Path) -> Iterator[tuple[Service, str]]:
    """A service of two slots that both hang, and the job of four images that hang it."""
    (faults / "gate").touch()
    with running(tmp_path, model_folder, grace_s=1) as service:
        path = submit(service, {f"{n}.png": picture(n) + b"#wait" for n in range(4)})
        wait_for(lambda: len(hanging(faults)) == 2, why="both slots hang")
        yield service, path


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_poisoned_image_fails_alone(
    tmp_path: Path, model_folder: Path, faults: Path, count: int
) -> None:
    images: dict[str, bytes] = {f"{n}.png": picture(n) for n in range(count - 1)}
    images["bad.png"] = picture(1) + b"#crash"
    images["1.png"] += b"#crash-once"  # as if killed from outside
    with running(tmp_path, model_folder) as service:
        client = service.client()
        path = submit(service, images)
        wait_for_share(client, path, 1)
        status = finished(client, path)
        assert (status["counts"]["failed"], status["counts"]["succeeded"]) == (1, count - 1)
        assert status["status"] == "successful"
        listed = client.get(f"{path}/images?limit=200").json()["images"]
        failed = [image for image in listed if image["status"] == "failed"]
        assert [(image["name"], image["error"]["code"]) for image in failed] == [
            ("bad.png", "crashed")
        ]
        assert not (service.data / "results" / status["jobID"] / failed[0]["image"]).exists()
        assert (faults / "crashed").exists()
        assert [line["message"] for line in service.lines()].count("worker ready") == 1


def test_a_cancel_stops_running_images_within_two_seconds(
    hung: tuple[Service, str], faults: Path
) -> None:
    service, path = hung
    client, pids = service.client(), hanging(faults)
    started = time.monotonic()
    assert client.delete(path).json()["status"] == "dismissed"
    wait_for(lambda: not any(alive(pid) for pid in pids), why="killed")
    took_s = time.monotonic() - started
    wait_for(lambda: not any((service.data / "work").iterdir()), why="nothing is worked on")
    assert hanging(faults) == pids  # what waited was never begun
    assert took_s < 2
    assert client.get(path).json()["counts"]["cancelled"] == 4
    assert not (service.data / "results" / path.rpartition("/")[2]).exists()
    (faults / "gate").unlink()
    assert client.post(f"{path}/retry").status_code == 200
    assert finished(client, path)["counts"]["succeeded"] == 4


def attempts(service: Service) -> list[int]:
    """Return how often each image was started."""
    from sqlalchemy import select

    from service.database import open_database, tasks
    from service.settings import Settings

    engine = open_database(Settings(data=service.data))
    with engine.connect() as db:
        found = list(db.scalars(select(tasks.c.attempts)))
    engine.dispose()
    return found


def test_a_signal_to_end_lets_running_images_finish(
    tmp_path: Path, model_folder: Path, faults: Path
) -> None:
    (faults / "gate").touch()
    with running(tmp_path, model_folder, grace_s=60) as service:
        path = submit(service, {f"{n}.png": picture(n) + b"#wait" for n in range(2)})
        wait_for(lambda: len(hanging(faults)) == 2, why="both slots hang")
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "worker draining" in service.log.read_text(), why="draining")
        (faults / "gate").unlink()
        assert service.process.wait(60) == 0
    with running(tmp_path, model_folder) as service:
        assert finished(service.client(), path)["counts"]["succeeded"] == 2
    assert attempts(service) == [1, 1]


def test_what_does_not_end_in_time_is_done_after_the_next_start(
    hung: tuple[Service, str], tmp_path: Path, model_folder: Path, faults: Path
) -> None:
    service, path = hung
    pids = hanging(faults)
    started = time.monotonic()
    assert service.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 20  # a second of grace, and time on a busy machine
    wait_for(lambda: not any(alive(pid) for pid in pids), why="nothing goes on")
    (faults / "gate").unlink()
    with running(tmp_path, model_folder) as again:
        status: dict[str, Any] = finished(again.client(), path)
        assert (status["status"], status["counts"]["succeeded"]) == ("successful", 4)
