"""The pages for people: rendered here, with small scripts of our own and nothing from afar."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader
from sqlalchemy.engine import Connection
from starlette.concurrency import run_in_threadpool

from crackseg import __version__
from crackseg.exports import wording
from crackseg.exports.page import environment
from crackseg.exports.survey import (
    copies,
    counted,
    impaired_text,
    length_text,
    not_counted_text,
    nothing_text,
    row_place,
    survey_detection,
    survey_totals,
    warning_tags,
    width_text,
)
from crackseg.exports.tables import BETWEEN_CLASSES, read_measure
from crackseg.reporting.about import missing_facts
from crackseg.words import read_words
from service import facts, inspections, ledger
from service.answers import job_answer, survey_answer, task_answer
from service.database import FINAL, Record, State
from service.errors import Problem, not_found
from service.history import find_changes, people, sentence
from service.keys import COOKIE, Caller, identify, verify
from service.overview import look
from service.paths import href
from service.schemas import ImageOptions, Options
from service.state import service_of
from service.survey_files import survey_rows
from service.tiles import FILE as TILES
from service.verdicts import verdict_counts, verdict_rows

router = APIRouter(include_in_schema=False)
PAGES = Path(__file__).parent.parent / "pages"
_PAGE = 100
_PAST = 50  # changes of an image that its page shows
_IN_PROGRAMS = "`use_metadata = false` ignores what the camera wrote"  # in a refusal of a scale
_REMEDIES = {  # of an image that failed, by the code of its error
    "scale": "Open it to change its scale and try again.",
    "image": "To have it analyzed, add a sound file of it under another name.",
}
_VERDICT_WORDS = {"accept": "accepted", "reject": "rejected", "open": ""}
DOWNLOADS = (
    ("report.csv", "table (CSV)"),
    ("report.json", "JSON"),
    ("report.geojson", "map (GeoJSON)"),
    ("report.html", "overview (HTML)"),
    ("verdicts.csv", "verdicts (CSV)"),
    ("changes.csv", "history (CSV)"),
    ("bundle.zip", "everything (ZIP)"),
)


@functools.cache
def templates() -> Environment:
    """Return the templates of the service."""
    made = environment(FileSystemLoader(PAGES / "templates"))
    made.globals["href"] = href
    return made


def render(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page."""
    with_keys = COOKIE in request.cookies
    text = templates().get_template(name).render(with_keys=with_keys, **values)
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


def _caller(request: Request, scope: str = "read") -> Caller | RedirectResponse:
    """Return the caller, who must have a scope, or the way to the page where a key is given."""
    try:
        caller = identify(request)
    except Problem as problem:
        if problem.status != 401:
            raise
        return RedirectResponse(href(f"/login?next={quote(request.url.path)}"), 303)
    if scope not in caller.scopes:
        raise Problem(403, "forbidden", f"This key lacks the scope `{scope}`.")
    return caller


@router.get("/login")
def show_login(request: Request, next: str = "/") -> Response:
    """Ask for a key."""
    return render(request, "login.html.j2", next=_own_path(next), wrong=False)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Keep a key in a cookie that no script and no other site can use."""
    async with request.form(max_files=0, max_fields=2) as form:
        key, target = str(form.get("key", "")).strip(), _own_path(str(form.get("next", "/")))
    if await run_in_threadpool(verify, service_of(request).engine, key) is None:
        return render(request, "login.html.j2", 401, next=target, wrong=True)
    answer = RedirectResponse(href(target), 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure, path=href("/"))
    return answer


@router.post("/logout")
def log_out() -> Response:
    """Forget the key."""
    answer = RedirectResponse(href("/login"), 303)
    answer.delete_cookie(COOKIE, path=href("/"))
    return answer


def _own_path(target: str) -> str:
    """Return a path of this service: never another site's address."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


