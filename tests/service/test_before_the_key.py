"""What a stranger can reach: nothing of a body is taken before the key, the page, the limit."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from service_process import Service, finished, running
from test_access import fill, operations
from tiny_model import picture

from service.app import create_app
from service.database import open_database
from service.keys import add
from service.settings import Settings

MB = 2**20
BODIES = {  # route -> kind of body; each is one that a keyless client may try
    "POST /v1/surveys": "application/json",
    "POST /v1/surveys/x/execution": "application/json",
    "POST /v1/ogc/processes/crack-segmentation/execution": "application/json",
    "PUT /v1/jobs/x/images/y/cracks/1/verdict": "application/json",
    "POST /v1/jobs/x/retry": "application/json",
    "POST /v1/analyses": "multipart/form-data; boundary=x",
    "PUT /v1/surveys/x/images/a.png": "image/png",
    "PATCH /v1/uploads/x": "application/offset+octet-stream",
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Any]:
    """A service with a key."""
    folder = tmp_path_factory.mktemp("keyed")
    engine = open_database(Settings(data=folder / "data"))
    key = add(engine, "dam", "owner", ("read", "write"))
    engine.dispose()
    with running(folder, model_folder) as started:
        yield started, key


def resident_mb(pid: int) -> float:
    """Return the memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


class Watch:
    """Looks at a server's memory, and at how long it takes to say that it lives."""

    def __init__(self, service: Service) -> None:
        self.pid, self.address = service.process.pid, urlsplit(service.url).netloc
        self.peak_mb = self.longest_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            started = time.monotonic()
            with closing(http.client.HTTPConnection(self.address, timeout=60)) as client:
                client.request("GET", "/healthz")
                assert client.getresponse().status == 200
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            self.peak_mb = max(self.peak_mb, resident_mb(self.pid))


def raw(service: Service, head: str, body: bytes = b"") -> bytes:
    """Send bytes and return the start of the answer."""
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname, url.port), timeout=60) as line:
        line.sendall(head.encode() + body)
        return line.recv(65536)


def status_of(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])


def send(service: Service, route: str, kind: str, size: int, key: str = "") -> int:
    """Send a body of spaces and lists and return the status of the answer."""
    method, path = route.split(" ")
    address = urlsplit(service.url).netloc
    body = b"[" + b"{}," * (size // 3) + b"{}]"
    headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {key}"} if key else {})
    with closing(http.client.HTTPConnection(address, timeout=120)) as client:
        client.request(method, path, body, headers)
        return client.getresponse().status


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_many_large_bodies_without_a_key_cost_nothing(keyed: Any) -> None:
    service, _ = keyed
    routes = [route for route in BODIES for _ in range(7)][:50]
    before = resident_mb(service.process.pid)
    with Watch(service) as watch, ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda r: send(service, r, BODIES[r], 50 * MB), routes))
    assert set(statuses) == {401}
    assert watch.peak_mb < before + 60
    assert watch.longest_s < 5  # one second on a machine of one's own


@pytest.mark.parametrize("route", BODIES)
def test_the_answer_comes_before_the_body(keyed: Any, route: str) -> None:
    service, key = keyed
    method, path = route.split(" ")
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {BODIES[route]}\r\n"
    for length in ("Content-Length: 50000000", "Transfer-Encoding: chunked"):
        answer = raw(service, f"{head}{length}\r\nExpect: 100-continue\r\n\r\n")
        assert status_of(answer) == 401, answer  # and not 100
        assert status_of(raw(service, f"{head}{length}\r\n\r\n")) == 401
        foreign = f"{head}{length}\r\nAuthorization: Bearer {key}\r\nOrigin: http://evil.example"
        assert status_of(raw(service, f"{foreign}\r\n\r\n")) == 403


@pytest.mark.parametrize("route", [r for r, kind in BODIES.items() if "json" in kind])
def test_what_is_no_image_is_small(keyed: Any, route: str) -> None:
    service, key = keyed
    assert send(service, route, "application/json", 2 * MB, key) == 413
    method, path = route.split(" ")
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * MB + b"\r\n"
    assert status_of(raw(service, head, chunk + chunk)) == 413


