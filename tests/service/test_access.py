"""Who may see what: every route of the application x every kind of key."""

from __future__ import annotations

import base64
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

from service.app import create_app
from service.database import open_database
from service.files import ImageFile, JobFile
from service.keys import add, revoke
from service.settings import Settings

OPEN = {  # what anybody may know
    "/healthz", "/readyz", "/v1/ogc", "/v1/ogc/conformance", "/v1/ogc/processes",
    "/v1/ogc/processes/{process_id}",
    "/openapi.json", "/docs", "/login", "/logout",
}  # fmt: skip
TUS = {"Tus-Resumable": "1.0.0"}
NOTHING_TO_DO = {  # requests of the right key that are understood and have no object
    ("POST", "/v1/jobs/{job_id}/retry"), ("DELETE", "/v1/surveys/{survey_id}/images/{name}"),
    ("DELETE", "/v1/jobs/{job_id}/images/{image_id}/corrections/{edit_id}"),
}  # fmt: skip


def operations(app: Any) -> list[tuple[str, str]]:
    """Return method and template of every route, documented or not."""
    from fastapi.routing import iter_route_contexts

    routes, mounts = [], []
    for route in iter_route_contexts(app.routes):
        for method in sorted((route.methods or set()) - {"HEAD"}):
            routes += [(method, path) for path in each_file(route.path.replace(":filename", ""))]
        if route.methods == {"HEAD"}:
            routes.append(("HEAD", route.path))
        if not route.methods:
            mounts.append(route.path)
    assert mounts == ["/static"]
    # What deletes comes last, the smaller things first.
    return sorted(routes, key=lambda one: (one[0] == "DELETE", "survey_id" in one[1], -len(one[1])))


def each_file(template: str) -> list[str]:
    """Return a route's template for every file that it gives."""
    files = JobFile if template == "/v1/jobs/{job_id}/{file}" else ImageFile
    return [template.replace("{file}", name) for name in files] if "{file}" in template else [
        template
    ]  # fmt: skip


def fill(template: str, values: dict[str, str]) -> str:
    """Return the path of a template; a parameter that nobody has heard of is an error."""
    return re.sub(r"{(\w+)}", lambda match: values[match[1]], template)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Any]:
    """A service with keys of two tenants, and what one of them owns."""
    folder = tmp_path_factory.mktemp("guarded")
    settings = Settings(data=folder / "data")
    routes = operations(create_app(settings))
    engine = open_database(settings)
    every = ("read", "write", "metrics")
    keys = {
        "right": add(engine, "dam", "owner", every),
        "other": add(engine, "quarry", "stranger", every),
        "reader": add(engine, "dam", "reader", ("read",)),
        "revoked": add(engine, "dam", "left", every),
    }
    keys["wrong"] = keys["right"][:-4] + ("AAAA" if not keys["right"].endswith("AAAA") else "BBBB")
    revoke(engine, keys["revoked"].split("_")[1])
    engine.dispose()
    with running(folder, model_folder) as started:
        owner = started.client(headers={"Authorization": f"Bearer {keys['right']}"})
        survey = make_survey(owner, {"a.png": picture(1)}, name="secret-face-of-the-dam")
        job = owner.post(f"{survey}/execution", json={}).headers["location"]
        analysis = owner.post("/v1/analyses", content=picture(1)).headers["location"]
        finished(owner, job)
        finished(owner, analysis)
        values = {
            "survey_id": survey.rpartition("/")[2],
            "job_id": job.rpartition("/")[2],
            "analysis_id": analysis.rpartition("/")[2],
            "image_id": owner.get(f"{survey}/images").json()["images"][0]["id"],
            "crack_id": "1",
            "name": "a.png",
            "process_id": "crack-segmentation",
            "edit_id": "00000000-0000-7000-8000-000000000000",
            **dict.fromkeys(("level", "col", "row"), "0"),
        }
        upload = owner.post("/v1/uploads", headers=tus_headers(values)).headers["location"]
        yield started, keys, {**values, "upload_id": upload.rpartition("/")[2]}, routes


def tus_headers(values: dict[str, str]) -> dict[str, str]:
    """Return the headers that begin or go on with an upload."""
    pairs = {"survey": values["survey_id"], "filename": "far.png"}
    parts = [f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items()]
    return {**TUS, "Upload-Length": "5", "Upload-Metadata": ",".join(parts), "Upload-Offset": "0"}


