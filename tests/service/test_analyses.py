"""One image in, one report out, over real sockets and processes."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from service_process import Service, finished
from tiny_model import picture


def test_a_raw_image_becomes_a_report(client: Any) -> None:
    sent = picture(1)
    answer = client.post("/v1/analyses?name=gallery.png&mm_per_px=0.5", content=sent)
    assert answer.status_code == 202
    assert answer.headers["location"] == answer.json()["links"]["self"]
    assert answer.headers["retry-after"] == "1"
    done = finished(client, answer.headers["location"])
    assert (done["status"], done["cracks"], done["image"]) == ("succeeded", 2, "gallery.png")

    report = client.get(done["links"]["report.json"]).json()
    assert report["image"]["sha256"] == hashlib.sha256(sent).hexdigest()
    assert report["image"]["path"] == "gallery.png"  # the name it came under, no path of ours
    assert report["scale"]["mm_per_px"] == 0.5
    assert all(crack["width_mean_px"] == pytest.approx(4, abs=1.0) for crack in report["cracks"])
    assert client.get(done["links"]["mask.png"]).content.startswith(b"\x89PNG")
    assert client.get(done["links"]["overlay.jpg"]).content.startswith(b"\xff\xd8\xff")
    assert len(client.get(done["links"]["cracks.csv"]).text.splitlines()) == 3
    assert len(client.get(done["links"]["cracks.geojson"]).json()["features"]) >= 2
    page = client.get(done["links"]["page.html"])
    assert "script" not in page.headers["content-security-policy"]


def test_a_form_works_like_a_raw_body(client: Any) -> None:
    form = {"mm_per_px": "0.25", "options": json.dumps({"min_length_px": 400})}
    files = {"image": ("wall.png", picture(2), "image/png")}
    answer = client.post("/v1/analyses", data=form, files=files)
    assert answer.status_code == 202, answer.text
    done = finished(client, answer.headers["location"])
    assert (done["image"], done["cracks"]) == ("wall.png", 0)  # no line is 400 px long


def test_files_have_an_etag_and_ranges(client: Any) -> None:
    done = finished(client, client.post("/v1/analyses", content=picture(3)).headers["location"])
    whole = client.get(done["links"]["overlay.jpg"])
    part = client.get(done["links"]["overlay.jpg"], headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    again = client.get(
        done["links"]["overlay.jpg"], headers={"If-None-Match": whole.headers["etag"]}
    )
    assert again.status_code == 304


def test_parallel_submits_with_one_key_are_one_analysis(service: Service) -> None:
    sent, headers = picture(4), {"Idempotency-Key": "fifty"}
    client = service.client()
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda _: client.post("/v1/analyses", content=sent, headers=headers), range(50)
            )
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = client.post("/v1/analyses", content=picture(5), headers=headers)
    assert (other.status_code, other.json()["title"]) == (422, "Idempotency conflict")
    assert finished(client, answers[0].headers["location"])["status"] == "succeeded"


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 422, "image-unusable"),
        (b"GIF89a" + bytes(40), 415, "unsupported-format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), 422, "image-unusable"),
        (b"\xff\xd8\xff\xe0" + bytes(40), 422, "image-unusable"),
    ],
)
def test_what_is_no_image_is_refused(
    client: Any, service: Service, content: bytes, status: int, kind: str
) -> None:
    answer = client.post("/v1/analyses?name=x.jpg", content=content)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"].endswith(kind)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert str(service.data) not in answer.text


def test_a_cut_image_fails_with_its_reason(client: Any) -> None:
    whole = picture(6, height=400, width=400)
    answer = client.post("/v1/analyses?name=cut.png", content=whole[: len(whole) // 2])
    if answer.status_code == 202:  # the header is good; the end is missed when it is decoded
        done = finished(client, answer.headers["location"])
        assert (done["status"], done["error"]["code"]) == ("failed", "image")
        missing = client.get(f"{answer.headers['location']}/report.json")
        assert (missing.status_code, missing.json()["title"]) == (409, "Result not ready")
    else:
        assert answer.status_code == 422


@pytest.mark.parametrize(
    "query", ["mm_per_px=-1", "mm_per_px=abc", "options={", "options=[]", 'options={"tile":1}']
)
def test_wrong_options_are_named(client: Any, query: str) -> None:
    answer = client.post(f"/v1/analyses?{query}", content=picture(1))
    assert answer.status_code == 422, answer.text
    assert answer.json()["title"] == "Invalid request"


def test_a_digest_is_compared(client: Any) -> None:
    sent = picture(1)
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    headers = {"Repr-Digest": f"sha-256=:{wrong}:"}
    answer = client.post("/v1/analyses", content=sent, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (422, "Digest differs")


def test_nothing_is_left_of_refused_bodies(service: Service) -> None:
    assert list((service.data / "parts").iterdir()) == []


def test_an_analysis_is_deleted_with_its_files(client: Any, service: Service) -> None:
    path = client.post("/v1/analyses", content=picture(7)).headers["location"]
    done = finished(client, path)
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    left = list(Path(service.data).rglob(f"*{done['id']}*"))
    assert left == []
