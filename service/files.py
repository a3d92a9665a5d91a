"""The names of the files that leave the service, and their media types."""

from __future__ import annotations

from enum import StrEnum

from starlette.convertors import Convertor, register_url_convertor

NETWORK = "network"  # folder of a result with its files as they were before the first edit


BUNDLE_ABOUT = "bundle.json"  # last of a bundle: its job, and the sha256 of ``DIGESTED``
DIGESTED = ("report.json", "mask.png", "photo.jpg")


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
    INSPECTION_HTML = "inspection.html"
    INSPECTION_PDF = "inspection.pdf"
    INSPECTION_XLSX = "inspection.xlsx"
    VERDICTS_CSV = "verdicts.csv"
    CHANGES_CSV = "changes.csv"
    BUNDLE = "bundle.zip"


INSPECTIONS = {  # file of a job -> the name that the writers of the report give it
    JobFile.INSPECTION_HTML: "report.html",
    JobFile.INSPECTION_PDF: "report.pdf",
    JobFile.INSPECTION_XLSX: "report.xlsx",
}


class FileName(Convertor[str]):
    """What in an address can be a file's name: it has a dot, which no other word of a route has."""

    regex = r"[a-z][a-z0-9_]*\.[a-z0-9]+"

    def convert(self, value: str) -> str:
        """Return the name."""
        return value

    def to_string(self, value: str) -> str:
        """Return the name."""
        return value


register_url_convertor("filename", FileName())
_MEDIA = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "png": "image/png",
    "jpg": "image/jpeg",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "zip": "application/zip",
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def media_type(name: str) -> str:
    """Return the media type of a file by the end of its name."""
    return _MEDIA[name.rpartition(".")[2]]
