"""What the OpenAPI document promises is what the service does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from service_process import finished, running
from tiny_model import picture

from service.database import open_database
from service.files import media_type
from service.keys import add
from service.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def test_every_operation_says_what_may_go_wrong(client: Any) -> None:
    document = client.get("/openapi.json").json()
    names = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names.add(operation["operationId"])
            assert operation.get("summary") or operation.get("description"), (method, path)
            for status, answer in operation["responses"].items():
                for media, content in answer.get("content", {}).items():
                    if int(status) >= 400:
                        assert media == "application/problem+json", (method, path, status)
                        assert content["example"]["status"] == int(status)
    assert len(names) == sum(len(methods) for methods in document["paths"].values())


def test_unknown_paths_and_methods_are_problems(client: Any) -> None:
    for method, path, status in (("GET", "/v1/nowhere", 404), ("DELETE", "/v1/surveys", 405)):
        answer = client.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_health_models_quota_and_metrics(client: Any) -> None:
    assert client.get("/readyz").json()["status"] == "ready"
    model = client.get("/v1/models").json()["models"][0]
    assert client.get(f"/v1/models/{model['name']}").json() == model
    assert client.get("/v1/models/other").status_code == 404
    assert client.get("/v1/quota").json()["max_image_mb"] == 512
    figures = client.get("/metrics").text
    assert re.search(
        r'crackseg_http_requests_total{method="GET",route="/readyz",status="200"} \d', figures
    )
    assert 'crackseg_jobs{state="running"}' in figures


def test_every_answer_has_safe_headers_and_an_id(client: Any) -> None:
    for path in ("/", "/v1/surveys", "/static/style.css", "/nowhere"):
        headers = client.get(path, headers={"X-Request-ID": "mine-1"}).headers
        assert headers["x-request-id"] == "mine-1"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
    assert client.get("/", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"


def test_pages_load_nothing_from_afar(client: Any) -> None:
    page = client.get("/").text
    assert re.findall(r'(?:src|href)="(?![/#])', page) == []
    assert "<script>" not in page


def test_every_example_is_one_that_its_schema_allows(client: Any) -> None:
    document = client.get("/openapi.json").json()
    shared = {"components": document["components"]}
    checked = set()
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            jsonschema.validate(example, schema | shared, jsonschema.Draft202012Validator)
            checked.add(name)
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    if int(status) >= 400:
                        schema = content["schema"] | shared
                        jsonschema.validate(content["example"], schema)
                        checked.add(status)
    assert {"Survey", "Job", "Task", "Analysis", "Verdict", "401", "409", "507"} <= checked


def test_a_file_of_each_kind_is_described(client: Any) -> None:
    document = client.get("/openapi.json").json()
    files = [path for path in document["paths"] if path.endswith("/{file}")]
    assert len(files) == 3
    for path in files:
        operation = document["paths"][path]["get"]
        named = next(p for p in operation["parameters"] if p["name"] == "file")["schema"]
        names = document["components"]["schemas"][named["$ref"].rpartition("/")[2]]["enum"]
        kinds = {media_type(name).partition(";")[0] for name in names}
        assert set(operation["responses"]["200"]["content"]) == kinds
    assert client.get("/v1/jobs/x/else.where").status_code == 422
    assert client.get("/v1/jobs/x/retry").status_code == 405
    assert client.get("/v1/jobs/x/elsewhere").status_code == 404


def test_a_mapping_can_be_deleted_without_touching_another_file(tmp_path: Path) -> None:
    for gone in ("ogc", "tus"):
        tree = tmp_path / gone
        shutil.copytree(ROOT / "service", tree / "service")
        (tree / "service" / "routes" / f"{gone}.py").unlink()
        code = (
            "import sys; from pathlib import Path; from service.app import create_app\n"
            "from service.settings import Settings\n"
            f"app = create_app(Settings(data=Path({str(tree / 'data')!r})))\n"
            "print(len(app.openapi()['paths']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{ROOT}"},
        )  # fmt: skip
        assert 20 < int(done.stdout) < 40, done.stdout


def test_every_link_leads_to_an_operation_and_its_parameters(client: Any) -> None:
    document = client.get("/openapi.json").json()
    operations = {o["operationId"]: o for ms in document["paths"].values() for o in ms.values()}
    linked = set()
    for operation in operations.values():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                target = operations[link["operationId"]]
                assert set(link["parameters"]) <= {p["name"] for p in target.get("parameters", [])}
                linked.add(link["operationId"])
    asking = {  # an upload's id comes with the header Location, which no expression takes apart
        name
        for name, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "path" and parameter["name"] != "upload_id"
    }
    assert asking <= linked, asking - linked


def test_errors_of_the_libraries_are_problems_too(client: Any) -> None:
    done = finished(client, client.post("/v1/analyses", content=picture(1)).headers["location"])
    mask = done["links"]["mask.png"]
    for sent in ("bytes=9-1", "bytes=99999999-", "lines=1-2", "bytes=0-1,4-5", "bytes=-0", "x"):
        answer = client.get(mask, headers={"Range": sent})
        assert answer.status_code == 416, sent
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["content-range"].startswith("bytes */")
    assert client.get(mask, headers={"Range": "bytes=-4"}).content[-4:] == b"\xaeB`\x82"
    assert client.get("/static/style.css", headers={"Range": "x"}).status_code == 200
    for path, body, kind in (
        ("/v1/surveys", b"{", "application/json"),
        ("/v1/surveys", b"[]", "application/json"),
        ("/v1/analyses", b"--x", "multipart/form-data; boundary=y"),
        ("/v1/analyses", b"--x", "multipart/form-data"),
    ):  # fmt: skip
        answer = client.post(path, content=body, headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), (path, body)
        assert answer.headers["content-type"] == "application/problem+json", (path, body)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(3600)
def test_random_requests_keep_to_the_document(tmp_path: Path, model_folder: Path) -> None:
    pytest.importorskip("schemathesis")
    engine = open_database(Settings(data=tmp_path / "data"))
    key = add(engine, "dam", "random", ("read", "write", "metrics"))
    engine.dispose()
    with running(tmp_path, model_folder) as service:
        client = service.client(headers={"Authorization": f"Bearer {key}"})
        done = client.post("/v1/analyses", content=picture(1)).headers["location"]
        assert finished(client, done)["status"] == "succeeded"
        command = [str(Path(sys.executable).with_name("schemathesis"))]
        command += ["--config-file", str(HERE / "schemathesis.toml"), "run"]
        command += [f"{service.url}/openapi.json", "-H", f"Authorization: Bearer {key}"]
        command += ["--max-examples", "30", "--seed", "1", "--continue-on-failure", "--no-color"]
        survey = client.post("/v1/surveys", json={"name": "random"}).json()["id"]
        variables = {
            "CRACKSEG_ANALYSIS": done.rpartition("/")[2], "CRACKSEG_SURVEY": survey,
            "SCHEMATHESIS_HOOKS": "random_requests", "PYTHONPATH": str(HERE),
        }  # fmt: skip
        run = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, check=False,
            env={**os.environ, **variables},
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-8000:]
        paths = client.get("/openapi.json").json()["paths"]
        assert f"Tested: {sum(map(len, paths.values()))}\n" in run.stdout
        assert not [line for line in service.lines() if line["level"] == "error"]
