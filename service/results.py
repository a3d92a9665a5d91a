"""Results leave the service: files that caches can ask after, tables, the bundle as a stream."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from zipstream import ZipStream

from crackseg.folders import sha256_of
from service import ledger, papers
from service.database import FINAL, Record, State, new_id
from service.errors import Problem, not_found
from service.files import (
    BUNDLE_ABOUT,
    DIGESTED,
    INSPECTIONS,
    NETWORK,
    ImageFile,
    JobFile,
    media_type,
)
from service.paths import href
from service.state import Service, service_of
from service.storage import Storage
from service.survey_files import write_changes, write_survey_files, write_verdicts
from service.tiles import FILE as TILES
from service.tiles import read_tile
from service.verdicts import verdict_rows

# The exported pages hold their style and pictures inside and need no script at all.
PAGE_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
_WRITTEN = {  # file of a job -> the name that the survey's writer gives it
    JobFile.REPORT_JSON: "survey.json",
    JobFile.REPORT_CSV: "summary.csv",
    JobFile.REPORT_HTML: "index.html",
    JobFile.VERDICTS_CSV: "verdicts.csv",
    JobFile.CHANGES_CSV: "changes.csv",
}


def file_response(
    request: Request, task: Record, name: ImageFile, *, rejected: bool, as_measured: bool
) -> Response:
    """Return a file of an image's results, with its ETag; one range is answered.

    Args:
        request: for its headers.
        task: the image.
        name: of the file; papers have the verdicts on their cracks.
        rejected: papers show rejected cracks too.
        as_measured: without verdicts and edits, as the network left it.

    Raises:
        Problem: 409, there are no results (yet); 416, the file has no such range.
    """
    if task.state != State.SUCCEEDED:
        raise not_ready(task.state)
    service = service_of(request)
    with service.engine.connect() as db:
        verdicts = {} if as_measured else papers.spoken(db, task)
    before_edits = service.storage.result(task.job_id, task.image_id) / NETWORK / name
    if as_measured and before_edits.is_file():
        path = before_edits
    else:
        path = papers.paper(service, task, name, verdicts, with_rejected=rejected)
    if not path.is_file():  # a result of an earlier version
        raise not_found("file")
    changed = path.stat().st_mtime_ns
    etag = f'"{task.job_id}-{task.finished_at}-{path.parent.name[:16]}-{changed:x}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    _require_range(request.headers.get("range"), path.stat().st_size)
    headers["Content-Disposition"] = disposition(name, task.name, name.endswith("csv"))
    if name.endswith(".html"):
        headers["Content-Security-Policy"] = PAGE_POLICY
    return FileResponse(path, media_type=media_type(name), headers=headers)


def tile_response(service: Service, task: Record, level: int, col: int, row: int) -> Response:
    """Return a tile of an image's photograph; it never changes.

    Raises:
        Problem: 409, there are no results (yet); 404, there is no such tile.
    """
    if task.state != State.SUCCEEDED:
        raise not_ready(task.state)
    path = service.storage.result(task.job_id, task.image_id) / TILES
    tile = read_tile(path, level, col, row) if path.is_file() else None
    if tile is None:
        raise not_found("tile")
    headers = {"Cache-Control": "private, max-age=86400"}
    return Response(tile, media_type="image/jpeg", headers=headers)


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
    words: dict[str, str] = {
        State.FAILED: "The image could not be analyzed.",
        State.CANCELLED: "It was cancelled.",
    }
    headers = {} if state in FINAL else {"Retry-After": "2"}
    detail = words.get(state, "The analysis is not finished.")
    return Problem(409, "result-not-ready", detail, headers=headers)


def disposition(name: str, image_name: str, download: bool) -> str:
    """Return a Content-Disposition; the image's name only in RFC 5987 form."""
    kind = "attachment" if download else "inline"
    full = quote(f"{Path(image_name).stem}_{name}", safe="")
    return f"{kind}; filename=\"{name}\"; filename*=UTF-8''{full}"


def inspection_response(
    service: Service, job: Record, name: JobFile, locale: str, *, rejected: bool
) -> Response:
    """Return the report of a survey in one form, or 202 while it is being made."""
    if service.inspections is None:
        raise Problem(503, "not-ready", "The service is starting or shutting down.")
    folder = service.inspections.folder(job, locale, with_rejected=rejected)
    if folder is None:
        waits = {"status": "running", "message": "The report is being made; ask again."}
        return JSONResponse(waits, 202, {"Retry-After": "2", "Cache-Control": "no-store"})
    headers = {"Cache-Control": "private, no-cache"}
    headers["Content-Disposition"] = disposition(name, job.survey_id, not name.endswith("html"))
    if name.endswith("html"):
        headers["Content-Security-Policy"] = PAGE_POLICY
    return FileResponse(folder / INSPECTIONS[name], media_type=media_type(name), headers=headers)


