"""What goes wrong in the field: killed workers, slow senders, full disks, a signal to end."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from service_process import Service, finished, running, wait_for
from test_surveys import make_survey
from tiny_model import picture

from service.check import Findings, check
from service.files import ImageFile
from service.settings import Settings


def digests(service: Service, job: dict[str, Any]) -> dict[str, str]:
    """Return a digest per image and file of a job; times, which differ by nature, left out."""
    client, hashes = service.client(), {}
    cursor = ""
    while cursor is not None:
        page = client.get(f"/v1/jobs/{job['id']}/images?limit=200&cursor={cursor}").json()
        cursor = page["next"]
        for image in page["images"]:
            folder = service.data / "results" / job["id"] / image["image"]
            for path in sorted(folder.iterdir()):
                content = path.read_bytes()
                if path.name == "report.json":
                    report = json.loads(content)
                    del report["timing_s"]
                    content = json.dumps(report).encode()
                hashes[f"{image['name']}/{path.name}"] = hashlib.sha256(content).hexdigest()
    return hashes


def submit(service: Service, images: dict[str, bytes]) -> str:
    """Start the job of a new survey and return its path."""
    survey = make_survey(service.client(), images)
    answer = service.client().post(f"{survey}/execution", json={"mm_per_px": 0.5})
    return str(answer.headers["location"])


def kill_worker(service: Service, killed: set[int]) -> None:
    """Kill the living worker without warning."""
    pid = wait_for(lambda: service.worker_pid() not in killed and service.worker_pid())
    os.kill(pid, signal.SIGKILL)
    killed.add(pid)


def wait_for_share(client: Any, path: str, share: float) -> None:
    """Wait until a share of a job's images is done."""

    def reached() -> bool:
        counts = client.get(path).json()["counts"]
        return bool(counts["succeeded"] + counts["failed"] >= share * counts["total"])

    wait_for(reached, deadline_s=900, why=f"{share} of the images")


def check_nothing_lost(
    service: Service, images: dict[str, bytes], kills: int, database: str = ""
) -> None:
    """Assert that kills change nothing: no image lost or doubled, every byte as undisturbed."""
    client, rng, killed = service.client(), random.Random(7), set[int]()
    path = submit(service, images)
    for number in range(kills):
        wait_for_share(client, path, (number + rng.random()) * 0.9 / kills)
        kill_worker(service, killed)
    wait_for_share(client, path, 1)
    assert len(killed) == kills
    compare_with_calm(service, path, images, database)


def compare_with_calm(
    service: Service, path: str, images: dict[str, bytes], database: str = ""
) -> None:
    """Assert that a job's files are those of the same images analyzed undisturbed."""
    disturbed = finished(service.client(), path)
    assert disturbed["counts"]["succeeded"] == len(images), disturbed
    calm_path = submit(service, images)
    wait_for_share(service.client(), calm_path, 1)
    calm = finished(service.client(), calm_path)
    assert digests(service, disturbed) == digests(service, calm)
    folder = service.data / "results" / disturbed["id"]
    assert len(list(folder.iterdir())) == len(images)
    whole = {f"{name}/{file}" for name in images for file in ImageFile}
    assert whole <= digests(service, calm).keys()
    assert check(Settings(data=service.data, db=database)) == Findings([], [])


def test_a_kill_and_a_restart_lose_nothing(tmp_path: Path, model_folder: Path) -> None:
    images = {f"{n}.png": picture(n) for n in range(10)}
    with running(tmp_path, model_folder, grace_s=20) as service:
        client = service.client()
        path = submit(service, images)
        wait_for_share(client, path, 0.1)
        kill_worker(service, set())
        wait_for_share(client, path, 0.4)
        assert service.end(signal.SIGTERM) == 0
    with running(tmp_path, model_folder) as service:
        compare_with_calm(service, path, images)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_lose_nothing_of_200_images(tmp_path: Path, model_folder: Path) -> None:
    images = {f"{n}.png": picture(n) for n in range(200)}
    with running(tmp_path, model_folder) as service:
        check_nothing_lost(service, images, kills=20)


