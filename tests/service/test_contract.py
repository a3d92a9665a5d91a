"""What the OpenAPI document promises is what the service does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from service_process import Service


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


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_requests_keep_to_the_document(service: Service) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    hypothesis = pytest.importorskip("hypothesis")
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    machine = schema.as_state_machine()
    machine.run(
        settings=hypothesis.settings(
            max_examples=30,
            deadline=None,
            stateful_step_count=8,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    text = service.log.read_text(encoding="utf-8")
    failed = [json.loads(line) for line in text.splitlines() if '"level": "error"' in line]
    assert failed == []
