"""Results leave the service: files with their digest, survey tables, and the bundle as a stream."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.engine import Connection, Row
from zipstream import ZipStream

from crackseg import __version__
from crackseg.exports.survey import failure_row, write_survey
from service import jobs as domain
from service.database import FINAL, jobs, new_id, surveys
from service.errors import Problem
from service.inspection import verdict_rows, verdicts_csv
from service.storage import Storage

# The exported pages hold their style and pictures inside and need no script at all.
PAGE_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; " \
    "frame-ancestors 'none'; form-action 'none'; base-uri 'none'"  # fmt: skip
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
SURVEY_FILES = {
    "report.json": ("survey.json", "application/json"),
    "report.csv": ("summary.csv", "text/csv; charset=utf-8"),
    "report.html": ("index.html", "text/html; charset=utf-8"),
}


def file_response(request: Request, task: Row[Any], name: str) -> Response:
    """Return a file of an image's results, with its ETag; one range is answered.

    Raises:
        Problem: 409, there are no results (yet); 416, the file has no such range.
    """
    if task.state != "succeeded":
        raise not_ready(task.state)
    storage: Storage = request.app.state.storage
    path = storage.result(task.job_id, task.image_id) / name
    etag = f'"{task.job_id}-{task.finished_at}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    _require_range(request.headers.get("range"), path.stat().st_size)
    headers["Content-Disposition"] = disposition(name, task.name, name.endswith("csv"))
    if name.endswith(".html"):
        headers["Content-Security-Policy"] = PAGE_POLICY
    return FileResponse(path, media_type=domain.ARTEFACTS[name], headers=headers)


def etag_matches(request: Request, etag: str) -> bool:
    """Return whether ``If-None-Match`` names an ETag."""
    sent = request.headers.get("if-none-match", "").split(",")
    return etag in [tag.strip().removeprefix("W/") for tag in sent]


def _require_range(sent: str | None, size_bytes: int) -> None:
    """Refuse a range that is not there, as a problem; the library would answer plain text.

    Raises:
        Problem: 416.
    """
    if sent is None:
        return
    match = _RANGE.fullmatch(sent.strip())
    first, last = match.groups() if match else ("", "")
    good = int(first) < size_bytes and int(last or first) >= int(first) if first else bool(last)
    if not good or not (first or int(last)):
        headers = {"Content-Range": f"bytes */{size_bytes}"}
        detail = f"`Range` must be bytes=FIRST-LAST within {size_bytes} bytes."
        raise Problem(416, "range", detail, headers=headers)


def not_ready(state: str) -> Problem:
    """Return the answer to a request for results that are not there."""
    words = {"failed": "The image could not be analyzed.", "cancelled": "It was cancelled."}
    headers = {} if state in FINAL else {"Retry-After": "2"}
    detail = words.get(state, "The analysis is not finished.")
    return Problem(409, "result-not-ready", detail, headers=headers)


def disposition(name: str, image_name: str, download: bool) -> str:
    """Return a Content-Disposition; the image's name only in RFC 5987 form."""
    kind = "attachment" if download else "inline"
    full = quote(f"{Path(image_name).stem}_{name}", safe="")
    return f"{kind}; filename=\"{name}\"; filename*=UTF-8''{full}"


def survey_rows(db: Connection, job_id: str) -> list[dict[str, Any]]:
    """Return the rows of a survey's tables, without rejected cracks; who is not done is marked."""
    rows = []
    for task in domain.task_rows(db, job_id):
        if task.state == "succeeded":
            rows.append({k: v for k, v in task.summary.items() if k != "as_measured"})
        elif task.state == "failed":
            rows.append(failure_row(Path(task.name), task.error or task.error_code))
        else:
            rows.append(failure_row(Path(task.name), f"Not analyzed: {task.state}."))
    survey_id = db.scalar(sa.select(jobs.c.survey_id).where(jobs.c.id == job_id))
    late = domain.late_images(db, survey_id, job_id) if survey_id else {}
    why = "Not analyzed: it came after the analysis had begun."
    return rows + [failure_row(Path(name), why) for name in late.values()]