def job_file_response(service: Service, job: Record, name: JobFile, *, rejected: bool) -> Response:
    """Return a file of a job, fresh: verdicts may have changed.

    ``rejected``: the map and the papers of the bundle hold rejected cracks too.
    """
    media = media_type(name)
    if name is JobFile.BUNDLE:
        headers = {"Content-Disposition": f'attachment; filename="crackseg-{job.id[:13]}.zip"'}
        archive = bundle(service, job, rejected=rejected)
        return StreamingResponse(archive, media_type=media, headers=headers)
    if name is JobFile.REPORT_GEOJSON:
        headers = {"Content-Disposition": 'attachment; filename="cracks.geojson"'}
        features = survey_geojson(service, job, rejected=rejected)
        return StreamingResponse(features, media_type=media, headers=headers)
    written = _WRITTEN[name]
    with _work_folder(service.storage) as work:
        with service.engine.connect() as db:
            if name is JobFile.VERDICTS_CSV:
                write_verdicts(verdict_rows(db, job.id), job.id, work)
            elif name is JobFile.CHANGES_CSV:
                write_changes(db, job.survey_id, work)
            else:
                write_survey_files(db, job, service.storage, work)
        content = (work / written).read_bytes()
    headers = {"Content-Disposition": disposition(written, job.survey_id, written.endswith("csv"))}
    if written.endswith("html"):
        headers["Content-Security-Policy"] = PAGE_POLICY
    return Response(content, media_type=media, headers=headers)


@contextlib.contextmanager
def _work_folder(storage: Storage) -> Iterator[Path]:
    work = storage.data / "work" / new_id()
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def survey_geojson(service: Service, job: Record, *, rejected: bool) -> Iterator[str]:
    """Yield one feature collection of all images' cracks, image by image, each with its verdict.

    Each crack names its image by id too, and the address of the image's page. Rejected ones are
    left out unless they are asked for.
    """
    base = href(f"/v1/jobs/{job.id}/images")  # now: the prefix is that of this request
    return _survey_features(service, job, base, rejected)


def _survey_features(service: Service, job: Record, base: str, rejected: bool) -> Iterator[str]:
    with service.engine.connect() as db:
        done = [t for t in ledger.task_rows(db, job.id) if t.state == State.SUCCEEDED]
        judged = papers.spoken_of_job(db, job.id)
    yield '{"type":"FeatureCollection","features":['
    between = ""
    for task in done:
        path = service.storage.result(job.id, task.image_id) / "cracks.geojson"
        if not path.is_file():
            continue
        verdicts = judged.get(task.image_id, {})
        for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
            about = feature.get("properties") or {}
            verdict = verdicts.get(int(about.get("id") or 0), {})
            if verdict.get("word") == "rejected" and not rejected:
                continue
            feature["properties"] = {
                **about,
                "image": task.name,
                "image_id": task.image_id,
                "link": f"{base}/{task.image_id}/{ImageFile.PAGE}",
                "verdict": verdict.get("word"),
                "verdict_by": verdict.get("by"),
                "verdict_at": verdict.get("at"),
                "note": verdict.get("note"),
            }
            yield between + json.dumps(feature, ensure_ascii=False, allow_nan=False)
            between = ",\n"
    yield "]}\n"


def bundle(service: Service, job: Record, *, rejected: bool) -> Iterator[bytes]:
    """Yield a ZIP of everything: the survey's files and a folder per image, made while it is sent.

    Papers have the verdicts on their cracks; what the network measured is in ``report.json``. Its
    last file says which analysis it is and what belongs to which photograph: whoever learns from a
    bundle checks that nothing was mixed up.
    """
    storage = service.storage
    with _work_folder(storage) as work:
        with service.engine.connect() as db:
            tasks = [t for t in ledger.task_rows(db, job.id) if t.state == State.SUCCEEDED]
            names = {
                f"images/{task.image_id}": f"images/{ledger.safe_stem(task.name, number)}"
                for number, task in enumerate(tasks, 1)
            }
            judged = papers.spoken_of_job(db, job.id)  # as in the tables
            write_survey_files(db, job, storage, work, names)
        # Pictures are packed already; deflating them again costs time and gains nothing.
        archive = ZipStream(sized=False)
        for path in sorted(work.iterdir()):
            archive.add_path(path, path.name)
        digests: dict[str, dict[str, str]] = {}
        for task in tasks:
            folder = names[f"images/{task.image_id}"]
            digests[folder] = {"photograph": task.sha256}
            for name, content in _image_files(
                service, task, judged.get(task.image_id, {}), rejected=rejected
            ):
                if isinstance(content, Path):
                    archive.add_path(content, f"{folder}/{name}")
                    if name in DIGESTED:
                        digests[folder][name] = sha256_of(content)
                else:
                    archive.add(content, f"{folder}/{name}")
            yield from archive.all_files()
        about = {"schema_version": "1", "job": job.id, "images": digests}
        archive.add(json.dumps(about, indent=1) + "\n", BUNDLE_ABOUT)
        yield from archive.finalize()


def _image_files(
    service: Service, task: Record, verdicts: papers.Spoken, *, rejected: bool
) -> Iterator[tuple[str, Path | str]]:
    """Yield name and place of the files of an image; a text says why papers are missing."""
    folder = service.storage.result(task.job_id, task.image_id)
    for path in sorted((folder / NETWORK).glob("[!.]*")):  # as it was before the first edit
        yield f"{NETWORK}/{path.name}", path
    files = folder.glob("[!.]*")  # not the mark
    for path in sorted(path for path in files if path.is_file() and path.name != TILES):
        if path.name not in papers.PAPERS:
            yield path.name, path
            continue
        try:
            name = ImageFile(path.name)
            paper = papers.paper(
                service, task, name, verdicts, with_rejected=rejected, patient=True
            )
            yield path.name, paper
        except Problem as problem:
            # A paper with what was rejected must not pass for the judged one.
            yield f"{path.name}.missing.txt", f"{problem.detail}\n"
