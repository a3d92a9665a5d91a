"""Behind a proxy: below a path, with the headers it sends by default, by the docs' own lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient
from service_process import Service, finished, free_port, wait_for
from test_uploads import TUS, metadata
from tiny_model import picture

from crackseg.errors import ConfigError
from service.app import create_app
from service.paths import clean_prefix, inner_path
from service.settings import Settings

ROOT = Path(__file__).parent.parent.parent
NGINX = shutil.which("nginx") or next((p for p in ("/usr/sbin/nginx",) if Path(p).exists()), None)
CADDY = shutil.which("caddy")
needs_nginx = pytest.mark.skipif(not NGINX, reason="no nginx")
needs_caddy = pytest.mark.skipif(not CADDY, reason="no caddy")


def block(kind: str) -> str:
    """Return an example of the documentation."""
    text = (ROOT / "docs/service.md").read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text, flags=re.S)[0]


@contextmanager
def nginx(folder: Path, location: str, body: str) -> Iterator[str]:
    """Run nginx with one location and give its address."""
    port = free_port()
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/tmp_{name};\n" for name in names)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "worker_processes 1; events { worker_connections 64; }\n"
        f"http {{ access_log off; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; location {location} {{ {body} }} }} }}\n"
    )
    command = [str(NGINX), "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with answering(command, folder, f"http://127.0.0.1:{port}{location.rstrip('/')}") as url:
        yield url


@contextmanager
def caddy(folder: Path, site: str) -> Iterator[str]:
    """Run Caddy with what one site holds and give the site's address."""
    port = free_port()
    text = f"{{\n admin off\n}}\nhttp://127.0.0.1:{port} {{\n{site}\n}}\n"
    (folder / "Caddyfile").write_text(text)
    command = [str(CADDY), "run", "--config", str(folder / "Caddyfile")]
    with answering(command, folder, f"http://127.0.0.1:{port}/cracks") as url:
        yield url


@contextmanager
def answering(command: list[str], folder: Path, url: str) -> Iterator[str]:
    """Run a proxy as long as it is needed; give its address when the service answers there."""
    log = folder / "proxy.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, env={**os.environ, "HOME": str(folder)})

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(answers, why=command[0])
        yield url
    finally:
        process.terminate()
        process.wait(60)


def links_of(page: str) -> set[str]:
    """Return the addresses that a page names."""
    return set(re.findall(r'(?:href|src|action|data-root|data-base)="(/[^"]*)"', page))


def put_survey(client: Any, prefix: str, image: bytes) -> str:
    """Create a survey of one image below a prefix and return its path."""
    made = client.post(f"{prefix}/v1/surveys", json={"name": "face"})
    survey = str(made.headers["location"])
    assert client.put(f"{survey}/images/a.png", content=image).status_code == 201
    return survey


def walk(client: Any, prefix: str) -> None:
    """Upload, analyze, judge and look at everything below a prefix."""
    survey = put_survey(client, prefix, picture(1))
    assert survey.startswith(f"{prefix}/v1/surveys/")
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]["links"]
    assert client.get(image["photo.jpg"]).status_code == 200
    url = f"{image['self']}/cracks/1/verdict"
    assert client.put(url, json={"verdict": "reject"}).status_code == 200
    identity = survey.rpartition("/")[2]
    pages = [f"{prefix}/", f"{prefix}/login", f"{prefix}/surveys/{identity}"]
    pages.append(f"{prefix}/surveys/{identity}/images/{image['self'].rpartition('/')[2]}")
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, page
        addresses = links_of(answer.text) - {prefix}
        assert len(addresses) > 2
        for address in addresses:
            assert address.startswith(f"{prefix}/"), (page, address)
            if "logout" not in address:
                assert client.head(address).status_code == 200, (page, address)
    signed = client.post(f"{prefix}/logout")
    assert signed.headers["location"] == f"{prefix}/login"
    assert client.get(f"{prefix}/v1/ogc").json()["links"][0]["href"].startswith(f"{prefix}/")
    listed = client.get(f"{prefix}/v1/surveys?limit=1")
    if "next" in listed.links:
        assert listed.links["next"]["url"].startswith(f"{prefix}/")
    assert client.delete(survey).status_code == 204


def at(url: str, **headers: str) -> Any:
    """Return a client that asks for whole paths at the host of an address."""
    parts = urlsplit(url)
    return httpx.Client(base_url=f"{parts.scheme}://{parts.netloc}", headers=headers, timeout=60)


