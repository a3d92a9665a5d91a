"""The names of the files that leave the service, and their media types."""

from __future__ import annotations

from enum import StrEnum


class ImageFile(StrEnum):
    """A file of an image's results."""

    REPORT = "report.json"
    MASK = "mask.png"
    OVERLAY = "overlay.jpg"
    PHOTO = "photo.jpg"
    THUMB = "thumb.jpg"
    CRACKS_CSV = "cracks.csv"
    CRACKS_GEOJSON = "cracks.geojson"
    PAGE = "page.html"


class JobFile(StrEnum):
    """A file of a whole job."""

    REPORT_JSON = "report.json"
    REPORT_CSV = "report.csv"
    REPORT_HTML = "report.html"
    REPORT_GEOJSON = "report.geojson"
    VERDICTS_CSV = "verdicts.csv"
    BUNDLE = "bundle.zip"


_MEDIA = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "png": "image/png",
    "jpg": "image/jpeg",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "zip": "application/zip",
}


def media_type(name: str) -> str:
    """Return the media type of a file by the end of its name."""
    return _MEDIA[name.rpartition(".")[2]]