@router.get("/")
def show_index(request: Request, cursor: str = "", q: str = "") -> Response:
    """Show the surveys and the form for a new one."""
    caller = _caller(request)
    if isinstance(caller, Response):
        return caller
    with service_of(request).engine.connect() as db:
        rows = ledger.find_surveys(db, caller.tenant, before=cursor, part=q[:200], limit=_PAGE + 1)
        answers = [survey_answer(db, row) for row in rows[:_PAGE]]
    following = rows[_PAGE - 1].id if len(rows) > _PAGE else None
    limit = service_of(request).settings.max_image_mb
    return render(
        request,
        "index.html.j2",
        surveys=answers,
        following=following,
        max_image_mb=limit,
        search=q,
        is_operator="metrics" in caller.scopes,
        typed=_typed({}),
    )


def _typed(options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of all fields of the options."""
    return Options.model_validate(options).model_dump()


def _find(
    db: Connection, caller: Caller, survey_id: str, job_id: str = ""
) -> tuple[Record, list[Record], Record | None]:
    """Return a survey or analysis, its jobs, the latest first, and the one asked for."""
    row = ledger.find_survey(db, caller.tenant, survey_id, kind=None)
    every = ledger.jobs_of(db, survey_id)
    chosen = [job for job in every if job.id == job_id] if job_id else every[:1]
    if job_id and not chosen:
        raise not_found("job")
    return row, every, chosen[0] if chosen else None


@router.get("/surveys/{survey_id}")
def show_survey(survey_id: str, request: Request, job: str = "") -> Response:
    """Show a survey: how far it is, and its images, the most severe first."""
    caller = _caller(request)
    if isinstance(caller, Response):
        return caller
    with service_of(request).engine.connect() as db:
        row, every, chosen = _find(db, caller, survey_id, job)
        survey = survey_answer(db, row)
        fixed = {"survey": survey, "is_survey": row.kind == "survey", **_context(db, survey_id)}
        fixed["max_image_mb"] = service_of(request).settings.max_image_mb
        of_job: dict[str, Any]
        if chosen is None:
            of_job = {"job": None, "typed": _typed(survey.options)}
        else:
            of_job = _job_values(db, chosen, every)
            of_job["face_changed"] = facts.face_changed(db, survey_id, chosen.options)
    return render(request, "survey.html.j2", **fixed, **of_job)


def _job_values(db: Connection, chosen: Record, every: list[Record]) -> dict[str, Any]:
    """Return what the page of a survey shows of one of its jobs, its images among it."""
    tasks = sorted(ledger.task_rows(db, chosen.id), key=task_place)
    scaled = any((task.summary or {}).get("mm_per_px") for task in tasks)
    unit = "mm" if scaled else "px"
    verdicts, rows = verdict_counts(db, chosen.id), survey_rows(db, chosen.id)
    totals = survey_totals(rows)
    copy_of = {row["image"]: first["image"] for row, first in copies(rows)}
    tiles = [_tile(t, verdicts.get(t.image_id, 0), unit, copy_of.get(t.name, "")) for t in tasks]
    unknown = ("copies", "failed", "not_reached", "not_judged")
    return {
        "newer": chosen.id != every[0].id,
        "of_job": _of_job(chosen, every),
        "late": sorted(ledger.late_images(db, chosen.survey_id, chosen.id).values()),
        "others": [_other(db, one) for one in every if one.id != chosen.id],
        "typed": _typed(chosen.options),
        "job": job_answer(db, chosen),
        "state": chosen.state,
        "totals": totals,
        "judged": totals["images"] - sum(totals[name] for name in unknown),
        "detection": survey_detection(rows),
        "rejected": sum(row.get("rejected", 0) for row in counted(rows)),
        "images": tiles,
        "downloads": DOWNLOADS,
        "unit": unit,
    }


def _context(db: Connection, survey_id: str) -> dict[str, Any]:
    """Return what a page shows of what people know of a survey."""
    missing = missing_facts(facts.survey_of(db, survey_id), read_words("en"))
    text = facts.answer(db, survey_id).toml
    return {"facts": text, "missing": missing, "languages": inspections.LANGUAGES}


def _of_job(job: Record, every: list[Record]) -> str:
    """Return what an address has behind it where it leads to an earlier analysis."""
    return "" if job.id == every[0].id else f"?job={job.id}"


def _other(db: Connection, job: Record) -> dict[str, Any]:
    options = ", ".join(f"{name} {value}" for name, value in job.options.items())
    return {
        "id": job.id,
        "created_at": job.created_at,
        "options": options.replace("_", " ") or "no options",
        "verdicts": sum(verdict_counts(db, job.id).values()),
    }


def task_place(task: Record) -> tuple[Any, ...]:
    """Return the place of an image among those of its job: that of its row in the survey.

    Verdicts do not move it: who judges image after image must not lose his place.
    """
    failed: dict[str, Any] = {"status": "failed"}
    row: dict[str, Any] = failed if task.state == State.FAILED else (task.summary or {})
    return (*row_place({**row, **row.get("as_measured", {})}), task.name)


def plain_words(text: str) -> str:
    """Return an error as a sentence for people: no marks of code, a capital at its start."""
    text = text.replace(_IN_PROGRAMS, "tick “ignore what the camera wrote”")
    start = text[:1].upper()  # of a name in marks it is the mark
    return f"{start}{text[1:]}".replace("`", "")


def _tile(task: Record, verdicts: int, unit: str, copy_of: str) -> dict[str, Any]:
    summary = task.summary or {}
    has_cracks = bool(summary.get("cracks"))
    return {
        "id": task.image_id,
        "name": task.name,
        "state": task.state,
        "reason": plain_words(task.error or ""),
        "progress": task.progress,
        "cracks": summary.get("cracks", ""),
        "judged": summary.get("judged") is not False,
        "impaired": impaired_text(summary),
        "nothing": nothing_text(summary),
        "also_marked": summary.get("also_marked") or 0,
        "not_counted": not_counted_text(summary),
        "width": width_text(summary) if has_cracks else "",
        "width_value": summary.get(f"width_max_{unit}") or 0,
        "length": length_text(summary) if has_cracks else "",
        "scaled": bool(summary.get("mm_per_px")),
        "warnings": warning_tags(summary, said=("cannot_be_judged", "no_scale")),
        "verdicts": verdicts,
        "rejected": summary.get("rejected", 0),
        "copy_of": copy_of,
        "changed": bool(verdicts) or "corrected" in summary.get("warnings", ()),
        "remedy": _REMEDIES.get(task.error_code, "Open it to try again."),
    }


@router.get("/surveys/{survey_id}/images/{image_id}")
def show_image(survey_id: str, image_id: str, request: Request, job: str = "") -> Response:
    """Show an image with its cracks."""
    caller = _caller(request)
    if isinstance(caller, Response):
        return caller
    with service_of(request).engine.connect() as db:
        row, every, chosen = _find(db, caller, survey_id, job)
        if chosen is None:
            raise not_found("image")
        task = ledger.find_task(db, chosen.id, image_id)
        rows = [t for t in ledger.task_rows(db, chosen.id) if t.state in FINAL]
        past = find_changes(db, survey_id, image_id=image_id, limit=_PAST)
        names, own = people(db), ledger.own_options(db, image_id)
        order = [t.image_id for t in sorted(rows, key=task_place)]
        verdicts = {v["crack"]: v for v in verdict_rows(db, chosen.id, image_id)}
    place = order.index(image_id) if image_id in order else 0
    values: dict[str, Any] = {
        "survey": {"id": survey_id, "name": row.name},
        "is_survey": row.kind == "survey",
        "of_job": _of_job(chosen, every),
        "job": {"id": chosen.id, "created_at": chosen.created_at},
        "here": href(f"/surveys/{survey_id}/images/{image_id}"),
        "image": task_answer(task),
        "own": dict.fromkeys(ImageOptions.model_fields) | own,
        "retry": f"/v1/jobs/{chosen.id}/retry",
        "reason": plain_words(task.error or task.state),
        "history": [_past(row, names) for row in past],
        "previous": order[place - 1] if place else None,
        "following": order[place + 1] if place + 1 < len(order) else None,
    }
    if task.state == State.SUCCEEDED:
        path = service_of(request).storage.result(chosen.id, image_id) / "report.json"
        values |= _report_values(json.loads(path.read_text(encoding="utf-8")), verdicts)
        values["tiled"] = path.with_name(TILES).is_file()
    elif task.state not in FINAL:
        return RedirectResponse(href(f"/surveys/{survey_id}"), 303)
    return render(request, "image.html.j2", **values)


def _past(row: Record, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a change as the page shows it."""
    return {
        "at": row.at[:16].replace("T", " "),
        "by": names.get(row.by, row.by),
        "crack": row.crack_id,
        "text": sentence(row),
    }


def _report_values(report: dict[str, Any], verdicts: dict[int, dict[str, Any]]) -> dict[str, Any]:
    scale = report["scale"]
    unit = "mm" if scale else "px"
    text = f"{scale['mm_per_px']:.4g} mm per pixel ({scale['source']})" if scale else "no scale"
    document = _document(report)
    cracks = [
        _crack(crack, verdicts.get(crack["id"], {}), unit, document) for crack in report["cracks"]
    ]
    return {
        "report": report,
        "unit": unit,
        "scale": text,
        "columns": _columns(document),
        "cracks": cracks,
        "also_marked": sum(crack["section"] != "main" for crack in cracks),
    }


def _document(report: dict[str, Any]) -> str | None:
    """Return the document that the column of classes is about: the first of the report's."""
    entries = (entry for crack in report["cracks"] for entry in crack["width_classes"])
    return next((entry["document"] for entry in entries), None)


def _columns(document: str | None) -> list[tuple[str, str, str]]:
    """Return key, label and class of the cells of each column."""
    classes = [("class", f"Class of 95 % width: {document}", "class")] if document else []
    return [
        ("id", "No.", "number"),
        ("certainty", "Certainty", "number certainty"),
        ("length", "Length", "number"),
        ("width", "Widest", "number"),
        *classes,
        ("verdict", "Verdict", ""),
    ]


def _crack(
    crack: dict[str, Any], verdict: dict[str, Any], unit: str, document: str | None
) -> dict[str, Any]:
    labels = {entry["document"]: entry["label"] for entry in crack["width_classes"]}
    sure = crack.get("certainty")  # reports of earlier releases have none
    return {
        "id": crack["id"],
        "section": crack.get("section", "main"),
        "certainty": wording.certainty(sure),
        "certainty_value": sure or 0,
        "length": wording.quantity(crack[f"length_{unit}"], crack[f"length_u_{unit}"], unit),
        "length_value": crack[f"length_{unit}"] or 0,
        "width": wording.measured(read_measure(crack, "width_max")),
        "width_value": crack[f"width_max_{unit}"] or 0,
        "label": (labels[document] or BETWEEN_CLASSES) if document in labels else "–",
        "class_value": crack[f"width_p95_{unit}"] or 0,  # classes sort by the width they are of
        "verdict": verdict.get("verdict", "open"),
        "verdict_text": _VERDICT_WORDS[verdict.get("verdict", "open")],
        "note": verdict.get("note", ""),
        "at": verdict.get("updated_at", ""),
        "made": _made(crack),
    }


@router.get("/status")
def show_status(request: Request) -> Response:
    """Show an operator who works, what waits, how full the disk is and what failed of late."""
    caller = _caller(request, scope="metrics")
    if isinstance(caller, Response):
        return caller
    service = service_of(request)
    limits = {
        "model": service.settings.model,
        "slots": service.settings.slot_count,
        "min_free_mb": service.settings.min_free_mb,
        "keep_days": service.settings.keep_days,
    }
    return render(request, "status.html.j2", now=look(service), limits=limits, version=__version__)


def _made(crack: dict[str, Any]) -> str:
    """Return who drew or changed a crack, "" for one that is as it was measured."""
    if "correction" not in crack:
        return ""
    return f"{crack['correction']} by {crack['corrected_by']}, {crack['corrected_at'][:10]}"


def show_problem(request: Request, problem: Problem) -> Response:
    """Return the page of an error."""
    return render(request, "problem.html.j2", problem.status, problem=problem)


@router.get("/docs")
def show_docs() -> Response:
    """Lead to the description that programs read; no page of others is loaded."""
    return RedirectResponse(href("/openapi.json"), 307)
