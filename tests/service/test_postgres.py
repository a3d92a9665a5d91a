"""The same service on PostgreSQL: roles apart, workers that adopt what a dead one left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from service_process import Service, free_port, running, wait_for
from test_faults import check_nothing_lost
from test_surveys import make_survey
from tiny_model import picture

TOOLS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if os.name == "posix" else []
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not TOOLS, reason="PostgreSQL's server is not installed"),
]


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a fresh database server; it refuses to run as root.

    Not below pytest's own folder: every new pytest of this user closes that one to others.
    """
    folder = Path(tempfile.mkdtemp(prefix="crackseg-postgres-"))
    user: dict[str, str] = {}
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        user = {"user": "postgres", "group": "postgres"}
    port, data = str(free_port()), folder / "data"
    init = [TOOLS[-1] / "initdb", "-D", data, "-U", "crackseg", "-A", "trust"]
    subprocess.run(init, check=True, capture_output=True, cwd=folder, **user)
    serve = [TOOLS[-1] / "postgres", "-D", data, "-p", port, "-k", folder]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(serve, stderr=log, cwd=folder, **user)
    ask = [TOOLS[-1] / "pg_isready", "-h", "127.0.0.1", "-p", port]

    def ready() -> bool:
        assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
        return subprocess.run(ask, capture_output=True, check=False).returncode == 0

    try:
        wait_for(ready, why="ready")
        yield f"postgresql://crackseg@127.0.0.1:{port}/postgres"
        assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder)


def start_worker(folder: Path, service: Service, database: str) -> subprocess.Popen[bytes]:
    """Start a worker beside a service."""
    command = [sys.executable, "-m", "crackseg.cli", "serve", "--role", "worker"]
    command += ["--data", str(service.data), "--db", database, "--model", str(service.model)]
    command += ["--config", str(folder / "settings.toml")]
    with service.log.open("ab") as log:
        return subprocess.Popen(command, stderr=log, stdout=log)


def test_a_dead_workers_images_are_done_by_another(
    tmp_path: Path, model_folder: Path, database: str
) -> None:
    images = {f"{n}.png": picture(n) for n in range(30)}
    arguments = ("--role", "api", "--db", database)
    with running(tmp_path, model_folder, *arguments) as service, ExitStack() as stack:
        workers = [start_worker(tmp_path, service, database) for _ in range(2)]
        for worker in workers:
            stack.callback(worker.wait)
            stack.callback(worker.kill)
        client = service.client()
        wait_for(lambda: client.get("/readyz").json().get("workers") == 2, why="two workers")
        path = client.post(f"{make_survey(client, images)}/execution", json={}).headers["location"]
        wait_for(lambda: client.get(path).json()["counts"]["succeeded"] >= 3, why="under way")
        workers[0].kill()
        wait_for(lambda: client.get(path).json()["finished"], deadline_s=600, why="finished")
        assert client.get(path).json()["counts"]["succeeded"] == len(images)


@pytest.mark.parametrize("kills", [20])
def test_kills_lose_nothing_on_postgres(
    tmp_path: Path, model_folder: Path, database: str, kills: int
) -> None:
    images: dict[str, Any] = {f"{n}.png": picture(n) for n in range(200)}
    with running(tmp_path, model_folder, "--db", database) as service:
        check_nothing_lost(service, images, kills=kills)
