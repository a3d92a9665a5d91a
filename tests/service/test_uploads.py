"""Resumable uploads, as a tus client speaks."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from service_process import Service
from tiny_model import picture

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> str:
    """Return an Upload-Metadata header."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


def begin(client: Any, sent: bytes, **more: str) -> tuple[str, str]:
    """Begin an upload into a new survey; return the paths of both."""
    survey = client.post("/v1/surveys", json={"name": "tus"}).headers["location"]
    text = metadata(survey=survey.rpartition("/")[2], filename="far.png", **more)
    headers = {**TUS, "Upload-Length": str(len(sent)), "Upload-Metadata": text}
    answer = client.post("/v1/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    return survey, answer.headers["location"]


def test_an_upload_goes_on_where_it_broke(client: Any) -> None:
    sent = picture(1)
    survey, upload = begin(client, sent, sha256=hashlib.sha256(sent).hexdigest())
    first = client.patch(upload, content=sent[:1000], headers={**BYTES, "Upload-Offset": "0"})
    assert (first.status_code, first.headers["upload-offset"]) == (204, "1000")
    wrong = client.patch(upload, content=sent[999:], headers={**BYTES, "Upload-Offset": "999"})
    assert (wrong.status_code, wrong.json()["title"]) == (409, "Offset")
    assert client.head(upload, headers=TUS).headers["upload-offset"] == "1000"
    rest = client.patch(upload, content=sent[1000:], headers={**BYTES, "Upload-Offset": "1000"})
    assert rest.status_code == 204, rest.text
    images = client.get(f"{survey}/images").json()["images"]
    assert [(i["name"], i["size_bytes"]) for i in images] == [("far.png", len(sent))]
    assert client.head(upload, headers=TUS).status_code == 404


def test_too_many_bytes_are_refused_and_forgotten(client: Any) -> None:
    sent = picture(1)
    _, upload = begin(client, sent)
    headers = {**BYTES, "Upload-Offset": "0"}
    assert client.patch(upload, content=sent + b"x", headers=headers).status_code == 413
    assert client.patch(upload, content=iter([sent, b"x"]), headers=headers).status_code == 413
    assert client.head(upload, headers=TUS).headers["upload-offset"] == "0"
    assert client.delete(upload, headers=TUS).status_code == 204


def test_a_wrong_digest_ends_the_upload(client: Any) -> None:
    sent = picture(1)
    survey, upload = begin(client, sent, sha256="0" * 64)
    answer = client.patch(upload, content=sent, headers={**BYTES, "Upload-Offset": "0"})
    assert (answer.status_code, answer.json()["title"]) == (422, "Digest differs")
    assert client.get(survey).json()["images"] == 0


def test_another_version_is_refused(client: Any) -> None:
    answer = client.post("/v1/uploads", headers={"Tus-Resumable": "0.2.0"})
    assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")
    assert client.options("/v1/uploads").headers["tus-extension"].startswith("creation")


def test_an_upload_that_the_service_died_on_is_completed(client: Any, service: Service) -> None:
    sent = picture(1)
    survey, upload = begin(client, sent)
    part = service.data / "parts" / upload.rpartition("/")[2]
    part.write_bytes(sent)  # all bytes had come when the process was killed
    assert client.get(survey).json()["images"] == 0
    answer = client.head(upload, headers=TUS)
    assert (answer.status_code, answer.headers["upload-offset"]) == (200, str(len(sent)))
    assert client.get(survey).json()["images"] == 1
    assert client.head(upload, headers=TUS).status_code == 404


def test_an_upload_says_what_it_will_be(client: Any) -> None:
    survey = client.post("/v1/surveys", json={"name": "tus"}).headers["location"]
    values = {"survey": survey.rpartition("/")[2], "filename": "far.png"}
    for length, more, status in (
        ("0", {}, 422), ("x", {}, 400), ("5", {"sha256": "beef"}, 422),
        ("5", {"survey": "other"}, 404), (str(10**12), {}, 413),
    ):  # fmt: skip
        headers = {**TUS, "Upload-Length": length, "Upload-Metadata": metadata(**values | more)}
        answer = client.post("/v1/uploads", headers=headers)
        assert answer.status_code == status, (length, more, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
