"""Put a width into the classes of documents, where the whole interval lies in one class.

The documents are data (``width_classes.toml``), to be edited by whoever signs. It is a class by
width only: depth, movement and seepage are not in a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackseg.config import read_toml
from crackseg.errors import ConfigError
from crackseg.names import look_up
from crackseg.records import Measure, WidthClass

SHIPPED = Path(__file__).with_name("width_classes.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document's classes, narrowest first; the last has no upper limit."""

    name: str
    title: str
    edition: str
    verified: bool
    note: str
    limits_mm: tuple[float, ...]  # upper limit of every class but the last, included in it
    labels: tuple[str, ...]


def read_documents(names: Sequence[str] = (), path: Path | None = None) -> tuple[Document, ...]:
    """Return the documents of a width-class file.

    Args:
        names: which of them, in this order; empty: all.
        path: a file like ``width_classes.toml``; None: the shipped one.

    Raises:
        ConfigError: the file is missing or malformed.
        UnknownName: a name is not in the file.

    Example:
        >>> read_documents(["ACI 224R"])[0].limits_mm
        (0.1, 0.15, 0.18, 0.3, 0.41)
    """
    path = path or SHIPPED
    entries = read_toml(path).get("document")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"`{path}` must hold [[document]] tables, got none.")
    documents = {document.name: document for document in (_document(e, path) for e in entries)}
    chosen = names or tuple(documents)
    return tuple(look_up(documents, name, what="width-class document") for name in chosen)


def classify(width: Measure, documents: Sequence[Document]) -> tuple[WidthClass, ...]:
    """Return what each document says of a width; nothing where there are no millimetres.

    A label is given only where the whole interval of the width lies in one class; that of a width
    below detection begins at zero.
    """
    if width.low_mm is None or width.high_mm is None:
        return ()
    low, high = width.low_mm, width.high_mm
    return tuple(
        WidthClass(
            document=document.name,
            label=_label(document, low, high),
            verified=document.verified,
        )
        for document in documents
    )


def _label(document: Document, low: float, high: float) -> str | None:
    first, last = (sum(width > limit for limit in document.limits_mm) for width in (low, high))
    return document.labels[first] if first == last else None


def _document(entry: Mapping[str, Any], path: Path) -> Document:
    """Return one [[document]] table as a record."""
    try:
        classes = entry["classes"]
        document = Document(
            name=str(entry["name"]),
            title=str(entry["title"]),
            edition=str(entry["edition"]),
            verified=entry["verified"] is True,
            note=str(entry.get("note", "")),
            limits_mm=tuple(float(c["up_to_mm"]) for c in classes[:-1]),
            labels=tuple(str(c["label"]) for c in classes),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"`{path}`: a [[document]] needs name, title, edition, verified and classes with "
            f"`label` and, but for the last, `up_to_mm`; got {entry!r} ({error!r})."
        ) from error
    limits = document.limits_mm
    wild = [limit for limit in limits if not 0 < limit < math.inf]
    if wild:
        raise ConfigError(
            f"`{path}`: each `up_to_mm` of `{document.name}` must be a finite number of mm larger "
            f"than 0, got {wild[0]}."
        )
    if not document.labels or "up_to_mm" in classes[-1] or sorted(set(limits)) != list(limits):
        raise ConfigError(
            f"`{path}`: the classes of `{document.name}` must go from narrow to wide, the last "
            f"without `up_to_mm`; got limits {limits} for {len(document.labels)} classes."
        )
    return document
