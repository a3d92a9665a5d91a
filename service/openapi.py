"""The OpenAPI document: what FastAPI finds in the routes, and in one pass what they all share.

Every operation gets the problems that its kind of request may meet; whatever names an object in its
path gets a link from the answer that tells the object's id; schemas get their examples.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.errors import problem_type
from service.files import ImageFile, JobFile, media_type
from service.schemas import ProblemBody

Json = dict[str, Any]
_ID = "01939f6e-5a80-7c11-9e0b-3f1f2f6f7a10"
_TIME = "2026-11-21T10:20:30.123Z"
_PROBLEMS = {
    400: ("bad-request", "`Content-Length` must be a number."),
    401: ("unauthorized", "A valid key is needed: `Authorization: Bearer ck_…`."),
    403: ("forbidden", "This key lacks the scope `write`."),
    404: ("no-such-job", "There is no such job."),
    408: ("too-slow", "The sender was silent for too long."),
    409: ("survey-busy", "The survey is being analyzed; cancel that job first."),
    411: ("length-required", "A `Content-Length` is needed."),
    412: ("tus-version", "This service speaks tus 1.0.0."),
    413: ("image-too-large", "An image may have at most 512 MB."),
    415: ("unsupported-format", "`a.gif` is a GIF; expected JPEG, PNG or TIFF (told by content)."),
    416: ("range", "The file has no such bytes."),
    422: ("invalid-request", "/body/name: String should have at least 1 character."),
    429: ("backpressure", "20000 images wait already; submit more when some are done."),
    500: ("internal", "The service failed; its log holds this request id."),
    503: ("not-ready", "No worker was seen for 60 s."),
    507: ("disk-low", "The disk of the service is nearly full; try later."),
}
_ALL = (400, 404, 422, 500, 503)
_KEYED = (401, 403)
_CHANGING = (408, 409, 413, 429, 507)
_SENDING = (411, 412, 415)
_OF_FILES = (409, 416)
_BINARY: Json = {"type": "string", "format": "binary"}
_REPORT = json.loads(
    files("crackseg.exports")
    .joinpath("report.schema.json")
    .read_text(encoding="utf-8")
    .replace('"#/', '"#/components/schemas/Report/')  # it stands among the others here
)
_FEATURES: Json = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array"}},
}
_SURVEY: Json = {"type": "object", "required": ["schema_version", "totals", "images", "verdicts"]}
_TEXT: Json = {"type": "string"}
_FOUND_IN = {  # parameter of a path, or an operation -> who tells it, and where in the answer
    "survey_id": ("createSurvey", "/id"),
    "job_id": ("executeSurvey", "/id"),
    "analysis_id": ("createAnalysis", "/id"),
    "image_id": ("listJobImages", "/images/0/image"),
    "name": ("listImages", "/images/0/name"),
    "getModel": ("listModels", "/models/0/name"),  # a name of another kind
    "process_id": ("listProcesses", "/processes/0/id"),
}
_COUNTS = {"total": 200, "queued": 186, "running": 2, "succeeded": 12, "failed": 0, "cancelled": 0}
_OPTIONS = {"mm_per_px": 0.8, "threshold": 0.5}
_SURVEY_EXAMPLE = {
    "id": _ID,
    "name": "North face, spring 2026",
    "created_at": _TIME,
    "images": 3,
    "size_bytes": 31457280,
    "job": None,
    "status": "draft",
    "not_analyzed": 3,
    "options": _OPTIONS,
}
_JOB = {
    "id": _ID,
    "status": "running",
    "message": "12 of 200 images done",
    "progress": 6,
    "remaining_s": 1300.0,
    "created": _TIME,
    "started": _TIME,
    "finished": None,
    "updated": _TIME,
    "survey": _ID,
    "options": _OPTIONS,
    "counts": _COUNTS,
    "links": {"self": f"/v1/jobs/{_ID}"},
}
_TASK = {
    "image": _ID,
    "name": "DJI_0042.JPG",
    "status": "failed",
    "progress": 1.0,
    "error": {"code": "image", "message": "`DJI_0042.JPG` ends early."},
    "summary": None,
    "finished_at": _TIME,
    "links": {"self": f"/v1/jobs/{_ID}/images/{_ID}"},
}
_WHO = {"by": "4f3a2b1c0d9e", "by_name": "A. Meier"}
_VERDICT = {"verdict": "reject", "note": "formwork joint"}
_EXAMPLES: dict[str, Json] = {  # of the schemas that clients meet first
    "Options": _OPTIONS,
    "NewSurvey": {"name": "North face, spring 2026", "options": _OPTIONS},
    "ImageOptions": {"use_metadata": False, "mm_per_px": 0.8},
    "NewFacts": {"toml": 'dam = "Upper dam"\nreservoir_level_m = 612.4\n'},
    "SurveyChange": {"name": "North face, autumn 2026"},
    "Survey": _SURVEY_EXAMPLE,
    "SurveyPage": {"surveys": [_SURVEY_EXAMPLE], "next": None},
    "Job": _JOB,
    "JobPage": {"jobs": [_JOB], "next": None},
    "Task": _TASK,
    "TaskPage": {"images": [_TASK], "next": None},
    "NewVerdict": _VERDICT,
    "Verdict": {**_VERDICT, "image": _ID, "crack": 3, **_WHO, "updated_at": _TIME},
    "NewEdit": {"kind": "draw", "line": [[812, 340], [835, 610], [828, 905]]},
    "Edits": {
        "edits": [{"id": _ID, "kind": "split", "point": [812, 340], "by": "A. Meier", "at": _TIME}],
        "cracks": 4,
    },
    "Analysis": {
        "id": _ID,
        "status": "running",
        "progress": 0.4,
        "image": "DJI_0042.JPG",
        "created_at": _TIME,
        "finished_at": None,
        "error": None,
        "cracks": None,
        "judged": None,
        "links": {"self": f"/v1/analyses/{_ID}"},
    },
}
RAW_IMAGE: Json = {
    "required": True,
    "content": {
        kind: {"schema": _BINARY}
        for kind in ("image/jpeg", "image/png", "image/tiff", "application/octet-stream")
    },
}


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function as programs write it: ``get_job`` is ``getJob``."""
    first, *rest = route.name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def describe(app: FastAPI) -> Json:
    """Return the OpenAPI document of an application."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        schemas = document["components"]["schemas"]
        schemas["ProblemBody"] = ProblemBody.model_json_schema()
        schemas["Report"] = {key: v for key, v in _REPORT.items() if not key.startswith("$")}
        for name, example in _EXAMPLES.items():
            schemas[name]["examples"] = [example]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                _complete(path, method, operation)
        _link(document["paths"])
        app.openapi_schema = document
    return app.openapi_schema


def _complete(path: str, method: str, operation: Json) -> None:
    """Add to an operation what its kind has in common."""
    answers = operation["responses"]
    names = [p["name"] for p in operation.get("parameters", ())]
    if "file" in names:
        answers |= _file_answers(JobFile if path == "/v1/jobs/{job_id}/{file}" else ImageFile)
    if path.endswith("/events"):
        answers["200"]["content"] = {"text/event-stream": {"schema": {"type": "object"}}}
    if path.endswith("/page"):
        answers["303"] = {"description": "The page of the analysis."}
    for status in ("201", "202"):
        if status in answers and method == "post":
            answers[status]["headers"] = {"Location": {"schema": _TEXT, "example": f"/…/{_ID}"}}
    bare = method == "head"  # an answer to HEAD has no body
    for problem in _statuses(method, operation, "file" in names):
        answers[str(problem)] = _problem(problem, bare)


def _statuses(method: str, operation: Json, is_file: bool) -> list[int]:
    statuses = {*_ALL, *(_KEYED if "security" in operation else ())}
    if is_file:
        statuses |= set(_OF_FILES)
    if method not in ("get", "options"):
        statuses |= {*_CHANGING, *_SENDING}
    return sorted(statuses)


def _problem(status: int, bare: bool) -> Json:
    kind, detail = _PROBLEMS[status]
    title = kind.replace("-", " ").capitalize()
    if bare:
        return {"description": title}
    example = {
        "type": problem_type(kind),
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": _ID,
    }
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        "description": title,
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    }


def _file_answers(names: type[ImageFile] | type[JobFile]) -> Json:
    """Return the answers of a route that gives one of several files, in the media type it has."""
    report: Json = {"$ref": "#/components/schemas/Report"}
    schemas = {
        "application/json": report if names is ImageFile else _SURVEY,
        "application/geo+json": _FEATURES,
        "text/csv": _TEXT,
        "text/html": _TEXT,
    }
    kinds = sorted({media_type(name).partition(";")[0] for name in names})
    whole = {kind: {"schema": schemas.get(kind, _BINARY)} for kind in kinds}
    answers: Json = {"200": {"description": "The file.", "content": whole}}
    if names is JobFile:
        wait: Json = {"type": "object", "required": ["status", "message"]}
        answers["202"] = {
            "description": "`inspection.*` is being made; ask again.",
            "content": {"application/json": {"schema": wait}},
        }
    if names is ImageFile:  # these lie on the disk as they are
        part = {kind: {"schema": _BINARY} for kind in kinds}
        answers["206"] = {"description": "The part that `Range` names.", "content": part}
        answers["304"] = {"description": "The file that `If-None-Match` names."}
    return answers


def _link(paths: Json) -> None:
    """Let the answer that tells an id lead to every operation that asks for it."""
    operations = {one["operationId"]: one for methods in paths.values() for one in methods.values()}
    for name, operation in operations.items():
        names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
        for parameter in names:
            source, pointer = _FOUND_IN.get(name) or _FOUND_IN.get(parameter) or ("", "")
            if source not in operations:
                continue
            values = {p: f"$request.path.{p}" for p in names if p != parameter}
            values = {p: text for p, text in values.items() if p in _parameters(operations[source])}
            values[parameter] = f"$response.body#{pointer}"
            answers = operations[source]["responses"]
            answer = answers[min(status for status in answers if status.startswith("2"))]
            answer.setdefault("links", {})[name] = {"operationId": name, "parameters": values}


def _parameters(operation: Json) -> set[str]:
    return {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
