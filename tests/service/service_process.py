"""Start and end the real service: processes on a free port of loopback, always ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEADLINE_S = 120.0  # generous: a busy machine starts processes slowly


def wait_for(what: Callable[[], Any], *, deadline_s: float = DEADLINE_S, why: str = "") -> Any:
    """Return the first true answer of ``what``, asked again and again until the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not reached in {deadline_s} s: {why or what}")
        time.sleep(0.05)


@dataclass
class Service:
    """A started service."""

    data: Path
    model: Path
    log: Path
    process: subprocess.Popen[bytes]
    url: str = ""
    clients: list[Any] = field(default_factory=list)

    def client(self, **options: Any) -> Any:
        """Return an HTTP client of this service."""
        import httpx

        client = httpx.Client(base_url=self.url, timeout=60, **options)
        self.clients.append(client)
        return client

    def lines(self) -> list[dict[str, Any]]:
        """Return the log."""
        records = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            if line.startswith("{"):
                records.append(json.loads(line))
        return records

    def worker_pid(self) -> int | None:
        """Return the process of the worker that became ready last."""
        ready = [line["pid"] for line in self.lines() if line["message"] == "worker ready"]
        return ready[-1] if ready else None

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the service and return its exit code."""
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@contextmanager
def running(folder: Path, model: Path, *arguments: str, **settings: Any) -> Iterator[Service]:
    """Start ``crackseg serve`` and wait until it is ready."""
    data = folder / "data"
    toml = folder / "settings.toml"
    values = {"min_free_mb": 1, "slots": 2, "threads": 1, "image_memory_mb": 6144, **settings}
    toml.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    log = folder / f"service-{len(list(folder.glob('*.log')))}.log"  # one per start
    command = [sys.executable, "-m", "crackseg.cli", "serve", "--data", str(data), "--port", "0"]
    command += ["--model", str(model), "--config", str(toml), *arguments]
    with log.open("ab") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)
    service = Service(data, model, log, process)

    def listening() -> str:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        return next((x["url"] for x in service.lines() if x["message"] == "listening"), "")

    try:
        service.url = wait_for(listening, why="listening")
        if "api" not in arguments:
            client = service.client()
            wait_for(lambda: client.get("/healthz").status_code == 200, why="alive")
        yield service
    finally:
        service.end()


def finished(client: Any, path: str) -> dict[str, Any]:
    """Return an analysis or a job when it is at its end."""

    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = client.get(path).json()
        done = body.get("finished_at") or body.get("finished")
        return body if done else None

    answer: dict[str, Any] = wait_for(look, why=f"{path} finished")
    return answer


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