def write_survey_files(
    db: Connection, job: Row[Any], storage: Storage, folder: Path,
    names: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write the survey's tables, its page and the verdicts of a job into a folder.

    ``names`` gives images folders of another name than their id.
    """
    rows = survey_rows(db, job.id)
    for row in rows:
        row["folder"] = (names or {}).get(row["folder"], row["folder"])
    said = verdict_rows(db, job.id)
    about = {
        "package_version": __version__,
        "started_at": job.started_at or job.created_at,
        "ended_at": job.finished_at,
        "model": _model_of(db, job, storage),
        "survey": db.scalar(sa.select(surveys.c.name).where(surveys.c.id == job.survey_id)),
        "options": job.options,
        "verdicts": said,
        "rejected": sum(row.get("rejected", 0) for row in rows),
    }
    write_survey(rows, about, folder, gallery=True)
    (folder / "verdicts.csv").write_text(verdicts_csv(said), encoding="utf-8-sig")


def _model_of(db: Connection, job: Row[Any], storage: Storage) -> dict[str, Any]:
    """Return the model that the reports name."""
    for task in domain.task_rows(db, job.id):
        report = storage.result(job.id, task.image_id) / "report.json"
        if task.state == "succeeded" and report.is_file():
            model = json.loads(report.read_text(encoding="utf-8"))["model"]
            return {key: model[key] for key in ("name", "version", "sha256")}
    return {"name": "none", "version": "", "sha256": ""}


def survey_file(request: Request, job: Row[Any], name: str) -> Response:
    """Return a table or the page of a survey, fresh: verdicts may have changed."""
    storage: Storage = request.app.state.storage
    written, media = SURVEY_FILES[name]
    work = storage.data / "work" / new_id()
    work.mkdir()
    try:
        with request.app.state.engine.connect() as db:
            write_survey_files(db, job, storage, work)
        content = (work / written).read_bytes()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    headers = {"Content-Disposition": disposition(written, job.survey_id, name.endswith("csv"))}
    if name.endswith("html"):
        headers["Content-Security-Policy"] = PAGE_POLICY
    return Response(content, media_type=media, headers=headers)


def survey_geojson(request: Request, job: Row[Any]) -> Iterator[str]:
    """Yield one feature collection of all images' cracks, image by image, each with its verdict."""
    storage: Storage = request.app.state.storage
    with request.app.state.engine.connect() as db:
        done = [t for t in domain.task_rows(db, job.id) if t.state == "succeeded"]
        said = {(v["image"], v["crack"]): v["verdict"] for v in verdict_rows(db, job.id)}
    yield '{"type":"FeatureCollection","features":['
    between = ""
    for task in done:
        path = storage.result(job.id, task.image_id) / "cracks.geojson"
        if not path.is_file():
            continue
        for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
            about = feature.get("properties") or {}
            verdict = said.get((task.image_id, about.get("id")), "open")
            feature["properties"] = {**about, "image": task.name, "verdict": verdict}
            yield between + json.dumps(feature, ensure_ascii=False, allow_nan=False)
            between = ",\n"
    yield "]}\n"


def bundle(request: Request, job: Row[Any]) -> Iterator[bytes]:
    """Yield a ZIP of everything: the survey's files and a folder per image."""
    storage: Storage = request.app.state.storage
    work = storage.data / "work" / new_id()
    work.mkdir()
    try:
        with request.app.state.engine.connect() as db:
            tasks = [t for t in domain.task_rows(db, job.id) if t.state == "succeeded"]
            names = {
                f"images/{task.image_id}": f"images/{domain.safe_stem(task.name, number)}"
                for number, task in enumerate(tasks, 1)
            }
            write_survey_files(db, job, storage, work, names)
        # Pictures are packed already; deflating them again costs time and gains nothing.
        archive = ZipStream(sized=False)
        for path in sorted(work.iterdir()):
            archive.add_path(path, path.name)
        for task in tasks:
            files = storage.result(job.id, task.image_id).glob("[!.]*")  # not the folder's mark
            for path in sorted(files):
                archive.add_path(path, f"{names[f'images/{task.image_id}']}/{path.name}")
        yield from archive
    finally:
        shutil.rmtree(work, ignore_errors=True)
