"""Surveys: images come one by one, are analyzed together, and leave as tables and a bundle."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from typing import Any

import pytest
from service_process import Service, finished, wait_for
from tiny_model import picture


def make_survey(client: Any, images: dict[str, bytes], name: str = "face") -> str:
    """Create a survey, put images into it and return its path."""
    path = client.post("/v1/surveys", json={"name": name}).headers["location"]
    for image, content in images.items():
        answer = client.put(f"{path}/images/{image}", content=content)
        assert answer.status_code == 201, answer.text
    return str(path)


def cut(image: bytes) -> bytes:
    """Return an image whose header is whole and whose end is missing."""
    return image[: len(image) * 3 // 4]


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, Any]:
    """A finished job of three images, one of them damaged."""
    client = service.client()
    whole = picture(8, height=400, width=500)
    survey = make_survey(
        client, {"a.png": picture(1), "=b.png": picture(2, lines=0), "c.png": picture(3)}
    )
    broken = client.put(f"{survey}/images/cut.png", content=cut(whole))
    assert broken.status_code in (201, 422)
    answer = client.post(f"{survey}/execution", json={"mm_per_px": 0.5})
    assert answer.status_code == 201, answer.text
    done = finished(client, answer.headers["location"])
    return {**done, "path": answer.headers["location"], "broken": broken.status_code == 201}


def test_putting_an_image_again_is_a_no_op(client: Any) -> None:
    sent = picture(1)
    survey = make_survey(client, {"a.png": sent})
    digest = base64.b64encode(hashlib.sha256(sent).digest()).decode()
    again = client.put(
        f"{survey}/images/a.png", content=sent, headers={"Repr-Digest": f"sha-256=:{digest}:"}
    )
    assert again.status_code == 200
    other = client.put(f"{survey}/images/a.png", content=picture(2))
    assert (other.status_code, other.json()["title"]) == (409, "Name taken")
    assert client.get(survey).json()["images"] == 1
    assert client.delete(f"{survey}/images/a.png").status_code == 204
    assert client.get(survey).json()["images"] == 0


def test_names_from_outside_stay_text(client: Any, service: Service) -> None:
    survey = client.post("/v1/surveys", json={"name": "../../x"}).headers["location"]
    for name in ("..%2F..%2Fetc%2Fpasswd", "%00x.png", "a%0d%0ab.png", "CON", "é" * 140):
        answer = client.put(f"{survey}/images/{name}", content=picture(1))
        assert answer.status_code in (201, 400, 404, 409, 422), (name, answer.text)
        if answer.status_code == 201:
            assert not set(answer.json()["name"]) & set("/\\\r\n\0")
    survey_id = survey.rpartition("/")[2]
    stored = {path.name for path in (service.data / "uploads" / survey_id).iterdir()}
    listed = client.get(f"{survey}/images").json()["images"]
    assert stored == {image["id"] for image in listed}


def test_a_body_without_length_is_refused(client: Any) -> None:
    survey = make_survey(client, {})
    answer = client.put(f"{survey}/images/a.png", content=iter([picture(1)]))
    assert (answer.status_code, answer.json()["title"]) == (411, "Length required")


def test_a_job_reports_every_image(client: Any, job: dict[str, Any]) -> None:
    assert job["status"] == "succeeded"
    assert job["counts"]["succeeded"] == 3
    assert job["counts"]["failed"] == int(job["broken"])
    listed = client.get(f"{job['path']}/images").json()["images"]
    for image in listed:
        if image["name"] == "cut.png":
            assert (image["status"], image["error"]["code"]) == ("failed", "image")
        else:
            assert client.get(image["links"]["report.json"]).status_code == 200
    links = client.get(job["path"]).json()["links"]
    assert client.get(links["report.json"]).status_code == 200


def test_status_is_polled_with_an_etag(client: Any, job: dict[str, Any]) -> None:
    etag = client.get(job["path"]).headers["etag"]
    assert client.get(job["path"], headers={"If-None-Match": etag}).status_code == 304


def test_survey_tables_hold_every_image(client: Any, job: dict[str, Any]) -> None:
    table = client.get(f"{job['path']}/report.csv")
    rows = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"))))
    assert len(rows) == job["counts"]["total"]
    assert {"a.png", "'=b.png", "c.png"} <= {row["image"] for row in rows}  # no formula
    survey = client.get(f"{job['path']}/report.json").json()
    assert survey["totals"]["images"] == len(rows)
    assert survey["model"]["name"] == "tiny"
    page = client.get(f"{job['path']}/report.html")
    assert page.status_code == 200
    assert "a.png" in page.text
    features = client.get(f"{job['path']}/report.geojson").json()["features"]
    assert {feature["properties"]["image"] for feature in features} == {"a.png", "c.png"}
    images = {row["image"] for row in client.get(f"{job['path']}/images").json()["images"]}
    assert {feature["properties"]["image_id"] for feature in features} <= images
    for feature in features:  # from the map back to the photograph
        page = client.get(feature["properties"]["link"])
        assert page.status_code == 200
        assert feature["properties"]["image"] in page.text


def test_the_bundle_holds_everything(client: Any, job: dict[str, Any]) -> None:
    with zipfile.ZipFile(io.BytesIO(client.get(f"{job['path']}/bundle.zip").content)) as bundle:
        assert bundle.testzip() is None
        names = bundle.namelist()
        page = bundle.read("index.html").decode()
    assert {"index.html", "summary.csv", "survey.json", "verdicts.csv"} <= set(names)
    assert "images/0001_a/cracks.csv" in names
    assert sum(name.endswith("/report.json") for name in names) == 3
    linked = [name.rpartition("/")[0] for name in names if name.endswith("page.html")]
    assert all(f'href="{folder}/page.html"' in page for folder in linked)


def test_verdicts_are_kept_and_exported(client: Any, job: dict[str, Any]) -> None:
    images = client.get(f"{job['path']}/images").json()["images"]
    image = next(image for image in images if image["name"] == "a.png")
    path = f"{image['links']['self']}/cracks/1/verdict"
    assert client.put(path, json={"verdict": "accept"}).status_code == 200
    answer = client.put(path, json={"verdict": "reject", "note": "=joint"}).json()
    assert (answer["verdict"], answer["note"], answer["crack"]) == ("reject", "=joint", 1)
    rows = list(csv.DictReader(io.StringIO(client.get(f"{job['path']}/verdicts.csv").text)))
    assert [(r["image_name"], r["verdict"], r["note"]) for r in rows] == [
        ("a.png", "reject", "'=joint")
    ]
    assert client.get(f"{job['path']}/report.json").json()["verdicts"][0]["verdict"] == "reject"
    assert client.put(path.replace("/1/", "/99/"), json={"verdict": "open"}).status_code == 404


def test_rejected_cracks_leave_the_figures(client: Any, job: dict[str, Any]) -> None:
    def row() -> dict[str, Any]:
        listed = client.get(f"{job['path']}/images").json()["images"]
        return next(dict(image["summary"]) for image in listed if image["name"] == "c.png")

    images = client.get(f"{job['path']}/images").json()["images"]
    image = next(image for image in images if image["name"] == "c.png")
    path = f"{image['links']['self']}/cracks/1/verdict"
    measured = client.get(image["links"]["report.json"]).json()
    assert measured["totals"]["cracks"] == len(measured["cracks"]) == 2
    client.put(path, json={"verdict": "open"})
    whole, total = row(), client.get(f"{job['path']}/report.json").json()["totals"]
    assert client.put(path, json={"verdict": "reject"}).status_code == 200
    judged, left = row(), client.get(f"{job['path']}/report.json").json()
    crack = measured["cracks"][0]
    assert (judged["cracks"], judged["rejected"]) == (1, 1)
    for name in ("length_px", "length_mm", "area_px2", "area_mm2"):
        assert judged[name] == pytest.approx(whole[name] - crack[name], abs=2e-3), name
    assert judged["density_m_per_m2"] == pytest.approx(
        whole["density_m_per_m2"] * judged["length_mm"] / whole["length_mm"],
        abs=1e-3,
    )
    assert judged["width_max_px"] == measured["cracks"][1]["width_max_px"]
    assert left["totals"]["cracks"] == total["cracks"] - 1
    remaining_mm = total["length_mm"] - crack["length_mm"]
    assert left["totals"]["length_mm"] == pytest.approx(remaining_mm, abs=2e-3)
    assert left["rejected"] >= 1
    table = client.get(f"{job['path']}/report.csv").content.decode("utf-8-sig")
    rows = {line["image"]: line for line in csv.DictReader(io.StringIO(table))}
    assert rows["c.png"]["cracks"] == "1"
    for page in (f"/surveys/{job['survey']}", f"{job['path']}/report.html"):
        assert "rejected by inspectors" in client.get(page).text
    features = client.get(f"{job['path']}/report.geojson").json()["features"]
    words = [f["properties"]["verdict"] for f in features if f["properties"]["image"] == "c.png"]
    assert words == [None]
    asked = client.get(f"{job['path']}/report.geojson?rejected=true").json()["features"]
    about = [f["properties"] for f in asked if f["properties"]["image"] == "c.png"]
    assert sorted(str(a["verdict"]) for a in about) == ["None", "rejected"]
    assert {a["verdict_by"] for a in about} == {None, "this machine"}
    assert client.get(image["links"]["report.json"]).json() == measured  # as measured
    client.put(path.replace("cracks/1/", "cracks/2/"), json={"verdict": "reject"})
    assert (row()["cracks"], row()["width_max_px"]) == (0, None)
    for page in (f"/surveys/{job['survey']}", f"{job['path']}/report.html"):
        assert "no crack left" in client.get(page).text
    for crack_id in (1, 2):
        other_path = path.replace("cracks/1/", f"cracks/{crack_id}/")
        client.put(other_path, json={"verdict": "accept"})
    assert row() == whole


def gallery(client: Any, survey: str, name: str) -> str:
    """Return what the page of a survey says of an image."""
    page = client.get(f"/surveys/{survey.split('/')[-1]}").text
    return str(page.split(f'data-name="{name}"')[1].split("</li>")[0])


def test_a_verdict_that_was_taken_back_is_none(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(3)})
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]["links"]["self"]
    hint = "The small pictures show what the network marked"
    page = f"/surveys/{survey.split('/')[-1]}"
    assert hint not in client.get(page).text
    client.put(f"{image}/cracks/1/verdict", json={"verdict": "reject"})
    assert "1 judged" in gallery(client, survey, "a.png")
    assert hint in client.get(page).text
    client.put(f"{image}/cracks/1/verdict", json={"verdict": "open"})
    assert "judged" not in gallery(client, survey, "a.png").partition("<a ")[2]
    assert hint not in client.get(page).text


def test_of_two_names_of_a_file_a_verdict_that_stands_decides(client: Any) -> None:
    survey = make_survey(client, dict.fromkeys(("a.png", "b.png"), picture(3)))
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    first, second = (i["links"]["self"] for i in client.get(f"{job}/images").json()["images"])
    total = client.get(f"{job}/report.json").json()["totals"]["cracks"]
    client.put(f"{first}/cracks/1/verdict", json={"verdict": "reject"})
    client.put(f"{first}/cracks/1/verdict", json={"verdict": "open"})
    client.put(f"{second}/cracks/1/verdict", json={"verdict": "reject"})
    report = client.get(f"{job}/report.json").json()
    assert (report["totals"]["cracks"], report["rejected"]) == (total - 1, 1)


def test_the_page_counts_what_could_be_judged_and_names_the_copy(client: Any) -> None:
    same = picture(3)
    survey = make_survey(
        client,
        {"a.png": same, "b.png": same, "c.png": picture(2, lines=0), "cut.png": cut(picture(8))},
    )
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    assert finished(client, job)["counts"]["failed"] == 1
    totals = client.get(f"{job}/report.json").json()["totals"]
    assert (totals["with_cracks"], totals["copies"], totals["failed"]) == (1, 1, 1)
    page = client.get(f"/surveys/{survey.split('/')[-1]}").text
    assert "in 1 of 2 images that could be judged" in page
    assert "the very file of a.png, counted there" in gallery(client, survey, "b.png")
    assert "very file" not in gallery(client, survey, "a.png")
    assert "sound file of it under another name" in gallery(client, survey, "cut.png")
    assert "change its scale" not in page


def test_a_refusal_for_its_size_names_the_setting_of_the_service(client: Any) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        huge += struct.pack(">I", len(body)) + kind + body
        huge += struct.pack(">I", zlib.crc32(kind + body))
    survey = make_survey(client, {})
    answer = client.put(f"{survey}/images/a.png", content=huge)
    assert (answer.status_code, "`max_image_megapixels`" in answer.text) == (422, True)
    assert "`max_megapixels`" not in answer.text


def test_who_may_not_replace_an_image_is_told_what_he_may(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(3)})
    taken = client.put(f"{survey}/images/a.png", content=picture(4)).json()
    assert "before it is analyzed" in taken["detail"]
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    answer = client.delete(f"{survey}/images/a.png")
    assert (answer.status_code, "under another name" in answer.json()["detail"]) == (409, True)


def test_events_tell_of_images_and_end(client: Any, job: dict[str, Any]) -> None:
    with client.stream("GET", f"{job['path']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    blocks = [
        dict(line.split(": ", 1) for line in b.splitlines()) for b in text.strip().split("\n\n")
    ]
    assert [b["event"] for b in blocks].count("image") == job["counts"]["total"]
    assert blocks[-1]["event"] == "end"
    assert json.loads(blocks[-1]["data"])["status"] == "succeeded"
    last_id = next(b["id"] for b in reversed(blocks) if b["event"] == "image")
    with client.stream(
        "GET", f"{job['path']}/events", headers={"Last-Event-ID": last_id}
    ) as stream:
        assert "event: image" not in "".join(stream.iter_text())


def test_a_cancelled_job_stops_and_can_be_retried(client: Any) -> None:
    survey = make_survey(client, {f"{n}.png": picture(n, height=700, width=900) for n in range(6)})
    path = client.post(f"{survey}/execution", json={}).headers["location"]
    assert client.delete(path).json()["status"] == "cancelled"
    status = finished(client, path)
    assert status["counts"]["running"] == status["counts"]["queued"] == 0
    wait_for(lambda: client.post(f"{path}/retry").status_code == 200, why="retry accepted")
    again = finished(client, path)
    assert (again["status"], again["counts"]["succeeded"]) == ("succeeded", 6)
    assert client.post(f"{path}/retry").json()["title"] == "Nothing to retry"


def test_two_jobs_of_one_survey_at_once_are_refused(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(1)})
    headers = {"Idempotency-Key": survey}
    first = client.post(f"{survey}/execution", json={}, headers=headers)
    same = client.post(f"{survey}/execution", json={}, headers=headers)
    assert first.json()["id"] == same.json()["id"]
    finished(client, first.headers["location"])
    assert client.post(f"{make_survey(client, {})}/execution", json={}).status_code == 409


def test_lists_come_in_pages(client: Any) -> None:
    survey = make_survey(client, {f"{n}.png": picture(n) for n in range(5)})
    names, url = [], f"{survey}/images?limit=2"
    while url:
        answer = client.get(url)
        names += [image["name"] for image in answer.json()["images"]]
        url = answer.links.get("next", {}).get("url")
    assert names == [f"{n}.png" for n in range(5)]
    assert client.get("/v1/surveys?limit=1").json()["next"]
    assert client.get("/v1/jobs?limit=1&status=failed").status_code == 200


def test_the_ogc_way_runs_the_same_job(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(1)})
    body = {"inputs": {"survey": survey.rpartition("/")[2], "options": {"threshold": 0.5}}}
    other = client.post("/v1/ogc/processes/other/execution", json=body)
    assert other.status_code == 404
    assert other.json()["type"].endswith("/no-such-process")
    links = {link["rel"].rpartition("/")[2]: link["href"] for link in
             client.get("/v1/ogc").json()["links"]}  # fmt: skip
    listed = client.get(links["processes"]).json()["processes"]
    assert [process["id"] for process in listed] == ["crack-segmentation"]
    answer = client.post(f"{listed[0]['links'][0]['href']}/execution", json=body)
    assert (answer.status_code, answer.json()["status"]) == (201, "accepted")
    done = finished(client, answer.headers["location"])
    assert done["status"] == "successful"
    results = client.get(done["links"][-1]["href"]).json()
    assert client.get(results["report.csv"]["href"]).status_code == 200
    own = client.get(f"/v1/jobs/{done['jobID']}").json()
    assert (own["status"], own["id"]) == ("succeeded", done["jobID"])


def test_a_dismissed_job_is_gone_on_the_ogc_way_and_stays_in_its_survey(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(1)})
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    path = job.replace("/v1/", "/v1/ogc/")
    assert client.get(path).json()["status"] == "successful"
    gone = client.delete(path)
    assert (gone.status_code, gone.json()["status"], gone.json()["links"]) == (200, "dismissed", [])
    for method, address in (("GET", path), ("GET", f"{path}/results"), ("DELETE", path)):
        answer = client.request(method, address)
        assert answer.status_code == 404, (method, address)
        assert answer.json()["type"].endswith("/no-such-job")
    assert client.get(job).json()["status"] == "succeeded"
    assert client.get(f"{job}/report.csv").status_code == 200
    waiting = client.post(f"{survey}/execution", json={}).headers["location"]
    assert client.delete(waiting.replace("/v1/", "/v1/ogc/")).json()["status"] == "dismissed"
    assert client.get(waiting).json()["status"] == "cancelled"
    assert client.delete(survey).status_code == 204


def test_a_deleted_survey_leaves_nothing(client: Any, service: Service) -> None:
    survey = make_survey(client, {"a.png": picture(1)})
    job_path = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job_path)
    assert client.delete(survey).status_code == 204
    assert client.get(survey).status_code == client.get(job_path).status_code == 404
    for object_id in (survey.rpartition("/")[2], job_path.rpartition("/")[2]):
        assert not list(service.data.rglob(f"*{object_id}*"))


def test_an_image_that_comes_late_is_counted_and_can_be_analyzed(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(1)})
    assert client.get(survey).json()["not_analyzed"] == 1
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    assert client.get(survey).json()["not_analyzed"] == 0
    for name in ("late.png", "by mistake.png"):
        assert client.put(f"{survey}/images/{name}", content=picture(2)).status_code == 201
    answer = client.get(survey).json()
    assert (answer["status"], answer["images"], answer["not_analyzed"]) == ("succeeded", 3, 2)
    page = client.get(f"/surveys/{answer['id']}").text
    assert "2 photographs not analyzed" in page
    assert "late.png" in page
    table = client.get(f"{job}/report.csv").content.decode("utf-8-sig")
    rows = {row["image"]: row for row in csv.DictReader(io.StringIO(table))}
    assert (rows["late.png"]["status"], rows["late.png"]["cracks"]) == ("not_reached", "")
    assert "came after" in rows["late.png"]["reason"]
    report = client.get(f"{job}/report.html").text
    assert "Crack survey: face" in report
    assert "late.png" in report
    assert client.delete(f"{survey}/images/by mistake.png").status_code == 204
    assert client.delete(f"{survey}/images/a.png").status_code == 409
    assert client.post(f"{job}/retry").status_code == 200
    assert finished(client, job)["counts"]["succeeded"] == 2
    assert client.get(survey).json()["not_analyzed"] == 0
    assert "not analyzed" not in client.get(f"/surveys/{answer['id']}").text.split("<ul id")[0]


def test_the_order_stays_while_cracks_are_judged(client: Any) -> None:
    images = {f"{n}.png": picture(n, lines=3 - n) for n in range(3)}
    survey = make_survey(client, images)
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    listed = client.get(f"{job}/images").json()["images"]
    pages = {
        image["name"]: f"/surveys/{survey.split('/')[-1]}/images/{image['image']}"
        for image in listed
    }

    def order() -> list[str]:
        gallery = client.get(f"/surveys/{survey.split('/')[-1]}").text.split('id="gallery"')[1]
        return re.findall(r'data-name="(.*?)"', gallery)

    def neighbours(name: str) -> list[str]:
        return re.findall(
            r'id="(?:next|previous)"[^>]*href="([^"]*)"', client.get(pages[name]).text
        )

    before, around = order(), {name: neighbours(name) for name in images}
    worst = next(image for image in listed if image["name"] == before[0])
    for crack in client.get(worst["links"]["report.json"]).json()["cracks"]:
        url = f"{worst['links']['self']}/cracks/{crack['id']}/verdict"
        assert client.put(url, json={"verdict": "reject"}).status_code == 200
    assert order() == before
    assert {name: neighbours(name) for name in images} == around
    assert "as_measured" not in client.get(f"{job}/report.json").text


def test_verdicts_go_along_when_a_survey_is_analyzed_again(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(3)})
    first = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, first)
    image = client.get(f"{first}/images").json()["images"][0]
    path = f"{image['links']['self']}/cracks/2/verdict"
    client.put(path, json={"verdict": "reject", "note": "lift joint"})
    options = {"mm_per_px": 0.25, "use_metadata": False}
    second = client.post(f"{survey}/execution", json=options).headers["location"]
    assert finished(client, second)["options"] == options
    verdict = client.get(f"{second}/verdicts").json()["verdicts"]
    assert [(v["crack"], v["verdict"], v["note"]) for v in verdict] == [(2, "reject", "lift joint")]
    summary = client.get(f"{second}/images").json()["images"][0]["summary"]
    assert (summary["cracks"], summary["rejected"], summary["mm_per_px"]) == (1, 1, 0.25)
    page = client.get(f"/surveys/{survey.rpartition('/')[2]}").text
    assert f"?job={first.rpartition('/')[2]}" in page
    old = client.get(f"/surveys/{survey.rpartition('/')[2]}?job={first.rpartition('/')[2]}").text
    assert "earlier analysis" in old
    assert client.get(f"/surveys/{survey.rpartition('/')[2]}?job=x").status_code == 404


def test_a_draft_keeps_what_was_typed(client: Any) -> None:
    typed = {"distance_m": 4.5, "use_metadata": False}
    survey = client.post("/v1/surveys", json={"name": "face", "options": typed}).headers["location"]
    assert client.get(survey).json()["options"] == typed
    client.put(f"{survey}/images/a.png", content=picture(1))
    page = client.get(f"/surveys/{survey.rpartition('/')[2]}").text
    assert re.search(r'id="distance_m"[^>]*value="4.5"', page)
    assert re.search(r'id="ignore_metadata"[^>]*checked', page)
    for body, status in (
        ({"name": "South \u202eface"}, 200), ({"options": {"mm_per_px": 0.5}}, 200),
        ({"options": {"mm_per_px": -1}}, 422), ({"nam": "x"}, 422), ({}, 200),
    ):  # fmt: skip
        assert client.put(survey, json=body).status_code == status, body
    answer = client.get(survey).json()
    assert (answer["name"], answer["options"]) == ("South face", {"mm_per_px": 0.5})


def test_surveys_are_found_by_a_part_of_their_name(client: Any) -> None:
    for name in ("Bay 7 <100 %>", "bay 8", "Gallery", "ÄSCHENSEE"):
        make_survey(client, {}, name=name)
    for part, count in (("BAY", 2), ("100 %", 1), ("_ay", 0), ("bay 9", 0), ("äschen", 1)):
        listed = client.get("/v1/surveys", params={"q": part}).json()["surveys"]
        assert len(listed) == count, part
        page = client.get("/", params={"q": part}).text
        assert page.count('<tr><td><a href="/surveys/') == count, part
    assert "Bay 7 &lt;100 %&gt;" in client.get("/", params={"q": "100 %"}).text


def test_every_get_answers_head(client: Any, job: dict[str, Any]) -> None:
    image = client.get(f"{job['path']}/images").json()["images"][0]["links"]
    for path in (
        "/", "/healthz", "/readyz", "/openapi.json", "/static/style.css", "/favicon.ico",
        f"/surveys/{job['survey']}", "/v1/surveys", job["path"], f"{job['path']}/report.csv",
        f"{job['path']}/bundle.zip", f"{job['path']}/events", image["photo.jpg"], "/metrics",
    ):  # fmt: skip
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
    assert client.head("/v1/surveys/nothing").status_code == 404
    allowed = client.post("/healthz").headers["allow"]
    assert {"GET", "HEAD"} <= set(allowed.split(", "))


def test_tables_open_in_a_spreadsheet_with_their_umlauts(client: Any) -> None:
    survey = make_survey(client, {"größe.png": picture(1)})
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]["links"]["self"]
    client.put(f"{image}/cracks/1/verdict", json={"verdict": "accept", "note": "Prüfen 裂缝"})
    for name in ("verdicts.csv", "report.csv"):
        assert client.get(f"{job}/{name}").content.startswith(b"\xef\xbb\xbf"), name
    with zipfile.ZipFile(io.BytesIO(client.get(f"{job}/bundle.zip").content)) as bundle:
        assert bundle.read("verdicts.csv").startswith(b"\xef\xbb\xbf")
    assert "Prüfen 裂缝" in client.get(f"{job}/verdicts.csv").content.decode("utf-8-sig")


def test_pages_say_first_from_which_width_cracks_are_found(client: Any) -> None:
    survey = make_survey(client, {"a.png": picture(1)})
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]
    page = f"/surveys/{survey.rpartition('/')[2]}"
    for address in (page, f"{page}/images/{image['image']}"):
        text = client.get(address).text
        assert text.index("may be missed") < text.index(
            "<table" if "/images/" in address else "a.png"
        )
