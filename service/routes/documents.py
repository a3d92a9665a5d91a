"""What the OpenAPI document says of answers that many routes share."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI

from service.errors import problem_type
from service.schemas import ID, NULL, ProblemBody, marked

_EXAMPLES = {
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
_PROBLEM = "#/components/schemas/ProblemBody"
READ = (400, 401, 403, 404, 422, 500, 503)
WRITE = (400, 401, 403, 404, 409, 413, 422, 500, 503)
UPLOAD = (*WRITE, 408, 415, 429, 507)

_REPORT_SCHEMA = json.loads(
    files("crackseg.exports").joinpath("report.schema.json").read_text(encoding="utf-8")
)
_REPORT: dict[str, Any] = {
    "schema_version": "2",
    "package_version": "1.0",
    "image": {
        "path": "DJI_0042.JPG", "sha256": "9f" * 32, "format": "JPEG", "height_px": 3956,
        "width_px": 5280, "taken_at": None, "camera": None, "gps": None, "crs": None,
        "transform": None,
    },
    "model": None,
    "screen": None,
    "scale": None,
    "options": {},
    "cracks": [],
    "totals": {
        "cracks": 0, "length_px": 0.0, "length_mm": None, "area_px2": 0.0, "area_mm2": None,
        "analyzed_px2": 20887680.0, "analyzed_mm2": None, "density_m_per_m2": None,
        "left_out_px2": 0.0, "left_out_mm2": None,
        "also_marked": 0, "also_marked_length_px": 0.0, "also_marked_length_mm": None,
    },
    "joints": [],
    "other_lines": None,
    "region": {"files": [], "left_out": []},
    "judged": True,
    "unjudged": [],
    "warnings": [{"code": "no_scale", "message": "No scale is known."}],
    "timing_s": {"decode": 0.3},
}  # fmt: skip
_FEATURES = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"type": "object"}},
    },
}
_SURVEY = {
    "type": "object",
    "required": ["schema_version", "totals", "images", "verdicts"],
    "properties": {
        "totals": {"type": "object"},
        "images": {"type": "array", "items": {"type": "object"}},
        "verdicts": {"type": "array", "items": {"type": "object"}},
    },
}
_TOTALS = {
    "images": 1, "failed": 0, "unchanged": 0, "with_cracks": 0, "without_cracks": 1,
    "not_judged": 0, "without_scale": 1, "cracks": 0,
    "length_mm": None,
}  # fmt: skip
_BINARY = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_FILES: dict[str, tuple[dict[str, Any], Any]] = {  # what stands for a file: schema, example
    "application/json": (
        {k: v for k, v in _REPORT_SCHEMA.items() if not k.startswith("$")}, _REPORT
    ),
    "application/geo+json": (_FEATURES, {"type": "FeatureCollection", "features": []}),
    "application/zip": (_BINARY, "PK…"),
    "image/png": (_BINARY, "\x89PNG…"),
    "image/jpeg": (_BINARY, "\xff\xd8\xff…"),
    "text/csv": (_TEXT, "id,length_px,length_mm\n1,412.5,330.0\n"),
    "text/html": (_TEXT, "<!doctype html>…"),
    "text/plain": (_TEXT, 'crackseg_jobs{state="running"} 1.0\n'),
    "survey": (_SURVEY, {"schema_version": "1", "totals": _TOTALS, "images": [], "verdicts": []}),
}  # fmt: skip
_SAME = {"description": "The file that `If-None-Match` names."}
_PART = "The part that `Range` names."


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application, with the schema that all problems share."""
    if app.openapi_schema is None:
        document = _unmarked(FastAPI.openapi(app))
        document["components"]["schemas"]["ProblemBody"] = ProblemBody.model_json_schema()
        app.openapi_schema = document
    return app.openapi_schema


def _unmarked(value: Any) -> Any:
    """Return a document with None for each ``NULL``."""
    if isinstance(value, dict):
        return {key: _unmarked(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_unmarked(entry) for entry in value]
    return None if value == NULL else value


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route for the problems it may answer."""
    return {status: _problem(status) for status in sorted(set(statuses))}


def _problem(status: int) -> dict[str, Any]:
    kind, detail = _EXAMPLES[status]
    example = {
        "type": problem_type(kind),
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "request_id": ID,
    }
    content = {"application/problem+json": {"schema": {"$ref": _PROBLEM}, "example": example}}
    return {"description": example["title"], "content": content}


def file_answer(media: str, kind: str = "") -> dict[str, Any]:
    """Return the answer of a route that gives a file; ``kind`` names a JSON of another schema."""
    base = media.partition(";")[0]
    schema, example = _FILES[kind or base]
    content = {"schema": schema, "example": marked(example)}
    return {"description": "The file.", "content": {base: content}}


def kept_file_answers(media: str) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that gives a file from disk, with its ETag and by ranges."""
    whole = file_answer(media)
    base = media.partition(";")[0]
    part = {"description": _PART, "content": {base: {"schema": _BINARY, "example": "…"}}}
    tag = headers(ETag='"9f86d081884c7d65"')
    return {**problems(*READ, 409, 416), 200: whole | tag, 206: part | tag, 304: _SAME | tag}


def links(parameters: dict[str, str], *operations: str) -> dict[str, Any]:
    """Return the OpenAPI links of an answer: operations that go on with values of it.

    Values are runtime expressions: ``$response.body#/id``, ``$request.path.job_id``.
    """
    told = {name: {"operationId": name, "parameters": parameters} for name in operations}
    return {"links": told}


def headers(**names: str) -> dict[str, Any]:
    """Return the description of an answer's headers: name with ``_`` for ``-``, and an example."""
    schema = {"type": "string"}
    return {"headers": {
        name.replace("_", "-"): {"schema": schema, "example": text} for name, text in names.items()
    }}  # fmt: skip


RAW_IMAGE: dict[str, Any] = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in ("image/jpeg", "image/png", "image/tiff", "application/octet-stream")
    },
}
