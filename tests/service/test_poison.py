"""Images that crash or hang their process in a running service: each alone pays for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from service_process import finished, running, wait_for
from sqlalchemy import select
from test_faults import submit, wait_for_share
from tiny_model import picture

from service.database import open_database, tasks
from service.settings import Settings

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


def hanging(folder: Path) -> set[int]:
    """Return the processes that hang or did."""
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


def two(pids: set[int]) -> set[int]:
    """Return two processes, or nothing yet."""
    return pids if len(pids) == 2 else set()


def alive(pid: int) -> bool:
    """Return whether a process exists and is not just waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


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
        assert status["status"] == "succeeded"
        listed = client.get(f"{path}/images?limit=200").json()["images"]
        failed = [image for image in listed if image["status"] == "failed"]
        assert [(image["name"], image["error"]["code"]) for image in failed] == [
            ("bad.png", "crashed")
        ]
        assert not (service.data / "results" / status["id"] / failed[0]["image"]).exists()
        assert (faults / "crashed").exists()
        assert [line["message"] for line in service.lines()].count("worker ready") == 1


def test_a_cancel_and_the_end_cut_off_what_hangs(
    tmp_path: Path, model_folder: Path, faults: Path
) -> None:
    (faults / "gate").touch()
    images = {f"{n}.png": picture(n) + b"#wait" for n in range(4)}
    with running(tmp_path, model_folder, grace_s=1) as service:
        client, path = service.client(), submit(service, images)
        pids = wait_for(lambda: two(hanging(faults)), why="both slots hang")
        started = time.monotonic()
        assert client.delete(path).json()["status"] == "cancelled"
        wait_for(lambda: not any(alive(pid) for pid in pids), why="killed")
        took_s = time.monotonic() - started
        wait_for(lambda: not any((service.data / "work").iterdir()), why="nothing is worked on")
        assert hanging(faults) == pids  # what waited was never begun
        print(f"cancelled in {took_s:.2f} s")
        assert took_s < 2
        assert client.get(path).json()["counts"]["cancelled"] == 4
        assert not (service.data / "results" / path.rpartition("/")[2]).exists()

        assert client.post(f"{path}/retry").status_code == 200
        pids = wait_for(lambda: two(hanging(faults) - pids), why="both slots hang again")
        started = time.monotonic()
        assert service.end(signal.SIGTERM) == 0
        print(f"ended in {time.monotonic() - started:.2f} s, 1 s of grace")
        wait_for(lambda: not any(alive(pid) for pid in pids), why="nothing goes on")
    (faults / "gate").unlink()
    with running(tmp_path, model_folder) as service:
        status = finished(service.client(), path)
        assert (status["status"], status["counts"]["succeeded"]) == ("succeeded", 4)


def test_a_signal_to_end_lets_running_images_finish(
    tmp_path: Path, model_folder: Path, faults: Path
) -> None:
    (faults / "gate").touch()
    with running(tmp_path, model_folder, grace_s=60) as service:
        submit(service, {f"{n}.png": picture(n) + b"#wait" for n in range(2)})
        wait_for(lambda: two(hanging(faults)), why="both slots hang")
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "worker draining" in service.log.read_text(), why="draining")
        (faults / "gate").unlink()
        assert service.process.wait(60) == 0
    engine = open_database(Settings(data=service.data))
    with engine.connect() as db:
        ended = db.execute(select(tasks.c.state, tasks.c.attempts)).all()
    engine.dispose()
    assert ended == [("succeeded", 1), ("succeeded", 1)]