def test_half_open_requests_are_closed_and_harm_nobody(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    client, seconds = service.client(), []
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(400)
        ]
        for connection in sockets:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for _ in range(200):
            started = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            seconds.append(time.perf_counter() - started)
        for connection in sockets:
            connection.settimeout(60)
            try:
                assert connection.recv(1) == b""  # closed
            except ConnectionError:
                continue
    p99 = sorted(seconds)[int(0.99 * len(seconds))]
    print(f"health under 400 half-open requests: p99 {1000 * p99:.0f} ms")
    assert p99 < 0.5


def test_a_body_that_breaks_off_leaves_nothing(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    survey = make_survey(service.client(), {})
    head = f"PUT {survey}/images/a.png HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b"x" * 5000)
        parts = service.data / "parts"
        wait_for(lambda: any(parts.iterdir()), why="part file")
    wait_for(lambda: not any(parts.iterdir()), why="part file removed")


def test_too_large_bodies_are_refused_while_they_come(tmp_path: Path, model_folder: Path) -> None:
    with running(tmp_path, model_folder, max_image_mb=1) as service:
        client = service.client()
        survey = make_survey(client, {})
        big = b"\x89PNG\r\n\x1a\n" + os.urandom(2 * 1024 * 1024)
        for answer in (
            client.put(f"{survey}/images/a.png", content=big),
            client.post("/v1/analyses", content=iter([big[:900_000], big[900_000:]])),
            client.post("/v1/analyses", files={"image": ("a.png", big)}),
        ):
            assert (answer.status_code, answer.json()["title"]) == (413, "Image too large")
        assert not any((service.data / "parts").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder whose ``data`` is a disk of 64 MB."""
    data = tmp_path / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(data)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(data)], check=True)


def fill_disk(path: Path) -> None:
    """Write to a file until there is no room for anything."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))


@pytest.mark.slow
def test_a_full_disk_loses_nothing(small_disk: Path, model_folder: Path) -> None:
    images = {f"{n}.png": picture(n) for n in range(24)}
    with running(small_disk, model_folder, min_free_mb=8) as service:
        client = service.client()
        path = submit(service, images)
        wait_for_share(client, path, 0.1)
        ballast = service.data / "ballast"
        fill_disk(ballast)
        refused = wait_for(lambda: client.post("/v1/analyses", content=picture(1)))
        assert (refused.status_code, refused.json()["title"]) == (507, "Disk low")
        assert client.get("/readyz").status_code == 503
        wait_for(lambda: "work waits" in service.log.read_text(), why="the worker waits")
        ballast.unlink()
        wait_for_share(client, path, 1)
        assert finished(client, path)["counts"]["succeeded"] == len(images)
        assert client.post("/v1/analyses", content=picture(1)).status_code == 202
        assert check(Settings(data=service.data)) == Findings([], [])


@pytest.mark.slow
def test_uploads_do_not_grow_the_service(service: Service) -> None:
    """Four bodies of 200 MB at once; they are no images, so nothing is kept of them."""
    from concurrent.futures import ThreadPoolExecutor

    def resident_mb() -> float:
        pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1024**2

    def body() -> Any:
        for _ in range(200):
            yield b"\xff\xd8\xff" + bytes(1024 * 1024 - 3)

    client = service.client()
    client.post("/v1/analyses", content=picture(1))
    before, peak = resident_mb(), 0.0
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(client.post, "/v1/analyses", content=body(), timeout=600)
                for _ in range(4)]  # fmt: skip
        while not all(task.done() for task in sent):
            peak = max(peak, resident_mb())
            time.sleep(0.05)
    assert {task.result().status_code for task in sent} == {422}
    print(f"the service grew by {peak - before:.1f} MB from {before:.0f} MB")
    assert peak - before < 30
