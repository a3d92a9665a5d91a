"""Who may see what: every route with no key, a wrong key, a reader's and another tenant's."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_process import Service, finished, running
from test_surveys import make_survey
from tiny_model import picture

from service.database import open_database
from service.keys import add, revoke
from service.settings import Settings

OPEN = {"/healthz", "/readyz", "/v1", "/v1/conformance", "/v1/processes",
        "/v1/processes/{process_id}"}  # fmt: skip
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Any]:
    """A service with keys of two tenants and what one of them owns."""
    folder = tmp_path_factory.mktemp("guarded")
    engine = open_database(Settings(data=folder / "data"))
    every = ("read", "write", "metrics")
    keys = {
        "right": add(engine, "dam", "owner", every),
        "other": add(engine, "quarry", "stranger", every),
        "reader": add(engine, "dam", "reader", ("read",)),
        "revoked": add(engine, "dam", "left", every),
    }
    revoke(engine, keys["revoked"].split("_")[1])
    engine.dispose()
    with running(folder, model_folder) as started:
        owner = started.client(headers={"Authorization": f"Bearer {keys['right']}"})
        survey = make_survey(owner, {"a.png": picture(1)})
        job = owner.post(f"{survey}/execution", json={}).headers["location"]
        analysis = owner.post("/v1/analyses", content=picture(1)).headers["location"]
        finished(owner, job)
        finished(owner, analysis)
        image = owner.get(f"{survey}/images").json()["images"][0]["id"]
        path_values = {
            "survey_id": survey.rpartition("/")[2],
            "job_id": job.rpartition("/")[2],
            "analysis_id": analysis.rpartition("/")[2],
            "image_id": image,
            "crack_id": "1",
            "name": "a.png",
            "upload_id": "00000000-0000-7000-8000-000000000000",
            "process_id": "crack-segmentation",
        }
        yield started, keys, path_values


def operations(client: Any, values: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return method, template and path of every documented operation."""
    found = []
    for template, methods in client.get("/openapi.json").json()["paths"].items():
        path = re.sub(r"{(\w+)}", lambda match: values[match[1]], template)
        found += [(method.upper(), template, path) for method in methods]
    return found


def call(client: Any, method: str, path: str, values: dict[str, str], key: str | None) -> Any:
    """Send a request that would be valid for the right key."""
    headers = {**TUS, "Upload-Length": "5"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    body: dict[str, Any] = {}
    if path.endswith("/images/a.png") or path == "/v1/analyses":
        return client.request(method, path, headers=headers, content=picture(1))
    if method == "PATCH":
        headers |= {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        return client.request(method, path, headers=headers, content=b"x")
    if path == "/v1/surveys" and method == "POST":
        body = {"name": "mine"}
    if path.endswith("verdict"):
        body = {"verdict": "accept"}
    if "processes" in path:
        body = {"inputs": {"survey": values["survey_id"]}}
    return client.request(method, path, headers=headers, json=body if method != "GET" else None)


@pytest.mark.parametrize("identity", ["none", "wrong", "revoked"])
def test_without_a_valid_key_nothing_is_told(guarded: Any, identity: str) -> None:
    started, keys, values = guarded
    client = started.client()
    wrong = keys["right"][:-4] + "AAAA"
    key = {"none": None, "wrong": wrong, "revoked": keys["revoked"]}[identity]
    for method, template, path in operations(client, values):
        answer = call(client, method, path, values, key)
        if template in OPEN or method == "OPTIONS":
            continue
        assert answer.status_code == 401, (method, path, answer.text)
        assert not any(value in answer.text for value in values.values() if len(value) > 30)


def test_what_belongs_to_others_does_not_exist(guarded: Any) -> None:
    started, keys, values = guarded
    client = started.client()
    owned = [
        (method, template, path)
        for method, template, path in operations(client, values)
        if "{" in template and "process" not in template and "models" not in template
    ]
    assert len(owned) > 30
    for method, _, path in owned:
        answer = call(client, method, path, values, keys["other"])
        assert answer.status_code == 404, (method, path, answer.text)
    for path in ("/v1/surveys", "/v1/jobs"):
        listed = call(client, "GET", path, values, keys["other"])
        assert (listed.status_code, values["job_id"] in listed.text) == (200, False)
    execution = call(
        client, "POST", "/v1/processes/crack-segmentation/execution", values, keys["other"]
    )
    assert execution.status_code == 404


def test_a_reading_key_changes_nothing(guarded: Any) -> None:
    started, keys, values = guarded
    client = started.client()
    for method, template, path in operations(client, values):
        if method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = call(client, method, path, values, keys["reader"])
            assert answer.status_code == 403, (method, template, answer.text)
    job = f"/v1/jobs/{values['job_id']}"
    assert call(client, "GET", job, values, keys["reader"]).status_code == 200
    assert call(client, "GET", "/metrics", values, keys["reader"]).status_code == 403


def test_pages_ask_for_the_key_and_keep_it_from_scripts(guarded: Any) -> None:
    started, keys, values = guarded
    client = started.client()
    sent_away = client.get(f"/surveys/{values['survey_id']}")
    assert (sent_away.status_code, sent_away.headers["location"][:6]) == (303, "/login")
    assert client.post("/login", data={"key": "ck_x"}).status_code == 401
    answer = client.post("/login", data={"key": keys["right"], "next": "//evil.example/"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get(f"/surveys/{values['survey_id']}").status_code == 200
    foreign = client.post(
        "/v1/surveys", json={"name": "x"}, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403


def test_logs_hold_no_key(guarded: Any) -> None:
    started, keys, _ = guarded
    text = started.log.read_text(encoding="utf-8")
    assert "/v1/jobs/{job_id}" in text
    assert not any(key.split("_", 2)[2] in text for key in keys.values())


def test_a_public_address_without_keys_is_refused(tmp_path: Path, model_folder: Path) -> None:
    command = [sys.executable, "-m", "crackseg.cli", "serve", "--host", "0.0.0.0", "--port", "0"]
    command += ["--data", str(tmp_path / "data"), "--model", str(model_folder)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 2
    assert "crackseg keys add" in answer.stderr


def test_a_foreign_host_name_is_refused_without_keys(service: Service) -> None:
    client = service.client()
    assert client.get("/v1/surveys", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