def test_a_large_name_is_refused_where_no_key_is_needed(service: Service) -> None:
    address = urlsplit(service.url).netloc
    before = resident_mb(service.process.pid)
    with Watch(service) as watch, closing(http.client.HTTPConnection(address)) as client:
        name = b'{"name": "' + b"x" * (40 * MB) + b'"}'
        client.request("POST", "/v1/surveys", name, {"Content-Type": "application/json"})
        assert client.getresponse().status == 413
    with Watch(service) as second, closing(http.client.HTTPConnection(address)) as client:
        form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="' + name + b'"\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        client.request("POST", "/v1/analyses", form, kind)
        assert client.getresponse().status == 400
    assert max(watch.peak_mb, second.peak_mb) < before + 60


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_sign_in_and_out_take_a_small_body_from_their_own_page(keyed: Any, path: str) -> None:
    service, key = keyed
    client = service.client()
    assert client.post(path, data={"key": "x" * MB}).status_code == 413
    good = {"key": key}
    own = urlsplit(service.url).netloc
    for headers, allowed in (
        ({}, True), ({"Origin": f"http://{own}"}, True), ({"Origin": "null"}, False),
        ({"Origin": "http://evil.example"}, False), ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://dam.example"}, True),
        ({"Sec-Fetch-Site": "none", "Origin": "http://evil.example"}, False),
    ):  # fmt: skip
        answer = client.post(path, data=good, headers=headers)
        client.cookies.clear()
        assert answer.status_code == (303 if allowed else 403), headers
        assert ("set-cookie" in answer.headers) == allowed, headers


def test_every_change_looks_at_the_page_that_sent_it(service: Service) -> None:
    names = ("survey_id", "job_id", "analysis_id", "image_id", "process_id", "upload_id", "edit_id")
    values = dict.fromkeys((*names, "name"), "x")
    app = create_app(Settings(data=service.data))
    client = service.client(headers={"Origin": "http://evil.example"})
    changing = [(m, p) for m, p in operations(app) if m not in ("GET", "HEAD", "OPTIONS")]
    app.state.engine.dispose()
    assert len(changing) > 15
    for method, template in changing:
        answer = client.request(method, fill(template, {**values, "crack_id": "1"}))
        assert answer.status_code == 403, (method, template)


def test_a_silent_sender_is_cut_off(tmp_path: Path, model_folder: Path) -> None:
    with running(tmp_path, model_folder, body_pause_s=0.3) as service:
        head = "POST /v1/surveys HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"
        assert status_of(raw(service, head, b'{"n')) == 408


def test_the_data_folder_is_private_also_when_it_was_not(
    tmp_path: Path, model_folder: Path
) -> None:
    old = os.umask(0o022)
    try:
        with running(tmp_path, model_folder) as service:
            client = service.client()
            done = client.post("/v1/analyses", content=picture(1)).headers["location"]
            finished(client, done)
            assert open_to_others(service.data) == []
        for path in (service.data, *service.data.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert len(open_to_others(service.data)) > 10
        with running(tmp_path, model_folder) as service:
            assert open_to_others(service.data) == []
    finally:
        os.umask(old)


def open_to_others(data: Path) -> list[str]:
    """Return what somebody else may read, with its rights."""
    paths = []
    for path in (data, *data.rglob("*")):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & 0o077:
            paths.append(f"{mode & 0o777:o} {path}")
    return paths


def test_countless_segments_hold_nobody_up(service: Service) -> None:
    small, file = picture(1), io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), 180, np.uint8)).save(file, "JPEG")
    bomb = file.getvalue()[:2] + b"\xff\xfe\x00\x02" * 5_000_000 + file.getvalue()[2:]
    client = service.client()
    assert client.post("/v1/analyses", content=small).status_code == 202  # processes are warm
    started = time.monotonic()
    answer = client.post("/v1/analyses", content=bomb)
    assert (answer.status_code, answer.json()["title"]) == (422, "Image unusable")
    assert time.monotonic() - started < 10  # it took 20 s and more; one second when alone
    assert client.post("/v1/analyses", content=small).status_code == 202
