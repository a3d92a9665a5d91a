"""What the OpenAPI document says of answers that many routes share."""

from __future__ import annotations

from typing import Any

from service.errors import problem_type
from service.schemas import ProblemBody

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
    422: ("invalid-request", "/body/name: String should have at least 1 character."),
    429: ("backpressure", "20000 images wait already; submit more when some are done."),
    500: ("internal", "The service failed; its log holds this request id."),
    503: ("not-ready", "No worker was seen for 60 s."),
    507: ("disk-low", "The disk of the service is nearly full; try later."),
}
READ = (400, 401, 403, 404, 422, 500, 503)
WRITE = (400, 401, 403, 404, 409, 413, 422, 500, 503)
UPLOAD = (*WRITE, 408, 415, 429, 507)


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
        "request_id": "01939f6e-5a80-7c11-9e0b-3f1f2f6f7a10",
    }
    content = {"application/problem+json": {"schema": ProblemBody.model_json_schema(),
                                            "example": example}}  # fmt: skip
    return {"description": example["title"], "content": content}


def file_answer(media: str, example: Any, description: str = "The file.") -> dict[str, Any]:
    """Return the 200 answer of a route that gives a file."""
    base = media.partition(";")[0]
    textual = base.startswith("text/") or base.endswith("json")
    schema: dict[str, Any] = (
        {"type": "string"} if textual else {"type": "string", "format": "binary"}
    )
    if base.endswith("json"):
        schema = {"type": "object"}
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {base: content}}


RAW_IMAGE: dict[str, Any] = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in ("image/jpeg", "image/png", "image/tiff", "application/octet-stream")
    },
}
