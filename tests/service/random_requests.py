"""What schemathesis cannot guess from the document: real images, tus metadata, fresh keys."""

from __future__ import annotations

import base64
import io
import os
import uuid
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image, ImageDraw


def _images(kind: str) -> list[bytes]:
    """Return small images of a format."""
    pictures = []
    for shade in (150, 180, 210):
        wall = Image.new("RGB", (120, 80), (shade, shade, shade))
        ImageDraw.Draw(wall).line([(10, 20), (110, 50)], (20, 20, 20), 3)
        file = io.BytesIO()
        wall.save(file, kind)
        pictures.append(file.getvalue())
    return pictures


def _pair(key: str, value: str) -> str:
    return f"{key} {base64.b64encode(value.encode()).decode()}"


PNG, JPEG, TIFF = (_images(kind) for kind in ("PNG", "JPEG", "TIFF"))
METADATA = st.builds(
    lambda survey, name, digest: ",".join(
        [_pair("survey", survey), _pair("filename", name), *digest]
    ),
    st.sampled_from([os.environ["CRACKSEG_SURVEY"], str(uuid.UUID(int=0))]),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.sampled_from([(), (_pair("sha256", "0" * 64),)]),
)
schemathesis.openapi.media_type("image/png", st.sampled_from(PNG))
schemathesis.openapi.media_type("image/jpeg", st.sampled_from(JPEG))
schemathesis.openapi.media_type("image/tiff", st.sampled_from(TIFF))
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from(PNG + TIFF))
schemathesis.openapi.media_type("application/offset+octet-stream", st.binary(max_size=64))
schemathesis.openapi.format("tus-metadata", METADATA)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give every request an Idempotency-Key of its own: one is meant for one request."""
    about = case.meta.phase.data if case.meta else None
    if getattr(about, "parameter", None) == "Authorization":
        return  # this one goes without a key of the service; touched, it would get it again
    key = (case.headers or {}).get("idempotency-key")
    if isinstance(key, str) and len(key) <= 200:  # a longer one is to be refused
        case.headers["idempotency-key"] = f"{key[:160]}-{uuid.uuid4()}"