@needs_nginx
def test_the_documented_nginx_serves_everything_below_its_path(
    service: Service, tmp_path: Path
) -> None:
    example = block("nginx")
    location, body = re.findall(r"location (\S+) \{(.*?)\n    \}", example, flags=re.S)[0]
    body = body.replace("http://127.0.0.1:8000", service.url)
    with nginx(tmp_path, location, body) as url, at(url) as client:
        host = urlsplit(url).netloc
        client.headers["Origin"] = f"http://{host}"
        walk(client, "/cracks")
        large = picture(1, height=1400, width=1200)
        assert len(large) > 2**20
        survey = put_survey(client, "/cracks", large)
        assert client.delete(survey).status_code == 204
        foreign = client.post("/cracks/v1/surveys", json={"name": "x"},
                              headers={"Origin": "http://evil.example"})  # fmt: skip
        assert foreign.status_code == 403


@needs_nginx
def test_a_proxy_with_default_headers_lets_pages_work(service: Service, tmp_path: Path) -> None:
    with nginx(tmp_path, "/", f"proxy_pass {service.url};") as url:
        origin = f"http://{urlsplit(url).netloc}"  # the service is asked for by another host
        for relation, status in (("same-origin", 201), ("cross-site", 403), ("same-site", 403)):
            with at(url, Origin=origin, **{"Sec-Fetch-Site": relation}) as client:
                answer = client.post("/v1/surveys", json={"name": "face"})
                assert answer.status_code == status, relation
        with at(url, Origin=origin) as client:
            answer = client.post("/v1/surveys", json={"name": "face"})
            assert (answer.status_code, "Host" in answer.json()["detail"]) == (403, True)


@needs_caddy
def test_the_documented_caddy_serves_everything_below_its_path(
    service: Service, tmp_path: Path
) -> None:
    body = re.findall(r"^dam.example \{\n(.*)^\}", block("caddyfile"), flags=re.S | re.M)[0]
    site = body.replace("127.0.0.1:8000", urlsplit(service.url).netloc)
    with caddy(tmp_path, site) as url, at(url) as client:
        client.headers["Origin"] = f"http://{urlsplit(url).netloc}"
        walk(client, "/cracks")
        foreign = client.post("/cracks/v1/surveys", json={"name": "x"},
                              headers={"Origin": "http://evil.example"})  # fmt: skip
        assert foreign.status_code == 403


@needs_caddy
def test_the_documented_caddyfile_is_valid(tmp_path: Path) -> None:
    (tmp_path / "Caddyfile").write_text(block("caddyfile"))
    command = [str(CADDY), "validate", "--config", str(tmp_path / "Caddyfile")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("keeps_path", [True, False])
def test_a_path_of_the_settings_is_taken_off_or_not(tmp_path: Path, keeps_path: bool) -> None:
    app = create_app(Settings(data=tmp_path, root_path="/dam/cracks/"))
    client = TestClient(app, base_url="http://127.0.0.1")
    path = "/dam/cracks/v1/surveys" if keeps_path else "/v1/surveys"
    made = client.post(path, json={"name": "face"})
    assert (made.status_code, made.headers["location"][:23]) == (201, "/dam/cracks/v1/surveys/")
    tus = {**TUS, "Upload-Length": "9"}
    tus["Upload-Metadata"] = metadata(survey=made.json()["id"], filename="a.png")
    begun = client.post(path.replace("surveys", "uploads"), headers=tus)
    assert begun.headers["location"].startswith("/dam/cracks/v1/uploads/")
    assert client.head(begun.headers["location"], headers=TUS).headers["upload-offset"] == "0"
    servers = client.get("/openapi.json").json()["servers"]
    assert servers == [{"url": "/dam/cracks"}]
    app.state.engine.dispose()


def test_a_prefix_is_a_plain_path(tmp_path: Path) -> None:
    for text, clean in (("/cracks/", "/cracks"), ("", ""), ("/", ""), ("/a/b-c.d", "/a/b-c.d")):
        assert clean_prefix(text) == clean
    for text in (
        "cracks",
        "//evil.example",
        "/a//b",
        "/a b",
        '/"onclick=x',
        "/a\r\nb",
        "https://x",
    ):
        assert clean_prefix(text) is None
        if text:
            with pytest.raises(ConfigError, match="root_path"):
                Settings(data=tmp_path, root_path=text)
    assert inner_path("/cracksfield/x", "/cracks") == "/cracksfield/x"
    app = create_app(Settings(data=tmp_path))
    client = TestClient(app, base_url="http://127.0.0.1")
    page = client.get("/", headers={"X-Forwarded-Prefix": "//evil.example"})
    assert "evil" not in page.text
    app.state.engine.dispose()