def call(client: Any, method: str, template: str, values: dict[str, str], key: str | None) -> Any:
    """Send a request that is valid for the right key."""
    name = template.replace("{name}", "a.png") if "images" in template else template
    path = fill(name.replace("models/{name}", "models/default"), values)
    headers = tus_headers(values) if "/uploads" in path else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    if (method, template) in {
        ("PUT", "/v1/surveys/{survey_id}/images/{name}"), ("POST", "/v1/analyses"),
    }:  # fmt: skip
        return client.request(method, path, headers=headers, content=picture(1))
    if method == "PATCH":
        headers["Content-Type"] = "application/offset+octet-stream"
        return client.request(method, path, headers=headers, content=b"x")
    if path == "/login" and method == "POST":
        return client.post(path, data={"key": key or ""})
    if method not in ("POST", "PUT"):
        return client.request(method, path, headers=headers)
    body: dict[str, Any] = {}
    if template == "/v1/surveys":
        body = {"name": "mine"}
    elif template.endswith("facts"):
        body = {"toml": "dam = 'mine'"}
    elif template.endswith("verdict"):
        body = {"verdict": "accept"}
    elif template.endswith("corrections"):
        body = {"kind": "split", "point": [54, 100]}
    elif "processes" in template:
        body = {"inputs": {"survey": values["survey_id"]}}
    return client.request(method, path, headers=headers, json=body)


def tells(answer: Any, values: dict[str, str]) -> bool:
    """Return whether an answer holds something of the owner."""
    secrets = [value for value in values.values() if len(value) > 30] + ["secret-face"]
    text = f"{answer.text} {answer.headers.get('location', '').partition('?')[0]}"
    return any(secret in text for secret in secrets)


@pytest.mark.parametrize("identity", ["none", "wrong", "revoked"])
def test_without_a_valid_key_nothing_is_told(guarded: Any, identity: str) -> None:
    started, keys, values, routes = guarded
    client = started.client()
    refused = 0
    for method, template in routes:
        answer = call(client, method, template, values, keys.get(identity))
        client.cookies.clear()
        assert not tells(answer, values), (method, template)
        if template in OPEN or method == "OPTIONS":
            assert answer.status_code < 500, (method, template)
        elif template.startswith(("/v1/", "/metrics")):
            assert answer.status_code == 401, (method, template, answer.text)
            refused += 1
        else:  # a page leads to where a key is asked for
            assert answer.status_code == 303, (method, template, answer.text)
            assert answer.headers["location"].startswith("/login"), template
            refused += 1
    assert refused > 55


def test_what_belongs_to_others_does_not_exist(guarded: Any) -> None:
    started, keys, values, routes = guarded
    client = started.client()
    owned = 0
    for method, template in routes:
        answer = call(client, method, template, values, keys["other"])
        client.cookies.clear()
        assert not tells(answer, values), (method, template)
        names_object = re.search(r"{(survey|job|analysis|image|upload)_id}", template)
        by_body = template.endswith("/execution") or (method, template) == ("POST", "/v1/uploads")
        if names_object or by_body:
            assert answer.status_code == 404, (method, template, answer.text)
            owned += 1
    assert owned > 40


def test_a_reading_key_changes_nothing(guarded: Any) -> None:
    started, keys, values, routes = guarded
    client = started.client()
    for method, template in routes:
        answer = call(client, method, template, values, keys["reader"])
        client.cookies.clear()
        if template in OPEN or method == "OPTIONS":
            continue
        if method != "GET" or template in ("/metrics", "/status"):  # HEAD is a part of sending, too
            assert answer.status_code == 403, (method, template, answer.text)
        else:
            assert answer.status_code < 400, (method, template, answer.text)


def test_a_route_that_is_added_is_in_the_matrix(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    before = operations(app)
    app.add_api_route("/v1/forgotten/{survey_id}", lambda survey_id: survey_id, methods=["GET"])
    assert set(operations(app)) - set(before) == {("GET", "/v1/forgotten/{survey_id}")}
    with pytest.raises(KeyError, match="thing"):  # whose object it is must be said
        fill("/v1/forgotten/{thing}", {"survey_id": "x"})
    app.state.engine.dispose()


def test_pages_ask_for_the_key_and_keep_it_from_scripts(guarded: Any) -> None:
    started, keys, values, _ = guarded
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
    started, keys, _, _ = guarded
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


def test_the_right_key_opens_every_route(guarded: Any) -> None:  # the last one: it deletes
    started, keys, values, routes = guarded
    client = started.client()
    for method, template in routes:
        answer = call(client, method, template, values, keys["right"])
        client.cookies.clear()
        wanted = answer.status_code < 400
        if (method, template) in NOTHING_TO_DO:
            wanted = answer.status_code == 409
        assert wanted, (method, template, answer.text)
        if template.endswith("/execution"):
            finished(started.client(headers={"Authorization": f"Bearer {keys['right']}"}),
                     answer.headers["location"])  # fmt: skip
