"""The same service on PostgreSQL: roles apart, workers that adopt what a dead one left."""

from __future__ import annotations

import json
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
from test_faults import check_nothing_lost, compare_with_calm, submit, wait_for_share
from test_surveys import make_survey
from tiny_model import picture

TOOLS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if os.name == "posix" else []
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not TOOLS, reason="PostgreSQL's server is not installed"),
]


class Postgres:
    """A database server of its own, which refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, str(free_port())
        self.url = f"postgresql://crackseg@127.0.0.1:{self.port}/postgres"
        self.user: dict[str, str] = {}
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
            self.user = {"user": "postgres", "group": "postgres"}
        init = [TOOLS[-1] / "initdb", "-D", folder / "data", "-U", "crackseg", "-A", "trust"]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **self.user)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        serve = [TOOLS[-1] / "postgres", "-D", self.folder / "data", "-p", self.port]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*serve, "-k", self.folder], stderr=log, cwd=self.folder, **self.user
            )
        ask = [TOOLS[-1] / "pg_isready", "-h", "127.0.0.1", "-p", self.port]

        def ready() -> bool:
            self.check()
            return subprocess.run(ask, capture_output=True, check=False).returncode == 0

        wait_for(ready, why="ready")

    def check(self) -> None:
        """Assert that the server did not end by itself."""
        assert self.process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")

    def stop(self, number: int) -> None:
        """End the server by a signal."""
        self.process.send_signal(number)
        self.process.wait(60)


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A fresh database server.

    Not below pytest's own folder: every new pytest of this user closes that one to others.
    """
    folder = Path(tempfile.mkdtemp(prefix="crackseg-postgres-"))
    try:
        started = Postgres(folder)
        started.start()
        try:
            yield started
            started.check()
        finally:
            started.stop(signal.SIGINT)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(server: Postgres) -> str:
    """The address of a fresh database."""
    return server.url


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
        check_nothing_lost(service, images, kills, database)


def test_a_restart_of_the_database_loses_nothing(
    tmp_path: Path, model_folder: Path, server: Postgres
) -> None:
    images = {f"{n}.png": picture(n) for n in range(40)}
    with running(tmp_path, model_folder, "--db", server.url) as service:
        client, path = service.client(), submit(service, images)
        workers = set()
        for share in (0.1, 0.4):
            wait_for_share(client, path, share)
            workers.add(service.worker_pid())
            server.stop(signal.SIGQUIT)  # at once, as if it were killed
            answer = client.get(path)
            assert (answer.status_code, answer.json()["title"]) == (503, "Database away")
            server.start()
        wait_for_share(client, path, 1)
        assert workers == {service.worker_pid()}  # it took its lock anew
        lines = service.log.read_text(encoding="utf-8").splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines)
        assert len(lines) < 1000
        compare_with_calm(service, path, images, server.url)
