"""A tus client of others sends to the live service over a line that breaks."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from service_process import Service
from tiny_model import picture

tusclient = pytest.importorskip("tusclient.client")


@contextmanager
def breaking_line(url: str, budgets: list[int]) -> Iterator[tuple[str, list[int]]]:
    """Pass connections on to a service; each cuts after its budget of bytes sent, the last never.

    Yields:
        The address of the line, and the bytes that each cut connection let through.
    """
    target = (urlsplit(url).hostname, urlsplit(url).port)
    cuts: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(far: socket.socket, near: socket.socket) -> None:
        with closing(far), closing(near):
            try:
                while data := far.recv(65536):
                    near.sendall(data)
            except OSError:
                return

    def carry(near: socket.socket) -> None:
        far = socket.create_connection(target)
        threading.Thread(target=answer, args=(far, near), daemon=True).start()
        passed = 0
        try:
            while data := near.recv(4096):
                far.sendall(data)
                passed += len(data)
                if budgets and passed > budgets[0]:
                    budgets.pop(0)
                    cuts.append(passed)
                    for line in (near, far):
                        line.shutdown(socket.SHUT_RDWR)
                    return
        except OSError:
            return

    def listen() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(near,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", cuts
    finally:
        listener.close()


def new_survey(service: Service) -> tuple[Any, str]:
    """Return a client and the path of a new survey."""
    client = service.client()
    return client, client.post("/v1/surveys", json={"name": "far"}).headers["location"]


def stored(client: Any, survey: str) -> list[tuple[str, str]]:
    """Return names and digests of a survey's images."""
    images = client.get(f"{survey}/images").json()["images"]
    return [(image["name"], image["sha256"]) for image in images]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph of half a megabyte or more."""
    path = tmp_path / "far.png"
    path.write_bytes(picture(1, height=500, width=700))
    assert path.stat().st_size > 500_000
    return path


def test_a_client_goes_on_after_the_line_broke(service: Service, photo: Path) -> None:
    client, survey = new_survey(service)
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    metadata = {"survey": survey.rpartition("/")[2], "filename": "far.png", "sha256": digest}
    line = breaking_line(service.url, [200_000, 150_000])
    with line as (url, cuts), photo.open("rb") as stream:
        sender = tusclient.TusClient(f"{url}/v1/uploads").uploader(
            file_stream=stream, metadata=metadata, retries=200, retry_delay=0.05
        )
        sender.upload()
    assert len(cuts) == 2
    assert sender.offset == photo.stat().st_size
    assert stored(client, survey) == [("far.png", digest)]


def test_a_client_that_ended_goes_on_in_another(service: Service, photo: Path) -> None:
    client, survey = new_survey(service)
    digest, size = hashlib.sha256(photo.read_bytes()).hexdigest(), photo.stat().st_size
    metadata = {"survey": survey.rpartition("/")[2], "filename": "far.png"}
    tus = tusclient.TusClient(f"{service.url}/v1/uploads")
    with photo.open("rb") as stream:
        first = tus.uploader(file_stream=stream, metadata=metadata, chunk_size=size // 5)
        first.upload(stop_at=2 * (size // 5))
        assert stored(client, survey) == []
        second = tus.uploader(file_stream=stream, url=first.url)
        assert second.offset == 2 * (size // 5)  # the service said so
        second.upload()
    assert stored(client, survey) == [("far.png", digest)]
